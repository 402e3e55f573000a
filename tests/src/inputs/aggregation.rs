//! carbon's aggregation rules: what is read matches names without panic, and reads back as the same.

use bucky_ring::AggregationRules;

/// Names for the rules to match.
const NAMES: [&str; 4] = ["a.b.c", "prod.applications.web.h1.hits", "", "é.;x=y"];

pub(super) fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(rules) = AggregationRules::parse(&text) else { return };
    let again = AggregationRules::parse(rules.text());
    assert_eq!(again.as_ref(), Ok(&rules));
    for name in NAMES.iter().copied().chain(text.split_whitespace().take(20)) {
        let aggregates = rules.aggregates(name);
        let distinct: std::collections::BTreeSet<&String> = aggregates.iter().collect();
        assert_eq!(distinct.len(), aggregates.len(), "{name} has an aggregate twice");
    }
}
