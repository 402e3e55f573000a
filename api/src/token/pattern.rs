//! The patterns of the claim `namespaces`, by the rules of the Go tool.
//!
//! A pattern matches the whole name. `*` matches any run of characters except `/`. `?` matches one such
//! character. `[a-c]` and `[^a]` match one of a class, `\x` matches x itself. Dots and braces have no special
//! meaning. Matching takes time in proportion to the length of the pattern times the length of the name.

use std::str::{Chars, FromStr};

/// A pattern of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `*`
    Run,
    /// `?`
    One,
    /// A character that matches itself.
    This(char),
    /// `[…]`: one character in these ranges, or, if `negated`, one that is not.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// A text that is not a valid pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern {pattern:?} is malformed: {reason}")]
pub struct Malformed {
    /// The text.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The pattern that matches only `name`.
pub fn escaped(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

impl FromStr for Pattern {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = |reason| Malformed { pattern: text.to_owned(), reason };
        let mut parts = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let part = match c {
                // Two in a row mean the same as one.
                '*' if parts.last() == Some(&Part::Run) => continue,
                '*' => Part::Run,
                '?' => Part::One,
                '[' => class(&mut chars).map_err(malformed)?,
                '\\' => Part::This(chars.next().ok_or_else(|| malformed(NOTHING_ESCAPED))?),
                c => Part::This(c),
            };
            parts.push(part);
        }
        Ok(Self(parts))
    }
}

const NOTHING_ESCAPED: &str = "it ends with a backslash";
const UNCLOSED: &str = "a [ without ]";
const EMPTY_CLASS: &str = "a class in brackets begins with ] and would be empty";
const LOOSE_HYPHEN: &str = "a - in brackets has no character on one side; \\- stands for itself";

/// Parses the rest of a class after `[`, up to `]`.
fn class(chars: &mut Chars<'_>) -> Result<Part, &'static str> {
    let negated = chars.as_str().starts_with('^');
    if negated {
        chars.next();
    }
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.as_str().starts_with(']') {
            chars.next();
            return Ok(Part::Class { negated, ranges });
        }
        let low = class_char(chars)?;
        let mut high = low;
        if chars.as_str().starts_with('-') {
            chars.next();
            high = class_char(chars)?;
        }
        ranges.push((low, high));
    }
}

fn class_char(chars: &mut Chars<'_>) -> Result<char, &'static str> {
    match chars.next() {
        None => Err(UNCLOSED),
        Some('-') => Err(LOOSE_HYPHEN),
        Some(']') => Err(EMPTY_CLASS),
        Some('\\') => chars.next().ok_or(UNCLOSED),
        Some(c) => Ok(c),
    }
}

impl Part {
    /// Whether it matches this one character. A class can match `/`, as in the Go tool.
    fn is(&self, c: char) -> bool {
        match self {
            Self::Run => false,
            Self::One => c != '/',
            Self::This(this) => *this == c,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

impl Pattern {
    /// Whether the pattern matches the whole `name`.
    pub fn matches(&self, name: &str) -> bool {
        let (mut part, mut rest) = (0, name);
        // The position after the last run, and the rest of the name from which it must take one character
        // more. The parts before it matched as early as possible. That leaves the most for the rest, so no
        // other try is needed.
        let mut again: Option<(usize, &str)> = None;
        loop {
            match self.0.get(part) {
                None if rest.is_empty() => return true,
                Some(Part::Run) => {
                    part += 1;
                    again = Some((part, rest));
                    continue;
                }
                Some(one) => {
                    let mut chars = rest.chars();
                    if chars.next().is_some_and(|c| one.is(c)) {
                        part += 1;
                        rest = chars.as_str();
                        continue;
                    }
                }
                None => {}
            }
            let Some((behind, from)) = again else { return false };
            let mut chars = from.chars();
            if chars.next().is_none_or(|c| c == '/') {
                return false;
            }
            (part, rest) = (behind, chars.as_str());
            again = Some((behind, rest));
        }
    }
}
