//! The machine that executes a pickle's program.

use std::collections::HashMap;

use super::text::{line_integer, raw_unicode_escape, string_escape};
use super::{NEWEST_PROTOCOL, Pickle, PickleError, Span, Value};

/// The stack, the memo, and the position in the input.
pub(super) struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    /// The current opcode and its position.
    code: u8,
    code_at: usize,
    stack: Vec<Value>,
    /// The length of the stack at each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    decoded: Vec<u8>,
    sequences: Vec<Vec<Value>>,
}

impl<'a> Machine<'a> {
    /// A machine that has not run yet.
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self {
            input,
            at: 0,
            code: 0,
            code_at: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            decoded: Vec::new(),
            sequences: Vec::new(),
        }
    }

    /// Runs the program to its end.
    pub(super) fn run(mut self) -> Result<Pickle<'a>, PickleError> {
        loop {
            self.code_at = self.at;
            let [code] = self.bytes()?;
            self.code = code;
            match code {
                b'.' => {
                    let top = self.pop()?;
                    let Self { input, decoded, sequences, .. } = self;
                    return Ok(Pickle { input, decoded, sequences, top });
                }
                b'N' | b'I' | b'L' | b'F' | b'J' | b'K' | b'M' | b'G' | 0x88..=0x8b => {
                    let number = self.number()?;
                    self.stack.push(number);
                }
                b'S' | b'T' | b'U' | b'V' | b'X' | b'B' | b'C' | 0x8c..=0x8e | 0x96 => {
                    let text = self.text()?;
                    self.stack.push(text);
                }
                b'('
                | b'0'
                | b'1'
                | b'2'
                | b']'
                | b')'
                | b'l'
                | b't'
                | b'a'
                | b'e'
                | 0x85..=0x87 => self.sequence()?,
                b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.memo()?,
                // The length of the rest, which is known anyway.
                0x95 => drop(self.bytes::<8>()?),
                0x80 => {
                    let [protocol] = self.bytes()?;
                    if protocol > NEWEST_PROTOCOL {
                        return Err(PickleError::NewerProtocol(protocol));
                    }
                }
                _ => self.foreign()?,
            }
        }
    }

    fn number(&mut self) -> Result<Value, PickleError> {
        Ok(match self.code {
            b'N' => Value::None,
            0x88 | 0x89 => Value::Bool,
            b'K' => Value::Int(i64::from(u8::from_le_bytes(self.bytes()?))),
            b'M' => Value::Int(i64::from(u16::from_le_bytes(self.bytes()?))),
            b'J' => Value::Int(i64::from(i32::from_le_bytes(self.bytes()?))),
            b'G' => Value::Float(f64::from_be_bytes(self.bytes()?)),
            0x8a => {
                let [len] = self.bytes()?;
                integer(self.take(usize::from(len))?)
            }
            0x8b => {
                let len = self.len4()?;
                integer(self.take(len)?)
            }
            b'I' => match self.line()? {
                b"00" | b"01" => Value::Bool,
                line => line_integer(line).ok_or_else(|| self.not_a_number(line))?,
            },
            b'L' => {
                let line = self.line()?;
                let digits = line.strip_suffix(b"L").unwrap_or(line);
                line_integer(digits).ok_or_else(|| self.not_a_number(line))?
            }
            _ => {
                let line = self.line()?;
                let float = std::str::from_utf8(line).ok().and_then(|text| text.parse().ok());
                Value::Float(float.ok_or_else(|| self.not_a_number(line))?)
            }
        })
    }

    fn text(&mut self) -> Result<Value, PickleError> {
        let len = match self.code {
            b'S' => {
                let line = self.line()?;
                let quoted = [b'\'', b'"']
                    .iter()
                    .find_map(|q| line.strip_prefix(&[*q])?.strip_suffix(&[*q]));
                let quoted = quoted.ok_or(PickleError::NotQuoted { at: self.code_at })?;
                return Ok(self.decode(|decoded| string_escape(quoted, decoded)));
            }
            b'V' => {
                let line = self.line()?;
                return Ok(self.decode(|decoded| raw_unicode_escape(line, decoded)));
            }
            b'U' | b'C' | 0x8c => {
                let [len] = self.bytes()?;
                usize::from(len)
            }
            0x8d | 0x8e | 0x96 => {
                let len = u64::from_le_bytes(self.bytes()?);
                usize::try_from(len).map_err(|_| self.cut_off())?
            }
            _ => self.len4()?,
        };
        let start = self.at;
        self.take(len)?;
        Ok(match self.code {
            b'B' | b'C' | 0x8e | 0x96 => Value::Bytes,
            _ => Value::Text(span(start, self.at)),
        })
    }

    fn decode(&mut self, decode: impl FnOnce(&mut Vec<u8>)) -> Value {
        let start = self.decoded.len();
        decode(&mut self.decoded);
        Value::Decoded(span(start, self.decoded.len()))
    }

    fn sequence(&mut self) -> Result<(), PickleError> {
        match self.code {
            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let value = self.pop()?;
                self.stack.extend([value, value]);
            }
            b']' | b')' => self.push_sequence(Vec::new()),
            b'l' | b't' => {
                let values = self.pop_to_mark()?;
                self.push_sequence(values);
            }
            b'a' => {
                let value = self.pop()?;
                self.append(vec![value])?;
            }
            b'e' => {
                let values = self.pop_to_mark()?;
                self.append(values)?;
            }
            // Tuples of one, two and three.
            code => {
                let floor = self.marks.last().copied().unwrap_or(0);
                let len = usize::from(code - 0x84);
                let start = self.stack.len().checked_sub(len).filter(|start| *start >= floor);
                let start = start.ok_or_else(|| self.too_short())?;
                // Without spare capacity: there may be one sequence for each byte.
                let values = self.stack.split_off(start);
                self.push_sequence(values);
            }
        }
        Ok(())
    }

    fn memo(&mut self) -> Result<(), PickleError> {
        let index = match self.code {
            b'q' | b'h' => u64::from(u8::from_le_bytes(self.bytes()?)),
            b'r' | b'j' => u64::from(u32::from_le_bytes(self.bytes()?)),
            0x94 => self.memo.len() as u64,
            _ => {
                let line = self.line()?;
                match line_integer(line) {
                    Some(Value::Int(index)) if index >= 0 => index.unsigned_abs(),
                    _ => return Err(self.not_a_number(line)),
                }
            }
        };
        if matches!(self.code, b'g' | b'h' | b'j') {
            let value = self.memo.get(&index).copied();
            let value = value.ok_or(PickleError::NoMemo { index, at: self.code_at })?;
            self.stack.push(value);
        } else {
            let value = self.pop()?;
            self.stack.push(value);
            self.memo.insert(index, value);
        }
        Ok(())
    }

    /// Opcodes that deal with objects: their parts are taken from the stack, and nothing is created.
    fn foreign(&mut self) -> Result<(), PickleError> {
        let (taken, made) = match self.code {
            // GLOBAL, PERSID
            b'c' => {
                self.line()?;
                self.line()?;
                (0, true)
            }
            b'P' => {
                self.line()?;
                (0, true)
            }
            // INST, OBJ, DICT, FROZENSET
            b'i' => {
                self.line()?;
                self.line()?;
                self.pop_to_mark()?;
                (0, true)
            }
            b'o' | b'd' | 0x91 => {
                self.pop_to_mark()?;
                (0, true)
            }
            // EXT1, EXT2, EXT4
            0x82..=0x84 => {
                self.take(1 << (self.code - 0x82))?;
                (0, true)
            }
            // EMPTY_DICT, EMPTY_SET
            b'}' | 0x8f => (0, true),
            // SETITEMS, ADDITEMS
            b'u' | 0x90 => {
                self.pop_to_mark()?;
                (0, false)
            }
            // BUILD, SETITEM
            b'b' => (1, false),
            b's' => (2, false),
            // BINPERSID, REDUCE, NEWOBJ, STACK_GLOBAL, NEWOBJ_EX
            b'Q' => (1, true),
            b'R' | 0x81 | 0x93 => (2, true),
            0x92 => (3, true),
            // READONLY_BUFFER
            0x98 => (0, false),
            code => return Err(PickleError::UnknownOpcode { code, at: self.code_at }),
        };
        for _ in 0..taken {
            self.pop()?;
        }
        if made {
            self.stack.push(Value::Foreign);
        }
        Ok(())
    }

    fn push_sequence(&mut self, values: Vec<Value>) {
        // There are at most as many as the input has bytes, and `span` limits those too.
        let number = u32::try_from(self.sequences.len()).unwrap_or(u32::MAX);
        self.sequences.push(values);
        self.stack.push(Value::Sequence(number));
    }

    /// Appends values to the sequence on top of the stack. For an object they are dropped.
    fn append(&mut self, values: Vec<Value>) -> Result<(), PickleError> {
        let target = self.pop()?;
        self.stack.push(target);
        if let Value::Sequence(number) = target {
            let sequence = usize::try_from(number).ok().and_then(|n| self.sequences.get_mut(n));
            if let Some(sequence) = sequence {
                sequence.extend(values);
            }
        }
        Ok(())
    }

    /// The topmost value. Values below a mark cannot be reached.
    fn pop(&mut self) -> Result<Value, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let value = if self.stack.len() > floor { self.stack.pop() } else { None };
        value.ok_or_else(|| self.too_short())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, PickleError> {
        let mark = self.marks.pop().ok_or_else(|| self.too_short())?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| self.cut_off())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], PickleError> {
        let end = self.at.checked_add(len).ok_or_else(|| self.cut_off())?;
        let taken = self.input.get(self.at..end).ok_or_else(|| self.cut_off())?;
        self.at = end;
        Ok(taken)
    }

    fn line(&mut self) -> Result<&'a [u8], PickleError> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let len = rest.iter().position(|byte| *byte == b'\n').ok_or_else(|| self.cut_off())?;
        let line = self.take(len)?;
        self.at += 1;
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn len4(&mut self) -> Result<usize, PickleError> {
        let len = u32::from_le_bytes(self.bytes()?);
        usize::try_from(len).map_err(|_| self.cut_off())
    }

    fn cut_off(&self) -> PickleError {
        PickleError::CutOff { at: self.input.len() }
    }

    fn too_short(&self) -> PickleError {
        PickleError::StackTooShort { code: self.code, at: self.code_at }
    }

    fn not_a_number(&self, line: &[u8]) -> PickleError {
        let shown = line.get(..line.len().min(40)).unwrap_or_default();
        let found = String::from_utf8_lossy(shown).into_owned();
        PickleError::NotANumber { found, at: self.code_at }
    }
}

/// A little-endian integer in two's complement, of any length.
fn integer(bytes: &[u8]) -> Value {
    let is_negative = bytes.last().is_some_and(|last| *last >= 0x80);
    let fill = if is_negative { 0xff } else { 0 };
    let (low, high) = bytes.split_at(bytes.len().min(8));
    let mut whole = [fill; 8];
    for (to, from) in whole.iter_mut().zip(low) {
        *to = *from;
    }
    if high.iter().any(|byte| *byte != fill) {
        return Value::Large;
    }
    let value = i64::from_le_bytes(whole);
    match (value < 0, is_negative) {
        (true, false) => Value::Unsigned(u64::from_le_bytes(whole)),
        (false, true) => Value::Large,
        _ => Value::Int(value),
    }
}

/// Positions in an input that is shorter than 4 GiB: the length of a frame has four bytes.
fn span(start: usize, end: usize) -> Span {
    let position = |at| u32::try_from(at).unwrap_or(u32::MAX);
    Span { start: position(start), end: position(end) }
}
