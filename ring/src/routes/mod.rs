//! carbon-c-relay's routing rules: for each name, the rings that it goes to and the text that is hashed there.
//!
//! A relay with several clusters tries its `match` rules from top to bottom. A rule that matches sends the
//! metric to its clusters, hashed by its name or by another text (`route using`), and the next rule is tried
//! unless the rule has `stop`. A name that two rings get is a mirror and lies in both. A name that no rule
//! sends to a ring lies on none of its nodes by these rules. Source: `router_route_intern` of carbon-c-relay
//! 3.9, and what 3.7.3 and 3.9 do.

mod document;
mod expression;
mod posix;
mod template;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use regex::bytes::{RegexSet, RegexSetBuilder};
use smallvec::SmallVec;

pub use self::document::{ClusterDocument, RoutesDocument, RuleDocument};
use self::expression::{Expression, Using};

/// The most rules. Each costs every name a comparison.
const RULES_MOST: usize = 2000;
/// The most rules with `route using`. Each keeps its own regular expression.
const USING_MOST: usize = 256;
/// The most rings. A relay with more has them for something else.
const CLUSTERS_MOST: usize = 64;
/// The longest expression or text, in bytes (the relay's own limit).
const TEXT_MOST_BYTES: usize = 8192;
/// The most bytes of all regular expressions together, compiled.
const REGEXES_MOST_BYTES: usize = 64 << 20;

/// Routing rules, ready for use. Two are equal if they are written equally.
#[derive(Clone)]
pub struct RouteRules {
    document: RoutesDocument,
    rules: Vec<Rule>,
    /// All regular expressions at once: most names match few of them.
    regexes: RegexSet,
}

#[derive(Clone)]
struct Rule {
    expression: Expression,
    /// The position of a regular expression in the set of all.
    in_set: Option<usize>,
    using: Option<Using>,
    to: SmallVec<[u16; 2]>,
    stops: bool,
}

/// A ring that a name goes to, and what is hashed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent<'n> {
    /// The position of the ring in [`RoutesDocument::clusters`].
    pub(crate) cluster: usize,
    /// The text.
    pub(crate) text: Cow<'n, str>,
}

impl RouteRules {
    /// The rules in `document`. Its rings are checked when a [`crate::Ring`] is built.
    ///
    /// # Errors
    /// [`RouteError`] for the first rule that cannot be read in only one way, or that names no cluster.
    pub fn new(document: RoutesDocument) -> Result<Self, RouteError> {
        let whole = |reason: &str| RouteError { rule: None, reason: reason.to_owned() };
        if document.clusters.is_empty() {
            return Err(whole("they have no clusters"));
        }
        if document.clusters.len() > CLUSTERS_MOST || document.rules.len() > RULES_MOST {
            return Err(whole("they have more than 64 clusters or 2000 rules"));
        }
        if document.rules.iter().filter(|rule| rule.using.is_some()).count() > USING_MOST {
            return Err(whole("more than 256 of them have `route using`"));
        }
        let mut clusters = HashMap::new();
        for (position, cluster) in (0_u16..).zip(&document.clusters) {
            if clusters.insert(cluster.name.as_str(), position).is_some() {
                return Err(whole("they have two clusters of one name"));
            }
        }
        let mut rules = Vec::with_capacity(document.rules.len());
        let mut patterns = Vec::new();
        for (index, written) in document.rules.iter().enumerate() {
            let mut rule = Rule::new(written, &clusters)
                .map_err(|reason| RouteError { rule: Some(index), reason })?;
            if let Expression::Regex(regex) = &rule.expression {
                rule.in_set = Some(patterns.len());
                patterns.push(regex.clone());
            }
            rules.push(rule);
        }
        let regexes = RegexSetBuilder::new(&patterns).size_limit(REGEXES_MOST_BYTES).build();
        let regexes = regexes.map_err(|error| whole(&error.to_string()))?;
        Ok(Self { document, rules, regexes })
    }

    /// The rules as a ring document holds them.
    pub fn document(&self) -> &RoutesDocument {
        &self.document
    }

    /// Eight hexadecimal digits that are equal for equal rules, to tell them apart at a glance.
    pub fn digest(&self) -> String {
        let text = serde_json::to_string(&self.document).unwrap_or_default();
        format!("{:08x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()) >> 32)
    }

    /// Where a metric goes by its `name`, which is the part of it that the relay hashes. A ring can be there
    /// more than once, with other texts.
    pub(crate) fn sent<'n>(&self, name: &'n str) -> SmallVec<[Sent<'n>; 2]> {
        let mut sent: SmallVec<[Sent<'n>; 2]> = SmallVec::new();
        let by_regex = self.regexes.matches(name.as_bytes());
        for rule in &self.rules {
            let is_match = match rule.in_set {
                Some(index) => by_regex.matched(index),
                None => rule.expression.matches(name),
            };
            if !is_match {
                continue;
            }
            let text = match &rule.using {
                Some(using) => rule.expression.hashed(name, using).map(Cow::Owned),
                None => Some(Cow::Borrowed(name)),
            };
            for (cluster, text) in rule.to.iter().zip(text.iter().cycle()) {
                let to = Sent { cluster: usize::from(*cluster), text: text.clone() };
                if !sent.contains(&to) {
                    sent.push(to);
                }
            }
            if rule.stops {
                break;
            }
        }
        sent
    }
}

impl Rule {
    fn new(written: &RuleDocument, clusters: &HashMap<&str, u16>) -> Result<Self, String> {
        let texts = [&written.r#match, &written.using];
        if texts.into_iter().flatten().any(|text| text.len() > TEXT_MOST_BYTES) {
            return Err(format!("it is longer than {TEXT_MOST_BYTES} bytes"));
        }
        let (expression, using) =
            Expression::parse(written.r#match.as_deref(), written.using.as_deref())?;
        let to = written.to.iter().map(|name| {
            let found = clusters.get(name.as_str()).copied();
            found.ok_or_else(|| format!("it sends to {name:?}, which is not one of the clusters"))
        });
        let to = to.collect::<Result<_, _>>()?;
        Ok(Self { expression, in_set: None, using, to, stops: written.stop })
    }
}

impl PartialEq for RouteRules {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

impl Eq for RouteRules {}

impl fmt::Debug for RouteRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RouteRules").field(&self.document).finish()
    }
}

/// Why carbon-c-relay does not start with a rule of this expression, whatever library reads it; a sentence
/// without a full stop.
pub fn invalid_expression(expression: &str) -> Option<String> {
    posix::translated(expression)
        .err()
        .filter(|untaken| untaken.is_invalid)
        .map(|untaken| untaken.reason)
}

/// Routing rules that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteError {
    /// The position of the rule, from 0; `None` if it is not one of them.
    pub rule: Option<usize>,
    /// What is wrong with it: a sentence without a full stop.
    pub reason: String,
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Some(rule) => write!(f, "rule {} cannot be used: {}", rule + 1, self.reason),
            None => write!(f, "the rules cannot be used: {}", self.reason),
        }
    }
}

impl std::error::Error for RouteError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str) -> ClusterDocument {
        ClusterDocument { name: name.into(), algo: "carbon".into(), replicas: 1, nodes: vec![0] }
    }

    fn rule(expression: &str, using: Option<&str>, to: &[&str], stop: bool) -> RuleDocument {
        RuleDocument {
            r#match: Some(expression.to_owned()).filter(|expression| expression != "*"),
            using: using.map(str::to_owned),
            to: to.iter().map(|name| (*name).to_owned()).collect(),
            stop,
        }
    }

    fn rules(rules: Vec<RuleDocument>) -> Result<RouteRules, RouteError> {
        RouteRules::new(RoutesDocument { clusters: vec![cluster("old"), cluster("new")], rules })
    }

    fn sent(rules: &RouteRules, name: &str) -> Vec<(usize, String)> {
        rules.sent(name).into_iter().map(|sent| (sent.cluster, sent.text.into_owned())).collect()
    }

    #[test]
    fn rules_are_tried_from_top_to_bottom_until_one_stops() {
        let rules = rules(vec![
            rule(r"^junk\.", None, &[], true),
            rule(r"^old\.", None, &["old"], true),
            rule(r"^([^.]+)\.hosts\.", Some(r"\1"), &["new"], false),
            rule("*", None, &["new", "old"], false),
        ])
        .expect("rules");
        let plain = |cluster, name: &str| (cluster, name.to_owned());
        assert_eq!(sent(&rules, "junk.a"), []);
        assert_eq!(sent(&rules, "old.a"), [plain(0, "old.a")]);
        assert_eq!(sent(&rules, "a"), [plain(1, "a"), plain(0, "a")]);
        assert_eq!(
            sent(&rules, "x.hosts.a"),
            [plain(1, "xa"), plain(1, "x.hosts.a"), plain(0, "x.hosts.a")]
        );
    }

    #[test]
    fn a_name_goes_to_a_ring_once_by_equal_texts() {
        let rules = rules(vec![rule("a", None, &["old"], false), rule("*", None, &["old"], false)])
            .expect("rules");
        assert_eq!(sent(&rules, "a"), [(0, "a".to_owned())]);
    }

    #[test]
    fn a_rule_that_cannot_be_used_is_named() {
        let refused =
            |made: Result<RouteRules, RouteError>| made.expect_err("no rules").to_string();
        assert_eq!(
            refused(rules(vec![rule("a", None, &[], false), rule("b", None, &["x"], false)])),
            "rule 2 cannot be used: it sends to \"x\", which is not one of the clusters"
        );
        assert!(refused(rules(vec![rule(r"a\d", None, &[], false)])).contains("write [0-9]"));
        let using = rule(r"^(a)", Some(r"\1"), &["old"], false);
        assert!(refused(rules(vec![using; 257])).contains("more than 256 of them"));
        let huge = rule(&"[^.]{255}".repeat(200), None, &["old"], false);
        assert!(refused(rules(vec![huge; 200])).contains("size limit"));
        let long = "a".repeat(8193);
        assert!(refused(rules(vec![rule(&long, None, &[], false)])).contains("8192 bytes"));
        let many = vec![rule("a", None, &[], false); 2001];
        assert!(refused(rules(many)).contains("more than 64 clusters or 2000 rules"));
        let twice =
            RoutesDocument { clusters: vec![cluster("a"), cluster("a")], rules: Vec::new() };
        assert!(refused(RouteRules::new(twice)).contains("two clusters of one name"));
        assert!(refused(RouteRules::new(RoutesDocument::default())).contains("no clusters"));
    }
}
