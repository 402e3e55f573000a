//! The input of a rule as a regular expression.
//!
//! carbon builds a Python expression from the input, component by component. It is built here in the same way
//! and then translated to the syntax of the crate `regex`, whose matches and captures are those of a
//! backtracking engine. What that crate cannot do (looking around, referring back) is refused.

/// The expression for `input`, anchored at both ends, and the names of its fields.
///
/// # Errors
/// The reason, if Python refuses it or it cannot be used here.
pub(super) fn translated(input: &str) -> Result<(String, Vec<String>), String> {
    let mut fields = Vec::new();
    let parts: Vec<String> =
        input.split('.').map(|part| component(part, &mut fields)).collect::<Result<_, _>>()?;
    let python = format!("{}$", parts.join("\\."));
    let rust = Translation::of(&python)
        .map_err(|reason| format!("the input {input:?} cannot be used: {reason}"))?;
    Ok((format!("^(?:{rust})"), fields))
}

/// A component, as `AggregationRule.build_regex` has it. A `*` beside a field stays what it is in a regular
/// expression.
fn component(part: &str, fields: &mut Vec<String>) -> Result<String, String> {
    let mut field = |open: &str, close: &str, inner: &str| {
        let (begin, end) = (part.find(open)?, part.find(close)?);
        let name = part.get(begin + open.len()..end)?;
        fields.push(name.to_owned());
        let (before, after) = (&part[..begin], &part[end + close.len()..]);
        Some((name.to_owned(), format!("{before}(?P<{name}>{inner}){after}")))
    };
    let found = if part.contains("<<") && part.contains(">>") {
        Some(field("<<", ">>", ".+?").ok_or_else(|| format!("{part:?} has >> before <<"))?)
    } else {
        field("<", ">", "[^.]+?")
    };
    match found {
        Some((name, expression)) if is_identifier(&name) => Ok(expression),
        Some((name, _)) => {
            Err(format!("<{name}> is not a name for a field; use letters, digits and _"))
        }
        None if part == "*" => Ok("[^.]+".to_owned()),
        None => Ok(part.replace('*', "[^.]*")),
    }
}

fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Python's expression in the syntax of the crate `regex`.
struct Translation<'p> {
    rest: std::iter::Peekable<std::str::Chars<'p>>,
    out: String,
    /// Whether the last thing was a repetition, which may not be repeated again.
    is_repeated: bool,
}

impl<'p> Translation<'p> {
    fn of(python: &'p str) -> Result<String, String> {
        let mut this =
            Self { rest: python.chars().peekable(), out: String::new(), is_repeated: false };
        while let Some(c) = this.rest.next() {
            this.one(c)?;
        }
        Ok(this.out)
    }

    fn one(&mut self, c: char) -> Result<(), String> {
        if matches!(c, '*' | '+' | '?') {
            return self.repetition(&c.to_string());
        }
        if c == '{' {
            return match self.bounds() {
                Some(bounds) => self.repetition(&bounds),
                None => {
                    self.literal('{');
                    Ok(())
                }
            };
        }
        self.is_repeated = false;
        match c {
            '\\' => self.escape(),
            '[' => self.class(),
            '(' => self.group(),
            c => {
                self.out.push(c);
                Ok(())
            }
        }
    }

    /// A character that stands for itself. Written by its number, since the two syntaxes differ in what is
    /// special.
    fn literal(&mut self, c: char) {
        if c.is_alphanumeric() {
            self.out.push(c);
        } else {
            self.out.push_str(&format!("\\x{{{:x}}}", u32::from(c)));
        }
    }

    fn repetition(&mut self, text: &str) -> Result<(), String> {
        if self.is_repeated {
            return Err("it repeats a repetition".to_owned());
        }
        self.out.push_str(text);
        self.is_repeated = true;
        match self.rest.peek() {
            Some('?') => {
                self.rest.next();
                self.out.push('?');
                Ok(())
            }
            Some('+') => Err("it has a possessive repetition".to_owned()),
            _ => Ok(()),
        }
    }

    /// `m`, `m,`, `,n` or `m,n` in braces; `None` if it is anything else, which then stands for itself.
    fn bounds(&mut self) -> Option<String> {
        let mut ahead = self.rest.clone();
        let mut text = String::new();
        loop {
            match ahead.next()? {
                '}' => break,
                c if c.is_ascii_digit() || c == ',' => text.push(c),
                _ => return None,
            }
        }
        let (least, most) = match text.split_once(',') {
            Some((least, most)) => (least, Some(most)),
            None => (text.as_str(), None),
        };
        if text.is_empty()
            || most.is_some_and(|most| most.contains(','))
            || (least.is_empty() && most.is_none())
        {
            return None;
        }
        self.rest = ahead;
        let least = if least.is_empty() { "0" } else { least };
        Some(match most {
            Some(most) => format!("{{{least},{most}}}"),
            None => format!("{{{least}}}"),
        })
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.rest.next() {
            None => Err("it ends with a backslash".to_owned()),
            Some(class @ ('d' | 'D' | 'w' | 'W' | 's' | 'S' | 'b' | 'B' | 'A')) => {
                self.out.extend(['\\', class]);
                Ok(())
            }
            Some('Z') => {
                self.out.push_str("\\z");
                Ok(())
            }
            Some(c) if c.is_ascii_alphanumeric() => Err(format!("it has \\{c}")),
            Some(c) => {
                self.literal(c);
                Ok(())
            }
        }
    }

    /// A class of characters. Python has no classes inside of classes, and `&&`, `--` and `~~` stand for
    /// themselves.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            let c = self.rest.next().ok_or("a class does not end")?;
            match c {
                ']' if !is_first => break,
                '\\' => match self.rest.next().ok_or("it ends with a backslash")? {
                    class @ ('d' | 'D' | 'w' | 'W' | 's' | 'S') => self.out.extend(['\\', class]),
                    c if c.is_ascii_alphanumeric() => return Err(format!("it has \\{c}")),
                    c => self.literal(c),
                },
                // Between two characters a range, otherwise itself.
                '-' if !is_first && self.rest.peek().is_some_and(|next| *next != ']') => {
                    if self.rest.peek() == Some(&'-') {
                        return Err("it has a range to `-`".to_owned());
                    }
                    self.out.push('-');
                }
                c => self.literal(c),
            }
            is_first = false;
        }
        self.out.push(']');
        Ok(())
    }

    /// A group: with a name, or without capturing, or an ordinary one. Every other kind is refused.
    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        self.out.push('?');
        match self.rest.next() {
            Some(':') => {
                self.out.push(':');
                Ok(())
            }
            Some('P') if self.rest.next_if_eq(&'<').is_some() => {
                self.out.push_str("P<");
                Ok(())
            }
            _ => Err("it looks around, refers back, or sets a flag".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(input: &str, name: &str) -> bool {
        let (pattern, _) = translated(input).unwrap_or_else(|reason| panic!("{input}: {reason}"));
        regex::Regex::new(&pattern)
            .unwrap_or_else(|error| panic!("{input}: {error}"))
            .is_match(name)
    }

    #[test]
    fn components_are_built_as_carbon_builds_them() {
        let mut fields = Vec::new();
        let mut built = |part| component(part, &mut fields);
        assert_eq!(built("*").as_deref(), Ok("[^.]+"));
        assert_eq!(built("a*b").as_deref(), Ok("a[^.]*b"));
        assert_eq!(built("a<x>b").as_deref(), Ok("a(?P<x>[^.]+?)b"));
        assert_eq!(built("a<<y>>b").as_deref(), Ok("a(?P<y>.+?)b"));
        assert_eq!(built("<z>*").as_deref(), Ok("(?P<z>[^.]+?)*"));
        assert_eq!(built("\\d{2}").as_deref(), Ok("\\d{2}"));
        assert!(built("<a-b>").is_err() && built(">>a<<").is_err());
        assert_eq!(fields[..3], ["x", "y", "z"]);
    }

    #[test]
    fn an_input_matches_the_whole_name() {
        assert!(matches("a.*.c", "a.b.c"));
        for name in ["a.b.c.d", "x.a.b.c", "a.b.b.c", "a..c"] {
            assert!(!matches("a.*.c", name), "{name}");
        }
        assert!(matches("a.<<x>>.c", "a.b.b.c"));
        assert!(matches("<d>\\d{2}.hits", "www01.hits") && !matches("<d>\\d{2}.hits", "www1.hits"));
        // An alternative at the top ends where it stands.
        assert!(matches("a|b.c", "a.x") && matches("a|b.c", "b.c") && !matches("a|b.c", "b.c.d"));
    }

    #[test]
    fn what_is_special_in_one_syntax_only_stands_for_itself() {
        assert!(matches("a{x}", "a{x}") && matches("a{,2}", "aa") && matches("{", "{"));
        assert!(matches("[a[&&]", "[") && matches("[a[&&]", "&") && matches("[]a]", "]"));
        assert!(matches("[a-c-]", "-") && matches("[a-c-]", "b") && !matches("[a-c-]", "d"));
        // Python escapes any punctuation; a backslash before the end makes the `$` a plain one.
        assert!(matches("a\\", "a$"));
        assert!(matches("a\\-b", "a-b"));
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let inputs = [
            "(?=a)", "(?!a)", "(?<=a)b", "(?i)a", "(a)\\1", "(?P=x)", "a{2}{3}", "a?+", "\\p",
            "[a", "(a",
        ];
        for input in inputs {
            let refused = match translated(input) {
                Ok((pattern, _)) => regex::Regex::new(&pattern).is_err(),
                Err(_) => true,
            };
            assert!(refused, "{input}");
        }
    }
}
