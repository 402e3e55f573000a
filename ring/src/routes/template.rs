//! The text behind `route using`: what takes the place of the part of a name that matched.
//!
//! `\1` is the first group; `\_1` is it in lower case, `\^1` in upper case, and a `.` in front of the digits
//! (`\.1`, `\_.1`) makes its dots underscores. Source: `router_rewrite_metric` of carbon-c-relay 3.7.3 and 3.9.

/// A text with places for groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group { number: usize, case: Option<Case>, has_no_dots: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Lower,
    Upper,
}

impl Part {
    fn is_group(&self) -> bool {
        matches!(self, Self::Group { .. })
    }

    fn has_sign(&self) -> bool {
        matches!(self, Self::Group { case, has_no_dots, .. } if case.is_some() || *has_no_dots)
    }
}

impl Template {
    /// The template in `text`, for an expression with `groups` groups.
    ///
    /// # Errors
    /// A sentence without a full stop: what the relay's versions do not read alike.
    pub(super) fn parse(text: &str, groups: usize) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut pieces = text.split('\\');
        parts.extend(pieces.next().filter(|first| !first.is_empty()).map(text_part));
        for piece in pieces {
            let follows_group = parts.last().is_some_and(Part::is_group);
            let had_sign = parts.last().is_some_and(Part::has_sign);
            let read = reference(piece, groups)?;
            if follows_group && (had_sign || read.first().is_some_and(Part::has_sign)) {
                return Err(format!(
                    "`\\{piece}` is directly behind another group, where carbon-c-relay does not read `_`, `^` \
                     and `.` as it should"
                ));
            }
            parts.extend(read);
        }
        Ok(Self(parts))
    }

    /// The text with the groups of a match in it; a group that did not take part is empty.
    pub(super) fn filled<'n>(&self, group: impl Fn(usize) -> Option<&'n [u8]>) -> Vec<u8> {
        let mut filled = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.extend_from_slice(text.as_bytes()),
                Part::Group { number, case, has_no_dots } => {
                    let changed = |byte: &u8| match (byte, case) {
                        (b'.', _) if *has_no_dots => b'_',
                        (byte, Some(Case::Lower)) => byte.to_ascii_lowercase(),
                        (byte, Some(Case::Upper)) => byte.to_ascii_uppercase(),
                        (byte, None) => *byte,
                    };
                    filled.extend(group(*number).unwrap_or_default().iter().map(changed));
                }
            }
        }
        filled
    }
}

fn text_part(text: &str) -> Part {
    Part::Text(text.to_owned())
}

/// What follows a backslash: a group, and the text behind it.
fn reference(piece: &str, groups: usize) -> Result<Vec<Part>, String> {
    let (case, behind) = match piece.strip_prefix('_') {
        Some(behind) => (Some(Case::Lower), behind),
        None => match piece.strip_prefix('^') {
            Some(behind) => (Some(Case::Upper), behind),
            None => (None, piece),
        },
    };
    let (has_no_dots, behind) = match behind.strip_prefix('.') {
        Some(behind) => (true, behind),
        None => (false, behind),
    };
    let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
    let (number, text) = behind.split_at(digits);
    let number = number.parse().ok().filter(|number| (1..=groups).contains(number));
    let number = number.ok_or_else(|| {
        format!("`\\{piece}` names no group: the expression has {groups} of them")
    })?;
    let group = Part::Group { number, case, has_no_dots };
    let text = Some(text_part(text)).filter(|_| !text.is_empty());
    Ok([group].into_iter().chain(text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> String {
        let template = Template::parse(text, 2).unwrap_or_else(|why| panic!("{text}: {why}"));
        let group = |number| Some(if number == 1 { b"Web.01".as_slice() } else { b"cpu" });
        String::from_utf8(template.filled(group)).expect("text")
    }

    #[test]
    fn groups_are_filled_in_as_the_template_asks() {
        let cases = [
            (r"\1", "Web.01"),
            (r"a.\1.b", "a.Web.01.b"),
            (r"\2_\1", "cpu_Web.01"),
            (r"\1\2", "Web.01cpu"),
            (r"\_1", "web.01"),
            (r"\^1", "WEB.01"),
            (r"\.1x", "Web_01x"),
            (r"\_.1", "web_01"),
            (r"\^.1", "WEB_01"),
            ("plain", "plain"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(filled(text), expected, "{text}");
        }
    }

    /// `\1\_2` is the first group, `_` and `2` to the relay, and `\_1\2` has both in lower case.
    #[test]
    fn a_sign_directly_behind_a_group_is_refused() {
        for text in [r"\1\_2", r"\_1\2", r"\.1\2", r"\1\^2"] {
            let refused = Template::parse(text, 2).expect_err(text);
            assert!(refused.contains("directly behind another group"), "{text}: {refused}");
        }
        assert_eq!(filled(r"\_1-\^2"), "web.01-CPU");
    }

    #[test]
    fn what_names_no_group_is_refused() {
        for text in [r"\3", r"\0", r"\x", r"\g{1}", r"a\", r"\\1", r"\_", r"\99999999999999999999"]
        {
            assert!(Template::parse(text, 2).is_err(), "{text}");
        }
        assert!(Template::parse(r"\1", 0).is_err());
    }
}
