//! The names under which this program runs as one of the Go tool's small programs.
//!
//! Those are separate programs there. Here each is a sub-command of `bucky`. Started through a link with the
//! small program's name, `bucky` runs that sub-command, so scripts and cron jobs need not change.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The file names, and the sub-command that each means.
pub(crate) const PROGRAMS: [(&str, &str); 6] = [
    ("bucky-fill", "fill"),
    ("bucky-isempty", "isempty"),
    ("bucky-sparsify", "sparsify"),
    ("findhash", "findhash"),
    ("gentestmetrics", "gentestmetrics"),
    ("bucky-pickle-relay", "pickle-relay"),
];

/// The command line of `bucky` for `words`, which are a program's path and its arguments.
pub(crate) fn arguments(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words = words.into_iter();
    let sub_command = words.next().and_then(|program| sub_command(&program));
    sub_command.map(OsString::from).into_iter().chain(words).collect()
}

/// The sub-command for a program of this path, or `None` if it is `bucky` under any other name.
fn sub_command(program: &OsStr) -> Option<&'static str> {
    let name = Path::new(program).file_name()?;
    PROGRAMS.iter().find(|(known, _)| name == *known).map(|(_, sub_command)| *sub_command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Vec<OsString> {
        arguments(words.iter().map(OsString::from))
    }

    #[test]
    fn started_by_a_small_programs_name_it_is_that_program() {
        for (program, sub_command) in PROGRAMS {
            for path in [program.to_owned(), format!("/usr/bin/{program}"), format!("./{program}")]
            {
                assert_eq!(read(&[&path, "-l", "fill"]), [sub_command, "-l", "fill"]);
            }
        }
    }

    #[test]
    fn under_any_other_name_it_is_bucky() {
        for path in ["bucky", "/opt/bin/bucky-0.1", "bucky-fill.old", "/bucky-fill/bucky", ""] {
            assert_eq!(read(&[path, "list", "-j"]), ["list", "-j"]);
        }
        assert!(read(&[]).is_empty() && read(&["findhash"]) == ["findhash"]);
    }
}
