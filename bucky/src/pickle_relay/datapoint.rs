//! A datapoint, and the line for carbon's line receiver.

use std::fmt::Write;

/// The longest name. Carbon cannot store a name of more than 4096 bytes.
const NAME_LIMIT_BYTES: usize = 4096;
/// How much of a malformed value is shown in a message.
const SHOWN_CHARS: usize = 120;

/// A datapoint in a pickle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Datapoint<'a> {
    pub(super) name: &'a str,
    pub(super) timestamp: Number<'a>,
    pub(super) value: Number<'a>,
}

/// A number, or a text that should be one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number<'a> {
    Int(i64),
    Unsigned(u64),
    Float(f64),
    Text(&'a str),
}

/// The reason why an entry of a pickle is dropped. The Go tool panics (D38).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("an entry is {0} and should be (name, (timestamp, value))")]
    NotAnEntry(String),
    #[error("a name is {0} and should be UTF-8 text, not too long")]
    NameIsNoText(&'static str),
    #[error(
        "the name {0} is empty, longer than {NAME_LIMIT_BYTES} bytes, or has blanks or control characters"
    )]
    BadName(String),
    #[error("{name}: the point is {found} and should be (timestamp, value)")]
    NotAPoint { name: String, found: String },
    #[error("{name}: the {field} is {found} and should be a number")]
    NotANumber { name: String, field: &'static str, found: String },
}

impl Malformed {
    /// The message, short and on one line, whatever the pickle contains.
    pub(super) fn shown(&self) -> String {
        let text = self.to_string();
        let clean = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
        clean.take(SHOWN_CHARS * 2).collect()
    }
}

/// Appends `NAME VALUE TIMESTAMP\n` to `lines`.
///
/// # Errors
/// [`Malformed`] if a line receiver would read something else from it, such as a second line. Nothing is
/// appended then.
pub(super) fn append_line(datapoint: &Datapoint<'_>, lines: &mut Vec<u8>) -> Result<(), Malformed> {
    let name = datapoint.name.trim();
    // `trim` removes no control characters except those that end lines.
    let is_bad = |c: char| c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > NAME_LIMIT_BYTES || name.contains(is_bad) {
        let shown: String = datapoint.name.chars().take(SHOWN_CHARS).collect();
        return Err(Malformed::BadName(format!("{shown:?}")));
    }
    let number = |field, number: Number<'_>| {
        let text = text(number).filter(|(_, is_finite)| field == "value" || *is_finite);
        text.map(|(text, _)| text).ok_or_else(|| Malformed::NotANumber {
            name: name.to_owned(),
            field,
            found: match number {
                Number::Text(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
                other => format!("{other:?}"),
            },
        })
    };
    let value = number("value", datapoint.value)?;
    let timestamp = number("timestamp", datapoint.timestamp)?;
    for part in [name, " ", &value, " ", &timestamp, "\n"] {
        lines.extend_from_slice(part.as_bytes());
    }
    Ok(())
}

/// A number as the Go tool writes it, with more digits if it would be another number otherwise; and whether
/// it is finite. `None` for a text that is not a number.
fn text(number: Number<'_>) -> Option<(String, bool)> {
    let mut text = String::new();
    let written = match number {
        Number::Int(number) => write!(text, "{number}"),
        Number::Unsigned(number) => write!(text, "{number}"),
        Number::Float(number) if number.is_finite() => {
            let written = write!(text, "{number:.12}");
            // The Go tool turns very small numbers into 0.
            if text.parse() != Ok(number) {
                text = format!("{number:?}");
            }
            written
        }
        Number::Float(number) if number.is_nan() => write!(text, "NaN"),
        Number::Float(number) => write!(text, "{}", if number > 0.0 { "+Inf" } else { "-Inf" }),
        Number::Text(number) => {
            let number = number.trim();
            let parsed: f64 = number.parse().ok()?;
            text.push_str(number);
            return Some((text, parsed.is_finite()));
        }
    };
    written.ok()?;
    let is_finite = !matches!(number, Number::Float(number) if !number.is_finite());
    Some((text, is_finite))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, timestamp: Number<'_>, value: Number<'_>) -> Result<String, String> {
        let mut lines = Vec::new();
        append_line(&Datapoint { name, timestamp, value }, &mut lines)
            .map(|()| String::from_utf8(lines).unwrap())
            .map_err(|error| error.shown())
    }

    #[test]
    fn numbers_are_written_as_the_go_relay_writes_them() {
        for (value, text) in [
            (Number::Int(-7), "-7"),
            (Number::Unsigned(u64::MAX), "18446744073709551615"),
            (Number::Float(1.5), "1.500000000000"),
            (Number::Float(-0.0), "-0.000000000000"),
            (Number::Float(0.25e-8), "0.000000002500"),
            (Number::Float(1e21), "1000000000000000000000.000000000000"),
            (Number::Float(f64::NAN), "NaN"),
            (Number::Float(f64::INFINITY), "+Inf"),
            (Number::Float(f64::NEG_INFINITY), "-Inf"),
            (Number::Text(" 2.50 "), "2.50"),
        ] {
            assert_eq!(line("a.b", Number::Int(60), value).unwrap(), format!("a.b {text} 60\n"));
        }
        let at_half = line(" a.b\n", Number::Float(60.5), Number::Int(1)).unwrap();
        assert_eq!(at_half, "a.b 1 60.500000000000\n", "blanks around a name go");
    }

    /// The Go tool writes twelve digits of any number, and so sends other numbers than it received, even 0.
    #[test]
    fn a_number_is_the_same_one_behind_the_relay() {
        for value in
            [1e-15, -3.2e-13, f64::MIN_POSITIVE, f64::MAX, 0.1 + 0.2, 1.0 / 3.0, 1e300, 0.7]
        {
            let line = line("a.b", Number::Int(60), Number::Float(value)).unwrap();
            let text = line.strip_prefix("a.b ").unwrap().strip_suffix(" 60\n").unwrap();
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
        }
    }

    /// D38: a line feed in a name becomes a line of its own at the upstream.
    #[test]
    fn nothing_in_a_datapoint_makes_another_line() {
        let (time, one) = (Number::Int(60), Number::Int(1));
        for name in ["", " ", "a b", "a\nb 1 60\nc", "a\tb", "a\0b", "a\u{85}b", "a\u{2028}b"] {
            let message = line(name, time, one).unwrap_err();
            assert!(!message.contains('\n') && message.starts_with("the name"), "{message}");
        }
        assert!(line(&"x".repeat(5000), time, one).is_err());
        for text in ["", "x", "1 2", "1\nb 2 60", "0x10"] {
            assert!(line("a", time, Number::Text(text)).is_err(), "{text:?}");
            assert!(line("a", Number::Text(text), one).is_err(), "{text:?}");
        }
        for never in [f64::NAN, f64::INFINITY] {
            assert!(line("a", Number::Float(never), one).is_err());
        }
    }
}
