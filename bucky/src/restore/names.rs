//! Which metric a member of an archive is, by its path.
//!
//! Pure. Nothing is guessed: a path that is not a metric's is refused, because the name decides which nodes
//! get the file.

use std::path::Path;

use bucky_whisper::MetricName;

/// The metric with the file at `path`, below `prefix` if there is one.
///
/// # Errors
/// The reason why there is none.
pub(crate) fn metric_at(path: &[u8], prefix: Option<&MetricName>) -> Result<MetricName, String> {
    let text = std::str::from_utf8(path).map_err(|_| "its name is not UTF-8".to_owned())?;
    if text.starts_with('/') {
        return Err("its path is absolute, so it is unknown which part is the metric name".into());
    }
    let mut below = text;
    while let Some(rest) = below.strip_prefix("./") {
        below = rest;
    }
    if !below.ends_with(".wsp") {
        return Err("its name does not end in .wsp".into());
    }
    let metric = MetricName::from_relative_path(Path::new(below))
        .map_err(|error| format!("its name is not a metric name: {error}"))?;
    match prefix {
        None => Ok(metric),
        Some(prefix) => MetricName::parse(&format!("{prefix}.{metric}")).map_err(|error| {
            format!("with the prefix {prefix}, its name is not a metric name: {error}")
        }),
    }
}

/// Parses `-p`: a metric's name, or the path of a folder.
///
/// # Errors
/// The reason why it is not valid.
pub(crate) fn prefix(text: &str) -> Result<MetricName, String> {
    let below = text.strip_prefix("./").unwrap_or(text);
    if below.starts_with('/') {
        return Err(format!(
            "{text:?} is absolute; give it relative to the storage folder of the nodes"
        ));
    }
    MetricName::parse(below.trim_end_matches('/'))
        .map_err(|error| format!("{text:?} cannot begin a metric name: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_the_path_of_its_file() {
        for (path, prefix, metric) in [
            ("a/b.wsp", None, "a.b"),
            ("./a/b.wsp", None, "a.b"),
            ("././a/b.wsp", None, "a.b"),
            ("é/ü.wsp", None, "é.ü"),
            ("a/b.wsp", Some("old/site"), "old.site.a.b"),
            ("b.wsp", Some("old.site/"), "old.site.b"),
            ("b.wsp", Some("./old"), "old.b"),
        ] {
            let prefix = prefix.map(|text| super::prefix(text).unwrap());
            assert_eq!(metric_at(path.as_bytes(), prefix.as_ref()).unwrap().as_str(), metric);
        }
    }

    /// D43: the Go tool makes `docs/readme.txt` a metric, and hashes `/abs/x.wsp` under another name than it
    /// stores it.
    #[test]
    fn a_path_that_is_not_a_metrics_is_refused() {
        for (path, said) in [
            (&b"docs/readme.txt"[..], ".wsp"),
            (b"/abs/x.wsp", "absolute"),
            (b"a/../x.wsp", "not a metric name"),
            (b"../x.wsp", "not a metric name"),
            (b"a.b/x.wsp", "not a metric name"),
            (b"a/.x.wsp", "not a metric name"),
            (b".wsp", "not a metric name"),
            (b"a/b.wsp/", ".wsp"),
            (b"a/\xff.wsp", "UTF-8"),
            (b"a/b\n.wsp", "not a metric name"),
            (b"", ".wsp"),
        ] {
            let refused = metric_at(path, None).unwrap_err();
            assert!(refused.contains(said), "{path:?}: {refused}");
        }
        for text in ["/abs", "", "a..b", "..", "."] {
            assert!(prefix(text).is_err(), "{text}");
        }
    }
}
