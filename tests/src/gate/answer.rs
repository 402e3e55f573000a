//! What a gate does to one answer: pure, chunk by chunk.

use std::time::Duration;

/// How an answer is changed. Bytes are counted from the beginning of the answer, including its head.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection breaks after this many bytes.
    BreakAfter(usize),
    /// Nothing more arrives after this many bytes, and the connection stays open.
    StallAfter(usize),
    /// After some bytes the rest arrives one byte at a time, with a pause before each.
    Dribble {
        /// How many bytes arrive at once.
        after: usize,
        /// The pause.
        pause: Duration,
    },
    /// One bit of the byte at this offset is flipped.
    Flip(usize),
    /// One bit of a byte is flipped, at a distance after the first occurrence of a text.
    FlipBehind {
        /// The text.
        text: Vec<u8>,
        /// How many bytes after its end.
        skip: usize,
    },
}

/// An answer on its way through the gate.
#[derive(Debug)]
pub(super) struct PassingAnswer {
    fault: Option<Fault>,
    /// The bytes that have passed or were dropped; kept only if a fault needs them.
    seen: Vec<u8>,
}

/// What the gate does with a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChangedChunk {
    /// Passes it on.
    Pass(Vec<u8>),
    /// Passes it on, a part of it slowly.
    Dribble { at_once: Vec<u8>, slowly: Vec<u8>, pause: Duration },
    /// Passes this on, and then breaks the connection.
    Break(Vec<u8>),
}

impl PassingAnswer {
    pub(super) fn new(fault: Option<Fault>) -> Self {
        Self { fault, seen: Vec::new() }
    }

    pub(super) fn spoil(&mut self, chunk: &[u8]) -> ChangedChunk {
        let Some(fault) = &self.fault else { return ChangedChunk::Pass(chunk.to_vec()) };
        let begin = self.seen.len();
        self.seen.extend_from_slice(chunk);
        let until = |after: usize| after.saturating_sub(begin).min(chunk.len());
        match fault {
            Fault::BreakAfter(after) if self.seen.len() < *after => {
                ChangedChunk::Pass(chunk.to_vec())
            }
            Fault::BreakAfter(after) => ChangedChunk::Break(chunk[..until(*after)].to_vec()),
            Fault::StallAfter(after) => ChangedChunk::Pass(chunk[..until(*after)].to_vec()),
            Fault::Dribble { after, pause } => {
                let (at_once, slowly) = chunk.split_at(until(*after));
                ChangedChunk::Dribble {
                    at_once: at_once.to_vec(),
                    slowly: slowly.to_vec(),
                    pause: *pause,
                }
            }
            Fault::Flip(at) => ChangedChunk::Pass(flipped(chunk, begin, *at)),
            Fault::FlipBehind { text, skip } => {
                let found = self.seen.windows(text.len()).position(|window| window == text);
                let at = found.map(|found| found + text.len() + skip);
                ChangedChunk::Pass(flipped(chunk, begin, at.unwrap_or(usize::MAX)))
            }
        }
    }
}

/// `chunk`, which begins at offset `begin`, with one bit of the byte at `at` flipped, if it contains that
/// byte. The bit turns a digit or letter into another one.
fn flipped(chunk: &[u8], begin: usize, at: usize) -> Vec<u8> {
    let mut chunk = chunk.to_vec();
    if let Some(byte) = at.checked_sub(begin).and_then(|at| chunk.get_mut(at)) {
        *byte ^= 1;
    }
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(fault: Fault, chunks: &[&str]) -> Vec<String> {
        let mut answer = PassingAnswer::new(Some(fault));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let spoiled = chunks.iter().map(|chunk| match answer.spoil(chunk.as_bytes()) {
            ChangedChunk::Pass(bytes) => text(&bytes),
            ChangedChunk::Break(bytes) => text(&bytes) + "|",
            ChangedChunk::Dribble { at_once, slowly, .. } => text(&at_once) + "~" + &text(&slowly),
        });
        spoiled.collect()
    }

    #[test]
    fn faults_come_at_their_place_whatever_the_chunks() {
        assert_eq!(passed(Fault::BreakAfter(4), &["abc", "def"]), ["abc", "d|"]);
        assert_eq!(passed(Fault::StallAfter(4), &["abc", "def", "g"]), ["abc", "d", ""]);
        let dribble = Fault::Dribble { after: 4, pause: Duration::ZERO };
        assert_eq!(passed(dribble, &["abc", "def"]), ["abc~", "d~ef"]);
        assert_eq!(passed(Fault::Flip(4), &["abc", "d00"]), ["abc", "d10"]);
        let behind = Fault::FlipBehind { text: b"cd".to_vec(), skip: 1 };
        assert_eq!(passed(behind.clone(), &["abc", "d00", "000"]), ["abc", "d01", "000"]);
        assert_eq!(passed(behind, &["abcd", "0", "000"]), ["abcd", "0", "100"]);
    }
}
