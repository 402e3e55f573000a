//! Reads pickles as carbon's senders write them, without executing anything.
//!
//! A pickle is a program for a small machine with a stack and a memo. [`machine`] runs that program on
//! numbers, texts and sequences of these. It never imports or calls what the pickle names: any object is a
//! [`Value::Foreign`]. Values are in one table and refer to each other by index. So a list that contains
//! itself, or a million nested lists, needs no recursion, and all of it is freed at once. No number in the
//! pickle decides how much is allocated: memory is limited to about sixty times the pickle's length.
//! Protocols 0 to 5.
//!
//! The crate serde-pickle was tried first: 800 kB of nested lists overflow its stack.
//!
//! Source of the format: Python's `pickletools`.

mod machine;
#[cfg(test)]
mod tests;
mod text;

use self::machine::Machine;
use super::datapoint::{Datapoint, Malformed, Number};

/// The newest protocol.
const NEWEST_PROTOCOL: u8 = 5;

/// The longest text that is read. A pickle may refer to one text many times.
const TEXT_LIMIT_BYTES: usize = 8192;
/// How much of a name is shown in a message.
const NAME_SHOWN_CHARS: usize = 120;

/// The reason why bytes are not a pickle of datapoints. Positions are in bytes from the beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PickleError {
    /// It ends too early.
    #[error("it is cut off at byte {at}")]
    CutOff { at: usize },
    /// It has an opcode that protocols 0 to 5 do not have.
    #[error("byte {at} is {code:#04x}, which is not an opcode of protocols 0 to {NEWEST_PROTOCOL}")]
    UnknownOpcode { code: u8, at: usize },
    /// It has a newer protocol.
    #[error("it uses protocol {0}; the newest supported is {NEWEST_PROTOCOL}")]
    NewerProtocol(u8),
    /// An opcode takes more values from the stack than there are.
    #[error("the opcode {code:#04x} at byte {at} finds too little on the stack")]
    StackTooShort { code: u8, at: usize },
    /// An opcode reads an entry of the memo that was never written.
    #[error("the opcode at byte {at} reads entry {index} of the memo, which is empty")]
    NoMemo { index: u64, at: usize },
    /// An argument is not the number or length that it should be.
    #[error("the argument at byte {at} is {found:?} and should be a number")]
    NotANumber { found: String, at: usize },
    /// A quoted text lacks its quotes.
    #[error("the text at byte {at} is not quoted")]
    NotQuoted { at: usize },
    /// It is valid, but not a list.
    #[error("it is not a list or tuple of datapoints, but {0}")]
    NotASequence(&'static str),
}

/// A value in a pickle.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    None,
    Bool,
    Int(i64),
    /// An integer that only fits this type.
    Unsigned(u64),
    /// An integer that is larger still.
    Large,
    Float(f64),
    /// A text, by its position in the pickle.
    Text(Span),
    /// A text with escapes, by its position in the decoded texts.
    Decoded(Span),
    /// Bytes that are not text in Python 3.
    Bytes,
    /// A list or tuple, by its index.
    Sequence(u32),
    /// An object, a dictionary or a set; its content is ignored.
    Foreign,
}

/// A part of the input, or of the decoded texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

/// A pickle that was read.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    input: &'a [u8],
    decoded: Vec<u8>,
    sequences: Vec<Vec<Value>>,
    top: Value,
}

impl<'a> Pickle<'a> {
    /// Reads a pickle. Like Python, it ignores what follows the end.
    ///
    /// # Errors
    /// [`PickleError`].
    pub(super) fn read(input: &'a [u8]) -> Result<Self, PickleError> {
        Machine::new(input).run()
    }

    /// The entries, one after the other.
    ///
    /// # Errors
    /// [`PickleError::NotASequence`].
    pub(super) fn datapoints(
        &self,
    ) -> Result<impl Iterator<Item = Result<Datapoint<'_>, Malformed>>, PickleError> {
        let Some(entries) = self.sequence(self.top) else {
            return Err(PickleError::NotASequence(self.top.kind()));
        };
        Ok(entries.iter().map(|entry| self.datapoint(*entry)))
    }

    fn datapoint(&self, entry: Value) -> Result<Datapoint<'_>, Malformed> {
        let [name, point] = self.pair(entry).map_err(Malformed::NotAnEntry)?;
        let name = self.text(name).ok_or(Malformed::NameIsNoText(name.kind()))?;
        let shown_name = || name.chars().take(NAME_SHOWN_CHARS).collect::<String>();
        let [timestamp, value] =
            self.pair(point).map_err(|found| Malformed::NotAPoint { name: shown_name(), found })?;
        let number = |field, value: Value| {
            self.number(value).ok_or_else(|| Malformed::NotANumber {
                name: shown_name(),
                field,
                found: value.kind().to_owned(),
            })
        };
        Ok(Datapoint {
            name,
            timestamp: number("timestamp", timestamp)?,
            value: number("value", value)?,
        })
    }

    /// The two values of a pair, or a description of what is there instead.
    fn pair(&self, value: Value) -> Result<[Value; 2], String> {
        match self.sequence(value) {
            Some([first, second]) => Ok([*first, *second]),
            Some(other) => Err(format!("a sequence of {}", other.len())),
            None => Err(value.kind().to_owned()),
        }
    }

    fn sequence(&self, value: Value) -> Option<&[Value]> {
        let Value::Sequence(number) = value else { return None };
        self.sequences.get(usize::try_from(number).ok()?).map(Vec::as_slice)
    }

    fn text(&self, value: Value) -> Option<&str> {
        let (bytes, span) = match value {
            Value::Text(span) => (self.input, span),
            Value::Decoded(span) => (self.decoded.as_slice(), span),
            _ => return None,
        };
        let range = usize::try_from(span.start).ok()?..usize::try_from(span.end).ok()?;
        let bytes = bytes.get(range).filter(|bytes| bytes.len() <= TEXT_LIMIT_BYTES)?;
        std::str::from_utf8(bytes).ok()
    }

    fn number(&self, value: Value) -> Option<Number<'_>> {
        match value {
            Value::Int(number) => Some(Number::Int(number)),
            Value::Unsigned(number) => Some(Number::Unsigned(number)),
            Value::Float(number) => Some(Number::Float(number)),
            text => self.text(text).map(Number::Text),
        }
    }
}

impl Value {
    /// What messages call it.
    fn kind(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool => "a bool",
            Self::Int(_) | Self::Unsigned(_) => "an integer",
            Self::Large => "an integer of more than 64 bits",
            Self::Float(_) => "a float",
            Self::Text(_) | Self::Decoded(_) => "text",
            Self::Bytes => "bytes",
            Self::Sequence(_) => "a sequence",
            Self::Foreign => "an object",
        }
    }
}
