//! The only place that prints: data to standard output, everything for people to standard error.
//!
//! Data is buffered and flushed at the end. A reader that goes away (`bucky list | head`) is not a failure:
//! the error says so, and the program ends quietly. What cannot be written to standard error is lost.

mod text;

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, LineWriter, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};

pub(crate) use self::text::{
    Table, fits_a_line, human_bytes, human_duration, json_string, log_time,
};
pub(crate) use bucky_api::counted::human_count;

/// Standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub struct OutputError(#[source] io::Error);

impl OutputError {
    /// Whether the reader has gone away, which it may.
    pub fn is_reader_gone(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Ignores a reader that has gone away: for commands that do more than print, and report the result in their
/// exit code.
///
/// # Errors
/// Any other [`OutputError`].
pub(crate) fn while_read(result: Result<(), OutputError>) -> Result<(), OutputError> {
    result.or_else(|error| if error.is_reader_gone() { Ok(()) } else { Err(error) })
}

/// Where a command writes.
pub struct Output {
    data: Mutex<Box<dyn Write + Send>>,
    people: Mutex<Box<dyn Write + Send>>,
    bars: MultiProgress,
    is_terminal: bool,
    is_data_terminal: bool,
    are_one: bool,
}

impl Output {
    /// The streams of this process. Bars are drawn only if standard error is a terminal.
    pub fn of_process() -> Self {
        let stdout = io::stdout();
        let is_data_terminal = stdout.is_terminal();
        let data: Box<dyn Write + Send> = if is_data_terminal {
            Box::new(LineWriter::new(stdout))
        } else {
            Box::new(BufWriter::with_capacity(64 * 1024, stdout))
        };
        let is_terminal = io::stderr().is_terminal();
        let target =
            if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self {
            data: Mutex::new(data),
            people: Mutex::new(Box::new(io::stderr())),
            bars: MultiProgress::with_draw_target(target),
            is_terminal,
            is_data_terminal,
            are_one: are_one(io::stdout(), io::stderr()),
        }
    }

    /// Two writers in place of the process's streams.
    pub fn to_writers(data: Box<dyn Write + Send>, people: Box<dyn Write + Send>) -> Self {
        Self {
            data: Mutex::new(data),
            people: Mutex::new(people),
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
            is_terminal: false,
            is_data_terminal: false,
            are_one: false,
        }
    }

    /// An output whose two streams a test can read.
    #[cfg(test)]
    pub(crate) fn captured() -> (Self, Captured, Captured) {
        let (data, people) = (Captured::default(), Captured::default());
        let output = Self::to_writers(Box::new(data.clone()), Box::new(people.clone()));
        (output, data, people)
    }

    /// Writes a line of data.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn data_line(&self, line: impl Display) -> Result<(), OutputError> {
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(data, "{line}").map_err(OutputError)
    }

    /// Writes data unchanged, without an end of line.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn data_text(&self, text: impl Display) -> Result<(), OutputError> {
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        write!(data, "{text}").map_err(OutputError)
    }

    /// Writes data that is not text.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn data_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)
    }

    /// Flushes all data; even a reader that has gone away is a failure here.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn data_flush(&self) -> io::Result<()> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }

    /// Whether data goes to a terminal.
    pub(crate) fn is_data_terminal(&self) -> bool {
        self.is_data_terminal
    }

    /// Flushes all data.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn flush(&self) -> Result<(), OutputError> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner).flush().map_err(OutputError)
    }

    /// Prints a message for people, on a line of its own (above the bars, if there are any).
    pub fn say(&self, line: impl Display) {
        let line = line.to_string();
        self.bars.suspend(|| {
            let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
            // If standard error cannot be written, there is nowhere to report that.
            let _ = writeln!(people, "{}", escape_controls(&line));
            let _ = people.flush();
        });
    }

    /// Where bars are drawn.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Whether standard error is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Whether both streams go to one place, as after `2>&1` or on a terminal.
    pub(crate) fn streams_are_one(&self) -> bool {
        self.are_one
    }
}

/// `text` with its control characters spelled out, except ends of lines and tabs. Names, paths and reasons
/// come from archives and from other hosts, and must not control a terminal.
fn escape_controls(text: &str) -> Cow<'_, str> {
    let commands = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(commands) {
        return Cow::Borrowed(text);
    }
    let mut spelled = String::with_capacity(text.len());
    for c in text.chars() {
        if commands(c) {
            spelled.extend(c.escape_default());
        } else {
            spelled.push(c);
        }
    }
    Cow::Owned(spelled)
}

/// Whether two descriptors are of one file, pipe or terminal; `false` if that cannot be determined.
fn are_one(one: impl AsFd, other: impl AsFd) -> bool {
    match (rustix::fs::fstat(one), rustix::fs::fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

/// What was written to one stream of an output.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct Captured(std::sync::Arc<Mutex<Vec<u8>>>);

#[cfg(test)]
impl Captured {
    /// Everything written so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[cfg(test)]
impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard output whose reader has gone away: at once, or when the buffer is flushed.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unread {
    AtOnce,
    AtTheFlush,
}

#[cfg(test)]
impl Write for Unread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::AtOnce => Err(io::ErrorKind::BrokenPipe.into()),
            Self::AtTheFlush => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path in an archive, or a daemon's reason, may contain anything.
    #[test]
    fn messages_do_not_control_a_terminal() {
        let (output, _, people) = Output::captured();
        output.say("one\n\ttwo \u{1b}]0;owned\u{7}\r\u{9b}31m é \u{7f}");
        assert_eq!(people.text(), "one\n\ttwo \\u{1b}]0;owned\\u{7}\\r\\u{9b}31m é \\u{7f}\n");
    }
}
