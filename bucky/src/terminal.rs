//! The terminal that a command was started from, also if its input and output are redirected: for questions
//! to the operator.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::sync::{Arc, Mutex, PoisonError};

/// The path of a process's terminal.
const TERMINAL: &str = "/dev/tty";

/// The terminal, for reading.
#[derive(Debug)]
pub(crate) struct Terminal(Arc<Mutex<BufReader<File>>>);

impl Terminal {
    /// Opens the terminal of this process.
    ///
    /// # Errors
    /// If it has none, as under cron.
    pub(crate) fn open() -> io::Result<Self> {
        File::open(TERMINAL).map(|file| Self(Arc::new(Mutex::new(BufReader::new(file)))))
    }

    /// Reads a line; `None` if the operator closed the input.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub(crate) async fn read_line(&self) -> io::Result<Option<String>> {
        let lines = Arc::clone(&self.0);
        let read = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            let len = lines.lock().unwrap_or_else(PoisonError::into_inner).read_line(&mut line)?;
            Ok((len > 0).then_some(line))
        });
        read.await.map_err(io::Error::other)?
    }
}

/// What an answer means, or `None` if it means neither, so that the question is asked again. Only these words
/// count, as in the Go tool.
pub(crate) fn yes_or_no(line: &str) -> Option<bool> {
    match line.trim() {
        "y" | "Y" | "yes" | "Yes" | "YES" => Some(true),
        "n" | "N" | "no" | "No" | "NO" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_go_tools_words_mean_yes_or_no() {
        for (line, answer) in [
            ("y\n", Some(true)),
            ("Y\r\n", Some(true)),
            ("yes\n", Some(true)),
            ("Yes", Some(true)),
            ("YES\n", Some(true)),
            ("n\n", Some(false)),
            ("N\n", Some(false)),
            ("no\n", Some(false)),
            ("No\n", Some(false)),
            ("NO\n", Some(false)),
            ("\n", None),
            ("yep\n", None),
            ("yES\n", None),
            ("j\n", None),
            ("yes please\n", None),
        ] {
            assert_eq!(yes_or_no(line), answer, "{line:?}");
        }
    }
}
