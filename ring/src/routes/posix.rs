//! Regular expressions as carbon-c-relay's libraries read them, for Rust's `regex`.
//!
//! The relay is built with the C library's POSIX expressions, PCRE or Oniguruma, and its configuration does
//! not say which. So only those expressions are taken that all of them read alike; everything else is refused
//! with the reason.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// The largest bound of `{n,m}`.
const BOUND_MOST: u32 = 255;
/// What may be behind a backslash inside brackets. POSIX takes the backslash itself for one of the characters,
/// PCRE does not; metrics have no backslashes.
const ESCAPED_IN_BRACKETS: &str = "._:/*+?$(){}|#@%&=,";

/// An expression for `regex::bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Translated {
    /// The same expression in Rust's syntax.
    pub(super) regex: String,
    /// How many groups it has.
    pub(super) groups: usize,
    /// Whether every library finds the same match and the same groups, not only whether there is a match:
    /// what follows each other is single characters and groups that are neither repeated nor alternatives.
    pub(super) is_exact: bool,
}

/// Why an expression is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Untaken {
    /// A sentence without a full stop.
    pub(super) reason: String,
    /// Whether every library refuses it.
    pub(super) is_invalid: bool,
}

impl From<String> for Untaken {
    fn from(reason: String) -> Self {
        Self { reason, is_invalid: false }
    }
}

fn invalid(reason: &str) -> Untaken {
    Untaken { reason: reason.to_owned(), is_invalid: true }
}

/// `expression` in Rust's syntax.
///
/// # Errors
/// [`Untaken`] says which part the libraries refuse, or do not read alike.
pub(super) fn translated(expression: &str) -> Result<Translated, Untaken> {
    Translator {
        left: expression.chars().peekable(),
        regex: "(?s-u)".to_owned(),
        groups: 0,
        open: 0,
        is_exact: true,
        before: Before::Nothing,
    }
    .translated()
}

/// What is in front of the next character.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing that could be repeated.
    Nothing,
    /// A character, or a set of them.
    Character,
    /// A group.
    Group,
    /// `*` or `?`: a `?` makes it lazy in PCRE and optional in POSIX, which is the same language.
    Optional,
    /// `+` or `{n,m}`.
    Repeated,
}

struct Translator<'e> {
    left: Peekable<Chars<'e>>,
    regex: String,
    groups: usize,
    open: usize,
    is_exact: bool,
    before: Before,
}

impl Translator<'_> {
    fn translated(mut self) -> Result<Translated, Untaken> {
        while let Some(next) = self.left.next() {
            match next {
                '\\' => self.escape()?,
                '[' => self.brackets()?,
                '(' => self.open()?,
                ')' => self.close()?,
                '|' => {
                    self.is_exact = false;
                    self.push("|", Before::Nothing);
                }
                '*' | '+' | '?' => self.repetition(next)?,
                '{' => self.interval()?,
                '^' => self.push("^", Before::Nothing),
                '$' => self.end()?,
                '.' => self.push(".", Before::Character),
                literal => self.literal(literal)?,
            }
        }
        if self.open > 0 {
            return Err(invalid("a `(` has no `)`"));
        }
        Ok(Translated { regex: self.regex, groups: self.groups, is_exact: self.is_exact })
    }

    fn push(&mut self, text: &str, before: Before) {
        self.regex.push_str(text);
        self.before = before;
    }

    fn literal(&mut self, literal: char) -> Result<(), String> {
        if !literal.is_ascii() || literal.is_ascii_control() {
            return Err(format!("{literal:?} is more than one byte or no printable character"));
        }
        let text = regex::escape(literal.encode_utf8(&mut [0; 4]));
        self.push(&text, Before::Character);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.left.next() {
            None => Err("it ends with a backslash".to_owned()),
            Some(class @ ('w' | 'W' | 's' | 'S')) => {
                self.push(&format!("\\{class}"), Before::Character);
                Ok(())
            }
            Some(edge @ ('b' | 'B')) => {
                self.push(&format!("\\{edge}"), Before::Nothing);
                Ok(())
            }
            Some('d') => {
                Err("\\d is a digit in PCRE and the letter d in POSIX expressions; write [0-9]"
                    .to_owned())
            }
            Some(other) if other.is_ascii_alphanumeric() || "<>'`".contains(other) => {
                Err(format!("\\{other} does not mean the same in every regular expression library"))
            }
            Some(literal) => self.literal(literal),
        }
    }

    fn open(&mut self) -> Result<(), String> {
        if let Some(sign @ ('?' | '*' | '+' | '{')) = self.left.peek() {
            return Err(format!(
                "`({sign}` does not mean the same in every regular expression library"
            ));
        }
        self.groups += 1;
        self.open += 1;
        self.push("(", Before::Nothing);
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        self.open = self.open.checked_sub(1).ok_or("a `)` has no `(`")?;
        self.push(")", Before::Group);
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        if let Some(next) = self.left.peek()
            && !")|".contains(*next)
        {
            return Err("carbon-c-relay drops a `$` that is not at the end".to_owned());
        }
        self.push("$", Before::Nothing);
        Ok(())
    }

    fn repetition(&mut self, sign: char) -> Result<(), String> {
        match (self.before, sign) {
            (Before::Nothing, _) => return Err(format!("`{sign}` has nothing before it")),
            (Before::Optional, '?') => {
                self.is_exact = false;
                self.push("?", Before::Nothing);
                return Ok(());
            }
            (Before::Optional | Before::Repeated, _) => {
                return Err(format!(
                    "a `{sign}` behind another repetition does not mean the same in every regular expression library"
                ));
            }
            (Before::Group, _) => self.is_exact = false,
            (Before::Character, _) => {}
        }
        let before = if sign == '+' { Before::Repeated } else { Before::Optional };
        self.push(sign.encode_utf8(&mut [0; 4]), before);
        Ok(())
    }

    /// `{n}`, `{n,}` or `{n,m}`.
    fn interval(&mut self) -> Result<(), String> {
        let mut inside = String::new();
        let is_ended = loop {
            match self.left.next() {
                Some('}') => break true,
                Some(next) => inside.push(next),
                None => break false,
            }
        };
        let (fewest, most) = match inside.split_once(',') {
            Some((fewest, "")) => (bound(fewest), Some(BOUND_MOST)),
            Some((fewest, most)) => (bound(fewest), bound(most)),
            None => (bound(&inside), bound(&inside)),
        };
        let is_valid = matches!((fewest, most), (Some(fewest), Some(most)) if fewest <= most);
        if !is_ended || !is_valid || !matches!(self.before, Before::Character | Before::Group) {
            return Err(format!(
                "`{{{inside}` does not mean the same in every regular expression library"
            ));
        }
        self.is_exact = false;
        self.push(&format!("{{{inside}}}"), Before::Repeated);
        Ok(())
    }

    /// A set of characters: `[abc]`, `[^a-z]`, `[[:alpha:]_]`.
    fn brackets(&mut self) -> Result<(), Untaken> {
        let unended = || invalid("a `[` has no `]`");
        let mut set = "[".to_owned();
        if self.left.next_if_eq(&'^').is_some() {
            set.push('^');
        }
        let mut is_first = true;
        loop {
            let next = self.left.next().ok_or_else(unended)?;
            match next {
                ']' if !is_first => break,
                '[' if matches!(self.left.peek(), Some(':' | '.' | '=')) => {
                    set.push_str(&self.named_set()?);
                }
                _ => self.member(next, &mut set)?,
            }
            is_first = false;
        }
        set.push(']');
        self.push(&set, Before::Character);
        Ok(())
    }

    /// A character of a set, or a range that begins with it.
    fn member(&mut self, first: char, set: &mut String) -> Result<(), String> {
        let first = match first {
            '\\' => self.left.next().filter(|c| ESCAPED_IN_BRACKETS.contains(*c)).ok_or(
                "a backslash inside brackets does not mean the same in every regular expression library",
            )?,
            other => other,
        };
        let mut rest = self.left.clone();
        let range_end = match (rest.next(), rest.next()) {
            (Some('-'), Some(end)) if end != ']' => Some(end),
            _ => None,
        };
        let last = range_end.unwrap_or(first);
        let is_plain = |c: char| c.is_ascii_graphic() || c == ' ';
        let is_odd_end = range_end.is_some_and(|end| "[\\".contains(end));
        if !is_plain(first) || !is_plain(last) || last < first || is_odd_end {
            return Err(format!("the range {first:?} to {last:?} inside brackets cannot be read"));
        }
        if range_end.is_some() {
            self.left.nth(1);
        }
        write!(set, "\\x{:02x}-\\x{:02x}", u32::from(first), u32::from(last))
            .map_err(|error| error.to_string())
    }

    /// `[:alpha:]` inside brackets.
    fn named_set(&mut self) -> Result<String, String> {
        let name: String = self.left.by_ref().take_while(|next| *next != ']').collect();
        let known = [
            ":alpha:", ":digit:", ":alnum:", ":upper:", ":lower:", ":space:", ":punct:", ":xdigit:",
        ];
        match known.contains(&name.as_str()) {
            true => Ok(format!("[{name}]")),
            false => Err(format!("[{name}] is an unknown set of characters")),
        }
    }
}

fn bound(digits: &str) -> Option<u32> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|bound| is_number && *bound <= BOUND_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prelude::*, sample::select};

    const ATOMS: &[&str] =
        &["a", "b", "[ab]", "[^.]", ".", r"\.", "(a)", "(a*b)", "([^.]+)", "(.*)"];
    const SIGNS: &[&str] = &["", "", "", "*", "+", "?"];

    fn regex(expression: &str) -> regex::bytes::Regex {
        let translated =
            translated(expression).unwrap_or_else(|why| panic!("{expression}: {why:?}"));
        regex::bytes::Regex::new(&translated.regex).expect("a regular expression")
    }

    #[test]
    fn what_every_library_reads_alike_is_taken() {
        let cases = [
            (r"^stats\.([^.]+)\.(.*)$", "stats.web01.cpu", "stats.web01"),
            (r"[[:digit:]]{2,3}$", "web12", "web1"),
            (r"[]_]", "a]b", "ab"),
            (r"[^]_]x", "ax", "_x"),
            (r"a[\.-]b", "a-b", "a_b"),
            (r"(foo|bar)+\.x", "foobar.x", "fo.x"),
            (r"^.*?\.count$", "a.b.count", "a.count.b"),
            (r"\bcpu\b", "a.cpu.b", "a.cpus.b"),
            (r"a{2}", "baab", "ab"),
            (r"[a-c+]", "+", "-"),
        ];
        for (expression, matching, other) in cases {
            let regex = regex(expression);
            assert!(regex.is_match(matching.as_bytes()), "{expression} {matching}");
            assert!(!regex.is_match(other.as_bytes()), "{expression} {other}");
        }
    }

    #[test]
    fn what_libraries_read_differently_is_refused_with_the_reason() {
        let cases = [
            (r"web\d", "write [0-9]"),
            (r"(a)\1", "\\1 does not mean the same"),
            (r"(?i)a", "`(?` does not mean"),
            (r"a++", "behind another repetition"),
            (r"a+?", "behind another repetition"),
            ("*a", "`*` has nothing before it"),
            ("(a", "a `(` has no `)`"),
            ("a)", "a `)` has no `(`"),
            ("[a", "a `[` has no `]`"),
            (r"[\w]", "a backslash inside brackets"),
            ("[[=a=]]", "an unknown set of characters"),
            ("[z-a]", "the range 'z' to 'a'"),
            ("a{,2}", "`{,2` does not mean"),
            ("a{2", "`{2` does not mean"),
            ("a$b", "drops a `$`"),
            ("é", "more than one byte"),
            ("a\\", "ends with a backslash"),
        ];
        for (expression, said) in cases {
            let refused = translated(expression).expect_err(expression);
            assert!(refused.reason.contains(said), "{expression}: {refused:?}");
            assert_eq!(refused.is_invalid, ["(a", "[a"].contains(&expression), "{expression}");
        }
    }

    proptest! {
        /// Of an exact expression, the match that is found first is also the longest: the libraries agree.
        #[test]
        fn an_exact_expression_has_one_match(
            parts in prop::collection::vec((select(ATOMS), select(SIGNS)), 1..7),
            name in "[ab.]{0,9}",
        ) {
            let expression: String = parts.iter().flat_map(|(atom, sign)| [*atom, *sign]).collect();
            let Ok(translated) = translated(&expression) else { return Ok(()) };
            if !translated.is_exact {
                return Ok(());
            }
            let regex = regex::bytes::Regex::new(&translated.regex).expect("a regular expression");
            let Some(found) = regex.find(name.as_bytes()) else { return Ok(()) };
            let whole = format!("(?s-u)^(?:{})$", &translated.regex["(?s-u)".len()..]);
            let whole = regex::bytes::Regex::new(&whole).expect("a regular expression");
            let longest = (found.start()..=name.len())
                .rev()
                .find(|end| whole.is_match(&name.as_bytes()[found.start()..*end]));
            prop_assert_eq!(longest, Some(found.end()), "{} on {}", expression, name);
        }

        /// No expression from outside ends this program, and what is translated can be compiled.
        #[test]
        fn every_expression_is_refused_or_compiles(expression in "[a-c.*+?^$|(){}0-9,\\[\\]\\\\:-]{0,14}") {
            if let Ok(translated) = translated(&expression) {
                prop_assert!(regex::bytes::Regex::new(&translated.regex).is_ok(), "{}", expression);
            }
        }
    }
}
