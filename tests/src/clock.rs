//! A daemon whose clock differs from the machine's, by libfaketime (the Debian package of that name).
//!
//! Only the time of day differs; timers and the times of files are unchanged. The clock can be set while the
//! daemon runs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The clock of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// This many seconds ahead of the machine's clock; behind it if negative.
    Ahead(i64),
    /// Stopped at this many seconds since 1970.
    At(u64),
}

impl Clock {
    /// Sets the clock that is read from `file`.
    pub(crate) fn set(self, file: &Path) {
        let text = match self {
            Self::Ahead(seconds) => format!("{seconds:+}\n"),
            Self::At(seconds) => {
                let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
                let text = date_text(at);
                format!("@{text}\n")
            }
        };
        // Replaced in one step, because the daemon reads the file each time it reads the clock.
        let new = file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, file).unwrap();
    }
}

/// Makes `command` read its clock from `file`.
pub(crate) fn read_from(file: &Path, command: &mut Command) {
    command
        .env("LD_PRELOAD", library())
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("NO_FAKE_STAT", "1")
        .env("TZ", "UTC");
}

/// `2006-01-02 15:04:05`, in UTC.
fn date_text(at: std::time::SystemTime) -> String {
    let words = httpdate::fmt_http_date(at);
    let words: Vec<&str> = words.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let [_, day, month, year, time, _] = words.as_slice() else { panic!("no date: {words:?}") };
    let months =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| name == month).unwrap() + 1;
    format!("{year}-{month:02}-{day} {time}")
}

/// # Panics
/// If it is not installed.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok);
    let candidates = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let mut candidates = candidates.chain(["/usr/lib/faketime/libfaketimeMT.so.1".into()]);
    candidates
        .find(|path| path.exists())
        .expect("libfaketime is installed; scripts/test --set-up-only does it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_clock_is_written_as_faketime_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        Clock::At(86_461).set(&file);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "@1970-01-02 00:01:01\n");
        Clock::Ahead(-7).set(&file);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "-7\n");
    }
}
