//! `local_settings.py` of graphite-web. It has no ring of a cluster, and people try it anyway.

use crate::{Configuration, OtherFiles, Refusal, RefusalKind, SourceFile};

/// The settings that look as if they were a ring, and why they are none.
const SETTINGS: [(&str, RefusalKind, &str); 2] = [
    (
        "CLUSTER_SERVERS",
        RefusalKind::WebServers,
        "CLUSTER_SERVERS are web applications, in no order and without a ring; read the relay's configuration",
    ),
    (
        "CARBONLINK_HOSTS",
        RefusalKind::LocalCaches,
        "CARBONLINK_HOSTS are the caches of one host, with their query ports; read the relay's configuration",
    ),
];

pub(crate) fn read(
    file: &SourceFile,
    _files: &mut dyn OtherFiles,
) -> Result<Configuration, Refusal> {
    let found = first_setting(&file.text);
    let (offset, kind, message) = found.unwrap_or((
        0,
        RefusalKind::NoRing,
        "settings of graphite-web have no ring; read the relay's configuration",
    ));
    Err(Refusal { kind, place: file.place(offset), message: message.to_owned() })
}

/// The first setting in `text` that looks as if it were a ring: its place, kind and message.
pub(crate) fn first_setting(text: &str) -> Option<(usize, RefusalKind, &'static str)> {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let code = line.trim_start();
        for (name, kind, message) in SETTINGS {
            let is_set = code
                .strip_prefix(name)
                .is_some_and(|rest| rest.trim_start().starts_with(['=', '+']));
            if is_set {
                return Some((offset + line.len() - code.len(), kind, message));
            }
        }
        offset += line.len();
    }
    None
}
