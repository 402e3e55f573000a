//! Patterns that cover some metrics, and as few others as fit into a token. Pure.

use std::collections::BTreeSet;

use bucky_api::token::escaped;
use bucky_whisper::MetricName;

/// The total length of one token's patterns. They fit into the head of a request, even if the daemon limits
/// heads more than usual.
const LIMIT_BYTES: usize = 8 * 1024;
/// What a pattern takes besides its text: quotes and a comma.
const FRAME_BYTES: usize = 3;
/// The pattern that covers everything.
const ALL: &str = "*";

/// Patterns that match each of `metrics`: their exact names if those fit. Otherwise the longest common
/// beginnings, in whole components, that fit. Otherwise `*`.
pub(super) fn patterns<'a>(
    metrics: impl IntoIterator<Item = &'a MetricName> + Clone,
) -> Vec<String> {
    let names = || metrics.clone().into_iter().map(MetricName::as_str);
    if let Some(patterns) = fitting(names().map(escaped)) {
        return patterns;
    }
    let covering = |components| fitting(names().map(|name| beginning(name, components)));
    // Fewer components make all patterns together shorter, so a binary search finds the most that fit.
    let (mut fits, mut too_many) = (0, names().map(components_of).max().unwrap_or_default());
    while too_many - fits > 1 {
        let middle = fits.midpoint(too_many);
        match covering(middle) {
            Some(_) => fits = middle,
            None => too_many = middle,
        }
    }
    covering(fits).unwrap_or_else(|| vec![ALL.to_owned()])
}

fn components_of(name: &str) -> usize {
    name.matches('.').count() + 1
}

/// The patterns, each once, if they fit together.
fn fitting(patterns: impl Iterator<Item = String>) -> Option<Vec<String>> {
    let mut bytes = 0;
    let mut fitting = BTreeSet::new();
    for pattern in patterns {
        let len = pattern.len() + FRAME_BYTES;
        if fitting.insert(pattern) {
            bytes += len;
        }
        if bytes > LIMIT_BYTES {
            return None;
        }
    }
    Some(fitting.into_iter().collect())
}

/// The pattern for all metrics that share the first `components` of `name`. A name without more components
/// gets the pattern for itself alone. With 0 components it is the pattern for everything.
fn beginning(name: &str, components: usize) -> String {
    let Some(dots) = components.checked_sub(1) else { return ALL.to_owned() };
    match name.match_indices('.').nth(dots) {
        Some((dot, _)) => format!("{}{ALL}", escaped(name.get(..=dot).unwrap_or(name))),
        None => escaped(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucky_api::token::Pattern;

    fn names(names: impl IntoIterator<Item = String>) -> Vec<MetricName> {
        names.into_iter().map(|name| name.parse().unwrap()).collect()
    }

    fn covers(patterns: &[String], name: &str) -> bool {
        patterns.iter().any(|pattern| pattern.parse::<Pattern>().unwrap().matches(name))
    }

    #[test]
    fn few_metrics_are_named_and_no_other_is_covered() {
        let metrics = names(["app.a".into(), "app.b*".into(), "app.a".into()]);
        assert_eq!(patterns(&metrics), ["app.a", "app.b\\*"]);
        assert!(!covers(&patterns(&metrics), "app.bc"));
        assert!(patterns(&[]).is_empty());
    }

    #[test]
    fn many_metrics_are_covered_by_their_common_beginnings() {
        let web = (0..5_000).map(|number| format!("app.web.host{number}.hits"));
        let metrics = names(web.chain(["db".to_owned(), "sys.load".to_owned()]));
        let patterns = patterns(&metrics);
        assert_eq!(patterns, ["app.web.*", "db", "sys.load"]);
        assert!(metrics.iter().all(|metric| covers(&patterns, metric.as_str())));
        for other in ["app.x", "sys.loads", "db.x", "secret.x"] {
            assert!(!covers(&patterns, other), "{other}");
        }
    }

    #[test]
    fn as_many_components_stay_as_fit() {
        for depth in [2, 5, 40, 400] {
            let stem = vec!["x"; depth].join(".");
            let metrics = names((0..3_000).map(|number| format!("{stem}.m{number}.y.z")));
            assert_eq!(patterns(&metrics), [format!("{stem}.*")], "{depth}");
        }
        let some = names((0..3_000).map(|number| format!("a.b{}.c{number}.d", number % 20)));
        let patterns = patterns(&some);
        assert_eq!((patterns.len(), patterns[0].as_str()), (20, "a.b0.*"));
    }

    #[test]
    fn metrics_without_anything_in_common_take_everything() {
        let metrics = names((0..5_000).map(|number| format!("host{number}.hits")));
        assert_eq!(patterns(&metrics), ["*"]);
        let flat = names((0..5_000).map(|number| format!("host{number}")));
        assert_eq!(patterns(&flat), ["*"]);
    }
}
