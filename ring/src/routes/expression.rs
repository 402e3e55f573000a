//! The expression of a `match`: which names it takes, and which part of them it matches.
//!
//! carbon-c-relay compares an expression without special characters as text. The difference can be seen only
//! with `route using`: the text behind it is then taken as it is. Source: `determine_if_regex` and
//! `router_metric_matches`.

use std::ops::Range;

use regex::bytes::{Regex, RegexBuilder};

use super::posix::translated;
use super::template::Template;

/// The most bytes of a compiled regular expression with `route using`. The others are compiled together.
const REGEX_MOST_BYTES: usize = 256 << 10;
/// The most groups of an expression (`RE_MAX_MATCHES`, which counts the whole match too).
const GROUPS_MOST: usize = 63;

/// Which names a rule takes.
#[derive(Clone, Debug)]
pub(super) enum Expression {
    /// `*`: every name.
    All,
    /// A text without special characters.
    Text { text: String, at_start: bool, at_end: bool },
    /// A regular expression in Rust's syntax. Whether it matches is asked of all of them at once.
    Regex(String),
}

/// What is hashed in place of a name.
#[derive(Clone, Debug)]
pub(super) enum Using {
    /// This takes the place of the text that matched.
    Text(String),
    /// This, with the groups of the match in it, takes the place of what the expression matches.
    Template { regex: Regex, template: Template },
}

impl Expression {
    /// The expression, and what is hashed if `using` is there.
    ///
    /// # Errors
    /// A sentence without a full stop that says what cannot be read in only one way.
    pub(super) fn parse(
        expression: Option<&str>,
        using: Option<&str>,
    ) -> Result<(Self, Option<Using>), String> {
        let Some(written) = expression else {
            return match using {
                None => Ok((Self::All, None)),
                Some(_) => {
                    Err("`*` matches no part of a name that `route using` could replace".into())
                }
            };
        };
        if let Some(text) = plain(written) {
            let using = using.map(|using| match using.contains('\\') {
                false => Ok(Using::Text(using.to_owned())),
                true => Err(format!("{using:?} names a group, and the expression has none")),
            });
            return Ok((text, using.transpose()?));
        }
        let translated = translated(written).map_err(|untaken| untaken.reason)?;
        if translated.groups > GROUPS_MOST {
            return Err(format!("it has more than {GROUPS_MOST} groups"));
        }
        let using = using.map(|using| {
            if translated.groups == 0 {
                return Err("carbon-c-relay's versions hash different texts where the expression of `route using` \
                            has no group; put it in brackets"
                    .to_owned());
            }
            if !translated.is_exact {
                return Err("how much of a name it matches depends on the regular expression library: with \
                            `route using`, write it without `|` and without repeated groups"
                    .to_owned());
            }
            let regex = RegexBuilder::new(&translated.regex).size_limit(REGEX_MOST_BYTES).build();
            let regex = regex.map_err(|error| error.to_string())?;
            let template = Template::parse(using, translated.groups)?;
            Ok(Using::Template { regex, template })
        });
        let using = using.transpose()?;
        Ok((Self::Regex(translated.regex), using))
    }

    /// The part of `name` that matches; `None` also for a regular expression, which the set of all answers for.
    fn found(&self, name: &str) -> Option<Range<usize>> {
        match self {
            Self::All => Some(0..name.len()),
            Self::Text { text, at_start, at_end } => {
                let start = match (at_start, at_end) {
                    (true, true) => (name == text).then_some(0),
                    (true, false) => name.starts_with(text.as_str()).then_some(0),
                    (false, true) => name.strip_suffix(text.as_str()).map(str::len),
                    (false, false) => name.find(text.as_str()),
                };
                start.map(|start| start..start + text.len())
            }
            Self::Regex(_) => None,
        }
    }

    /// Whether it takes `name`, if it is no regular expression.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.found(name).is_some()
    }

    /// What is hashed in place of `name`; `None` if it does not match.
    pub(super) fn hashed(&self, name: &str, using: &Using) -> Option<String> {
        let (range, inserted) = match using {
            Using::Template { regex, template } => {
                let captures = regex.captures(name.as_bytes())?;
                let group = |number| captures.get(number).map(|group| group.as_bytes());
                (captures.get(0)?.range(), template.filled(group))
            }
            Using::Text(text) => (self.found(name)?, text.clone().into_bytes()),
        };
        let name = name.as_bytes();
        let hashed = [&name[..range.start], &inserted, &name[range.end..]].concat();
        Some(String::from_utf8_lossy(&hashed).into_owned())
    }
}

/// `written` as a text, if the relay compares it as one.
fn plain(written: &str) -> Option<Expression> {
    let (at_start, rest) = match written.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, written),
    };
    let (at_end, rest) = match rest.strip_suffix('$') {
        Some(rest) if !rest.ends_with('\\') => (true, rest),
        _ => (false, rest),
    };
    let mut text = String::new();
    let mut left = rest.chars();
    while let Some(next) = left.next() {
        match next {
            '\\' => text.push(left.next().filter(|next| ".*+(".contains(*next))?),
            next if next.is_ascii_alphanumeric() || "_-".contains(next) => text.push(next),
            _ => return None,
        }
    }
    Some(Expression::Text { text, at_start, at_end })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(expression: &str, using: Option<&str>) -> Result<(Expression, Option<Using>), String> {
        Expression::parse(Some(expression), using)
    }

    fn hashed(expression: &str, using: &str, name: &str) -> Option<String> {
        let (expression, using) =
            parse(expression, Some(using)).unwrap_or_else(|why| panic!("{why}"));
        expression.hashed(name, &using.expect("using"))
    }

    #[test]
    fn an_expression_without_special_characters_is_a_text() {
        let cases = [
            (r"^stats\.", "stats.a", "a.stats."),
            (r"\.count$", "a.count", "a.counts"),
            ("^all$", "all", "alla"),
            ("web-01", "a.web-01.b", "a.web01"),
            ("", "anything", ""),
        ];
        for (expression, matching, other) in cases {
            let (parsed, _) = parse(expression, None).expect(expression);
            assert!(matches!(parsed, Expression::Text { .. }), "{expression}");
            assert!(parsed.matches(matching), "{expression} {matching}");
            assert!(other.is_empty() || !parsed.matches(other), "{expression} {other}");
        }
        for expression in ["^a.b", "a:b", "[ab]", r"a\[b"] {
            let (parsed, _) = parse(expression, None).expect(expression);
            assert!(matches!(parsed, Expression::Regex(_)), "{expression}");
        }
    }

    #[test]
    fn only_what_matched_is_replaced() {
        let cases = [
            (r"^stats\.([^.]+)\.(.*)$", r"\1", "stats.web01.cpu.user", Some("web01")),
            (r"^timers\.([^.]+)", r"T_\1", "timers.web01.cpu", Some("T_web01.cpu")),
            (r"timers\.([^.]+)", r"T_\1", "pre.timers.web01.cpu", Some("pre.T_web01.cpu")),
            (r"^timers\.([^.]+)", r"T_\1", "other", None),
            (r"^stats\.", "x", "stats.a", Some("xa")),
            ("b", "", "a.b.b", Some("a..b")),
            ("b$", "c", "a.b.b", Some("a.b.c")),
        ];
        for (expression, using, name, expected) in cases {
            assert_eq!(hashed(expression, using, name).as_deref(), expected, "{expression} {name}");
        }
    }

    #[test]
    fn what_is_hashed_must_be_certain() {
        let cases = [
            (r"a.b", "x", "put it in brackets"),
            (r"(a|b)", r"\1", "without `|`"),
            (r"(a)*", r"\1", "without repeated groups"),
            (r"^stats\.", r"\1", "the expression has none"),
            (r"(a.)", r"\2", "names no group"),
        ];
        for (expression, using, said) in cases {
            let refused = parse(expression, Some(using)).expect_err(expression);
            assert!(refused.contains(said), "{expression}: {refused}");
        }
        assert!(Expression::parse(None, Some("x")).expect_err("*").contains("`*` matches no part"));
        let groups = "(a)".repeat(64);
        assert!(parse(&groups, None).expect_err("groups").contains("more than 63 groups"));
    }
}
