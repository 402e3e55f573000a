//! What a gate does to one answer: pure, chunk by chunk.

use std::time::Duration;

/// How an answer is spoiled. Bytes are counted from the answer's own beginning, its head included.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection breaks after so many bytes.
    BreakAfter(usize),
    /// Nothing comes any more after so many bytes, and the connection stays.
    StallAfter(usize),
    /// After so many bytes the rest comes one byte at a time, with a pause before each.
    Dribble {
        /// How many come at once.
        after: usize,
        /// The pause.
        pause: Duration,
    },
    /// One bit of the byte at this place is another one.
    Flip(usize),
    /// One bit of a byte is another one: so many bytes behind the first place that reads so.
    FlipBehind {
        /// What it reads.
        text: Vec<u8>,
        /// How many bytes behind its end.
        skip: usize,
    },
}

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Answer {
    fault: Option<Fault>,
    /// What has passed or was swallowed; only kept where it is looked at.
    seen: Vec<u8>,
}

/// What becomes of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spoiled {
    /// This is passed on.
    Pass(Vec<u8>),
    /// This is passed on, a part of it slowly.
    Dribble { at_once: Vec<u8>, slowly: Vec<u8>, pause: Duration },
    /// This is passed on, and nothing more.
    Break(Vec<u8>),
}

impl Answer {
    pub(super) fn new(fault: Option<Fault>) -> Self {
        Self { fault, seen: Vec::new() }
    }

    pub(super) fn spoil(&mut self, chunk: &[u8]) -> Spoiled {
        let Some(fault) = &self.fault else { return Spoiled::Pass(chunk.to_vec()) };
        let begin = self.seen.len();
        self.seen.extend_from_slice(chunk);
        let until = |after: usize| after.saturating_sub(begin).min(chunk.len());
        match fault {
            Fault::BreakAfter(after) if self.seen.len() < *after => Spoiled::Pass(chunk.to_vec()),
            Fault::BreakAfter(after) => Spoiled::Break(chunk[..until(*after)].to_vec()),
            Fault::StallAfter(after) => Spoiled::Pass(chunk[..until(*after)].to_vec()),
            Fault::Dribble { after, pause } => {
                let (at_once, slowly) = chunk.split_at(until(*after));
                Spoiled::Dribble {
                    at_once: at_once.to_vec(),
                    slowly: slowly.to_vec(),
                    pause: *pause,
                }
            }
            Fault::Flip(at) => Spoiled::Pass(flipped(chunk, begin, *at)),
            Fault::FlipBehind { text, skip } => {
                let found = self.seen.windows(text.len()).position(|window| window == text);
                let at = found.map(|found| found + text.len() + skip);
                Spoiled::Pass(flipped(chunk, begin, at.unwrap_or(usize::MAX)))
            }
        }
    }
}

/// `chunk`, which begins at `begin`, with a bit of the byte at `at` flipped where that is in it: the one that makes
/// another digit or letter of a digit or letter.
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
        let mut answer = Answer::new(Some(fault));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let spoiled = chunks.iter().map(|chunk| match answer.spoil(chunk.as_bytes()) {
            Spoiled::Pass(bytes) => text(&bytes),
            Spoiled::Break(bytes) => text(&bytes) + "|",
            Spoiled::Dribble { at_once, slowly, .. } => text(&at_once) + "~" + &text(&slowly),
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
