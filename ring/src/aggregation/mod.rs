//! carbon's aggregation rules, for its aggregated hashing: a metric lies where its aggregates are hashed to.
//!
//! With `RELAY_METHOD = aggregated-consistent-hashing` (or `fast-aggregated-hashing`), carbon's relay sends a
//! metric to the owners of every aggregate that the rules make of it, so that each aggregator gets all that it
//! needs. The owners of one metric are then a set: from one node up to the number of rules times the
//! replication factor. A metric that no rule matches goes to its own owners. Source: `routers.py`
//! (`AggregatedConsistentHashingRouter`) and `aggregator/rules.py` of carbon 1.1.10.

mod pattern;
mod template;

use std::fmt;

use regex::{Regex, RegexSet};

use self::template::Template;

/// The most rules. Each is a regular expression that every name is compared with.
const RULES_MOST: usize = 1000;
/// The longest text of rules.
const TEXT_MOST_BYTES: usize = 1024 * 1024;
/// The methods that carbon knows (`AGGREGATION_METHODS`).
const METHODS: [&str; 12] =
    ["sum", "avg", "min", "max", "p50", "p75", "p80", "p90", "p95", "p99", "p999", "count"];

/// The rules of an `aggregation-rules.conf`, ready for use.
///
/// Two are equal if their rules are written equally; comments and empty lines do not count.
#[derive(Clone)]
pub struct AggregationRules {
    text: String,
    rules: Vec<Rule>,
    /// All inputs at once: most names match none.
    inputs: RegexSet,
}

#[derive(Clone)]
struct Rule {
    input: Regex,
    output: Template,
}

impl AggregationRules {
    /// The rules in `text`, the content of an `aggregation-rules.conf`.
    ///
    /// # Errors
    /// [`RuleError`] for the first line that carbon refuses, that it fails on at each metric, or whose regular
    /// expression cannot be used here.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let refuse = |line, reason: &str| RuleError { line, reason: reason.to_owned() };
        if text.len() > TEXT_MOST_BYTES {
            return Err(refuse(1, "the rules are longer than 1 MiB"));
        }
        let mut rules = Vec::new();
        let mut written = Vec::new();
        let mut patterns = Vec::new();
        let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines().map(str::trim);
        for (line, content) in (1..).zip(lines) {
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            if rules.len() == RULES_MOST {
                return Err(refuse(line, "more than 1000 rules"));
            }
            let read = Definition::parse(content).and_then(|definition| definition.rule());
            let (rule, pattern) = read.map_err(|reason| RuleError { line, reason })?;
            rules.push(rule);
            patterns.push(pattern);
            written.push(content);
        }
        let inputs = RegexSet::new(&patterns)
            .map_err(|error| RuleError { line: 1, reason: short(&error) })?;
        Ok(Self { text: written.join("\n"), rules, inputs })
    }

    /// The rules as text: one a line, without comments and empty lines.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Eight hexadecimal digits that are equal for equal rules, to tell them apart at a glance.
    pub fn digest(&self) -> String {
        let hash = xxhash_rust::xxh3::xxh3_64(self.text.as_bytes());
        format!("{:08x}", hash >> 32)
    }

    /// The names of the aggregates of `series`, in the order of the rules, each once. Empty if no rule matches.
    pub fn aggregates(&self, series: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for index in self.inputs.matches(series) {
            let name = self.rules.get(index).and_then(|rule| {
                rule.input.captures(series).map(|captures| rule.output.filled(&captures))
            });
            names.extend(name.filter(|name| !names.contains(name)));
        }
        names
    }
}

impl PartialEq for AggregationRules {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for AggregationRules {}

impl fmt::Debug for AggregationRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AggregationRules").field(&self.text).finish()
    }
}

/// `OUTPUT (FREQUENCY) = METHOD INPUT`
struct Definition<'l> {
    output: &'l str,
    input: &'l str,
}

impl<'l> Definition<'l> {
    fn parse(line: &'l str) -> Result<Self, String> {
        let form = "write OUTPUT (SECONDS) = METHOD INPUT";
        // Allowed only where the file begins. Files put together have it in between, and nobody sees it.
        if line.contains('\u{feff}') {
            return Err("the rule has a byte-order mark (U+FEFF) in it; delete it".to_owned());
        }
        let (left, right) =
            line.split_once('=').ok_or_else(|| format!("the rule has no `=`; {form}"))?;
        let two = |side: &'l str| {
            let mut words = side.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some(first), Some(second), None) => Some((first, second)),
                _ => None,
            }
        };
        let (Some((output, frequency)), Some((method, input))) = (two(left), two(right)) else {
            return Err(format!(
                "the rule has not two words on each side of the first `=`; {form}"
            ));
        };
        let seconds = frequency.trim_start_matches('(').trim_end_matches(')');
        if seconds.parse::<i64>().is_err() {
            return Err(format!("{frequency:?} is not a number of seconds in brackets; {form}"));
        }
        if !METHODS.contains(&method) {
            return Err(format!(
                "carbon does not know the method {method:?} ({})",
                METHODS.join(", ")
            ));
        }
        Ok(Self { output, input })
    }

    /// The rule, and its input as a regular expression.
    fn rule(&self) -> Result<(Rule, String), String> {
        let (pattern, fields) = pattern::translated(self.input)?;
        let input = Regex::new(&pattern).map_err(|error| {
            format!("the input {:?} cannot be used: {}", self.input, short(&error))
        })?;
        let output = Template::parse(self.output, &fields)?;
        Ok((Rule { input, output }, pattern))
    }
}

/// The reason of a regular expression's error, without the expression.
fn short(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim().trim_start_matches("error: ").to_owned()
}

/// A line of aggregation rules that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the aggregation rules: {reason}")]
pub struct RuleError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aggregates(rules: &str, name: &str) -> Vec<String> {
        AggregationRules::parse(rules).unwrap_or_else(|error| panic!("{error}")).aggregates(name)
    }

    #[test]
    fn every_rule_that_matches_gives_an_aggregate_and_each_name_counts_once() {
        let rules = "# a comment\n\
            <env>.apps.<app>.all.<m> (60) = sum <env>.apps.<app>.*.<<m>>\n\n\
            <env>.all (60) = avg <env>.apps.*.*.hits\n\
            <env>.all (10) = max <env>.apps.*.*.hits\n";
        assert_eq!(
            aggregates(rules, "prod.apps.web.h1.hits"),
            ["prod.apps.web.all.hits", "prod.all"]
        );
        assert_eq!(aggregates(rules, "prod.apps.web.h1.cpu.user"), ["prod.apps.web.all.cpu.user"]);
        assert!(aggregates(rules, "prod.other.web.h1.hits").is_empty());
    }

    #[test]
    fn comments_do_not_count_when_rules_are_compared() {
        let parse = |text| AggregationRules::parse(text).expect("rules");
        let (plain, commented) =
            (parse("a (1) = sum b"), parse("\u{feff}# x\n\n  a (1) = sum b\n"));
        assert_eq!((&plain, plain.digest()), (&commented, commented.digest()));
        assert_ne!(plain, parse("a (1) = sum c"));
        assert_eq!(parse(plain.text()), plain);
    }

    #[test]
    fn the_first_line_that_cannot_be_used_is_named() {
        let cases = [
            (
                "a (60) = sum b\n\u{feff}c (60) = sum d\n",
                "line 2 of the aggregation rules: the rule has a byte-order mark",
            ),
            ("a (60) = sum b\nc\n", "line 2 of the aggregation rules: the rule has no `=`"),
            ("a = sum b", "not two words on each side"),
            ("a (60) = sum b c", "not two words on each side"),
            ("a (1m) = sum b", "\"(1m)\" is not a number of seconds"),
            ("a (60) = median b", "does not know the method \"median\""),
            ("<x> (60) = sum b", "the output names <x>, which the input does not have"),
            ("a%b (60) = sum b", "contains `%`"),
            ("a (60) = sum (b", "the input \"(b\" cannot be used: unclosed group"),
            ("a (60) = sum [a--z]", "it has a range to `-`"),
            ("a (60) = sum <x>.<x>", "cannot be used"),
            ("a (60) = sum (?=b)", "cannot be used"),
        ];
        for (rules, said) in cases {
            let error = AggregationRules::parse(rules).expect_err(rules).to_string();
            assert!(error.contains(said), "{rules}: {error}");
        }
        let many = "a (1) = sum b\n".repeat(1001);
        assert!(
            AggregationRules::parse(&many).expect_err("too many").to_string().contains("line 1001")
        );
    }
}
