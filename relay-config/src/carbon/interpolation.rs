//! `%(name)s` in values, as Python's `BasicInterpolation` replaces it.

use super::ini::{Ini, Section, Value};
use crate::{Refusal, RefusalKind};

/// How deep values may refer to others (`MAX_INTERPOLATION_DEPTH`).
const DEPTH_MOST: usize = 10;
/// The longest value that is built. Python has no limit, and nested references multiply.
const VALUE_MOST_BYTES: usize = 1024 * 1024;
/// The most references that are followed for one value, for the same reason.
const REFERENCES_MOST: usize = 10_000;

/// The value `raw` of a key of `section`, with its references replaced.
///
/// # Errors
/// [`Refusal`] for a `%` that begins neither `%%` nor a reference, and for an unknown name.
pub(crate) fn interpolated(
    ini: &Ini<'_>,
    section: &Section,
    raw: &Value,
) -> Result<Value, Refusal> {
    if !raw.text.contains('%') {
        return Ok(raw.clone());
    }
    let mut work = Work { ini, section, value: Value::of_key(raw.key_offset), references: 0 };
    work.add(raw, None, 1)?;
    Ok(work.value)
}

struct Work<'w> {
    ini: &'w Ini<'w>,
    section: &'w Section,
    value: Value,
    references: usize,
}

impl Work<'_> {
    /// Adds `raw`. `shown` is where a text from another value is shown.
    fn add(&mut self, raw: &Value, shown: Option<usize>, depth: usize) -> Result<(), Refusal> {
        let mut at = 0;
        while let Some(rest) = raw.text.get(at..).filter(|rest| !rest.is_empty()) {
            let offset = raw.offset(at);
            let percent = rest.find('%').unwrap_or(rest.len());
            if percent > 0 {
                self.push(&rest[..percent], shown, offset)?;
                at += percent;
                continue;
            }
            if rest.starts_with("%%") {
                self.push("%", shown, offset)?;
                at += 2;
                continue;
            }
            let Some(name) = reference(rest) else {
                let found: String = rest.chars().take(2).collect();
                return Err(self.refuse(
                    offset,
                    format!("{found:?} begins no %(NAME)s; carbon does not start: write %% for a percent sign"),
                ));
            };
            at += name.len() + "%()s".len();
            self.follow(name, shown, offset, depth)?;
        }
        Ok(())
    }

    fn follow(
        &mut self,
        name: &str,
        shown: Option<usize>,
        offset: usize,
        depth: usize,
    ) -> Result<(), Refusal> {
        self.references += 1;
        if depth >= DEPTH_MOST || self.references > REFERENCES_MOST {
            return Err(self.refuse(offset, format!("%({name})s refers to too many other values")));
        }
        let ini = self.ini;
        let Some(other) = ini.get(self.section, &name.to_lowercase()) else {
            let section = &self.section.name;
            return Err(self.refuse(
                offset,
                format!("%({name})s: neither [{section}] nor [DEFAULT] has {name}"),
            ));
        };
        if other.text.contains('%') {
            return self.add(other, Some(shown.unwrap_or(offset)), depth + 1);
        }
        self.push(&other.text, Some(shown.unwrap_or(offset)), offset)
    }

    fn push(&mut self, text: &str, shown: Option<usize>, offset: usize) -> Result<(), Refusal> {
        if self.value.text.len() + text.len() > VALUE_MOST_BYTES {
            return Err(self.refuse(offset, "the value grows beyond 1 MiB".to_owned()));
        }
        match shown {
            Some(shown) => self.value.push_from_elsewhere(text, shown),
            None => self.value.push(text, offset),
        }
        Ok(())
    }

    fn refuse(&self, offset: usize, message: String) -> Refusal {
        Refusal { kind: RefusalKind::Interpolation, place: self.ini.place(offset), message }
    }
}

/// The name in `%(name)s` at the beginning of `text`.
fn reference(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("%(")?;
    let end = rest.find(')')?;
    let name = &rest[..end];
    (!name.is_empty() && rest[end..].starts_with(")s")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceFile;

    fn value(text: &str) -> Result<(String, String), String> {
        let file = SourceFile::new("f", text);
        let ini = Ini::parse(&file).expect("a file");
        let section = ini.section("a").expect("a section");
        let value = interpolated(&ini, section, ini.get(section, "k").expect("a key"));
        let value = value.map_err(|refusal| refusal.to_string())?;
        let last = value.text.len().saturating_sub(1);
        let place = ini.place(value.offset(last)).to_string();
        Ok((value.text, place))
    }

    #[test]
    fn references_are_replaced_and_shown_where_they_are_used() {
        let text = "[DEFAULT]\nd = x\n[a]\nl = %(D)s.y\nk = %%%(l)s\n";
        assert_eq!(value(text), Ok(("%x.y".into(), "f:5:7".into())));
    }

    #[test]
    fn what_begins_no_reference_is_refused() {
        for (text, said) in [
            ("[a]\nk = a%H", "f:2:6: \"%H\" begins no %(NAME)s"),
            ("[a]\nk = %", "f:2:5: \"%\" begins no"),
            ("[a]\nk = %(b", "\"%(\" begins no"),
            ("[a]\nk = %(b)d", "\"%(\" begins no"),
            ("[a]\nk = %(b)s", "neither [a] nor [DEFAULT] has b"),
            ("[a]\nk = %(k)s", "refers to too many other values"),
        ] {
            let refusal = value(text).expect_err(text);
            assert!(refusal.contains(said) && refusal.ends_with("[interpolation]"), "{refusal}");
        }
    }

    #[test]
    fn references_that_multiply_are_bounded() {
        let mut text = "[a]\nk0 = 0123456789\n".to_owned();
        for level in 1..8 {
            let line = format!("%(k{})s", level - 1).repeat(20);
            text.push_str(&format!("k{level} = {line}\n"));
        }
        text.push_str("k = %(k7)s\n");
        assert!(value(&text).expect_err("too long").contains("refers to too many"));
    }
}
