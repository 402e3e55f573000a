//! The only place that prints: data to standard output, everything for people to standard error.
//!
//! Data is buffered and flushed at the end. A reader that goes away (`bucky list | head`) is not a failure:
//! the error says so, and the program ends quietly. What cannot be written to standard error is lost.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, LineWriter, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};

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
            let _ = writeln!(people, "{}", harmless(&line));
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
fn harmless(text: &str) -> Cow<'_, str> {
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

/// `text` as a JSON string, as Go writes it: `<`, `>`, `&` and the two Unicode line ends are escaped.
pub(crate) fn json_string(text: &str) -> String {
    let plain = serde_json::Value::from(text).to_string();
    if !plain.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return plain;
    }
    let mut escaped = String::with_capacity(plain.len() + 16);
    for c in plain.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => escaped.push(c),
        }
    }
    escaped
}

/// Whether `name` fits on a line of text. A metric's name has no control character, but a Go daemon also
/// lists files that have one in their names (D31).
pub(crate) fn fits_a_line(name: &str) -> bool {
    !name.bytes().any(|byte| byte.is_ascii_control())
}

/// A table for people: columns as wide as their widest cell, two spaces between them, numbers on the right.
pub(crate) struct Table {
    header: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column titles. A column whose title begins with `>` is aligned to the right.
    pub(crate) fn new(titles: &[&'static str]) -> Self {
        Self {
            header: titles.iter().map(|title| title.trim_start_matches('>')).collect(),
            right: titles.iter().map(|title| title.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with one cell for each column.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |column: usize| {
            let cells =
                self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            let title = self.header.get(column).map_or(0, |title| title.chars().count());
            cells.max().unwrap_or(0).max(title)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut text = String::new();
            for ((cell, width), right) in cells.zip(&widths).zip(&self.right) {
                let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
                let separator = if text.is_empty() { "" } else { "  " };
                text.push_str(separator);
                text.push_str(&if *right { pad + cell } else { cell.to_owned() + &pad });
            }
            text.trim_end().to_owned()
        };
        f.write_str(&line(&mut self.header.iter().copied()))?;
        for row in &self.rows {
            write!(f, "\n{}", line(&mut row.iter().map(String::as_str)))?;
        }
        Ok(())
    }
}

/// A length for people: binary units, one decimal digit.
pub(crate) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut divisor = 1024u64;
    while bytes / divisor >= 1024 && unit + 1 < UNITS.len() {
        divisor *= 1024;
        unit += 1;
    }
    let tenths = u128::from(bytes) * 10 / u128::from(divisor);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A number for people: groups of three digits.
pub(crate) fn human_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A point in time as in the Go tool's log, in UTC: `2006/01/02 15:04:05`.
pub(crate) fn log_time(at: std::time::SystemTime) -> String {
    let format = time::macros::format_description!("[year]/[month]/[day] [hour]:[minute]:[second]");
    let at = time::OffsetDateTime::from(at);
    // This format has no year of five digits.
    at.format(format).unwrap_or_else(|_| at.unix_timestamp().to_string())
}

/// A duration for people: the two largest units.
pub(crate) fn human_duration(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{:.1}s", duration.as_secs_f64()),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn json_strings_are_escaped_as_go_escapes_them() {
        assert_eq!(json_string("a.b"), r#""a.b""#);
        assert_eq!(json_string("a<&>\"é"), "\"a\\u003c\\u0026\\u003e\\\"é\"");
    }

    /// A path in an archive, or a daemon's reason, may contain anything.
    #[test]
    fn what_people_are_told_commands_no_terminal() {
        let (output, _, people) = Output::captured();
        output.say("one\n\ttwo \u{1b}]0;owned\u{7}\r\u{9b}31m é \u{7f}");
        assert_eq!(people.text(), "one\n\ttwo \\u{1b}]0;owned\\u{7}\\r\\u{9b}31m é \\u{7f}\n");
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let mut table = Table::new(&["NODE", ">METRICS", "NOTE"]);
        table.row(vec!["a:4242".into(), "1,000,000".into(), String::new()]);
        table.row(vec!["bb:4242".into(), "7".into(), "x".into()]);
        assert_eq!(
            table.to_string(),
            "NODE       METRICS  NOTE\na:4242   1,000,000\nbb:4242          7  x"
        );
    }

    #[test]
    fn a_time_is_written_as_in_the_go_tools_log() {
        let at = std::time::UNIX_EPOCH + Duration::from_secs(1_795_354_047);
        assert_eq!(log_time(at), "2026/11/22 13:27:27");
    }

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!(human_bytes(0), "0 B");
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(u64::MAX), "15.9 EiB");
        assert_eq!(human_count(1_234_567), "1,234,567");
        assert_eq!(human_count(12), "12");
        assert_eq!(human_duration(Duration::from_millis(250)), "0.2s");
        assert_eq!(human_duration(Duration::from_secs(3_725)), "1h02m");
        assert_eq!(human_duration(Duration::from_secs(90_000)), "1d01h");
    }
}
