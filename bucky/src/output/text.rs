//! Texts for people: tables, and numbers, times and lengths with their units; and strings as Go writes them.

use std::fmt::Display;

use bucky_ring::as_go_writes;

/// `text` as a JSON string, as Go writes it: `<`, `>`, `&` and the two Unicode line ends are escaped.
pub(crate) fn json_string(text: &str) -> String {
    as_go_writes(&serde_json::Value::from(text).to_string()).into_owned()
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
        assert_eq!(human_duration(Duration::from_millis(250)), "0.2s");
        assert_eq!(human_duration(Duration::from_secs(3_725)), "1h02m");
        assert_eq!(human_duration(Duration::from_secs(90_000)), "1d01h");
    }
}
