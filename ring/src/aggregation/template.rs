//! The name that a rule makes: its output with the fields filled in, as Python's `%` fills them.

use regex::Captures;

/// An output pattern.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

impl Template {
    /// The template of `output`, whose fields are among `fields`.
    ///
    /// # Errors
    /// The reason, if carbon would fail on it at each metric.
    pub(super) fn parse(output: &str, fields: &[String]) -> Result<Self, String> {
        if output.contains('%') {
            return Err(format!(
                "the output {output:?} contains `%`, on which carbon fails at each metric"
            ));
        }
        let mut parts = Vec::new();
        let mut rest = output;
        while let Some(begin) = rest.find(['<', '>']) {
            let field = rest[begin..].strip_prefix('<').and_then(|rest| rest.split_once('>'));
            let Some((field, after)) = field.filter(|(field, _)| !field.contains('<')) else {
                return Err(format!("the output {output:?} has a `<` or a `>` without the other"));
            };
            if !fields.iter().any(|known| known == field) {
                return Err(format!(
                    "the output names <{field}>, which the input does not have: carbon fails at each metric"
                ));
            }
            parts.push(Part::Text(rest[..begin].to_owned()));
            parts.push(Part::Field(field.to_owned()));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// The name with the fields of `captures`. A field that took no part in the match is `None`, Python's
    /// text for nothing.
    pub(super) fn filled(&self, captures: &Captures<'_>) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(field) => captures
                .name(field)
                .map_or_else(|| "None".to_owned(), |found| found.as_str().to_owned()),
        };
        self.0.iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_filled_in_and_one_without_a_match_is_none() {
        let fields = ["a".to_owned(), "b".to_owned()];
        let template = Template::parse("x.<a>.<b>y", &fields).expect("a template");
        let pattern = regex::Regex::new("^(?P<a>.)(?P<b>z)?$").expect("a pattern");
        let filled = |name| template.filled(&pattern.captures(name).expect("a match"));
        assert_eq!((filled("qz"), filled("q")), ("x.q.zy".into(), "x.q.Noney".into()));
        for output in ["<a", "a>", "<<a>>", "<c>", "100%"] {
            assert!(Template::parse(output, &fields).is_err(), "{output}");
        }
    }
}
