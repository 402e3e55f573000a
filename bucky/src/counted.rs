//! A count and its noun, for people: `1 metric`, `1,234 metrics`.

use crate::output::human_count;

/// `count` with the noun `one` or `many`.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", human_count(count), if count == 1 { one } else { many })
}

/// `count` metrics.
pub(crate) fn metrics(count: u64) -> String {
    counted(count, "metric", "metrics")
}

/// `count` metrics, followed by "is" or "are".
pub(crate) fn metrics_are(count: u64) -> String {
    counted(count, "metric is", "metrics are")
}

/// `count` points.
pub(crate) fn points(count: u64) -> String {
    counted(count, "point", "points")
}

/// `count` copies.
pub(crate) fn copies(count: u64) -> String {
    counted(count, "copy", "copies")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_singular_and_any_other_number_is_plural() {
        assert_eq!([0, 1, 2].map(metrics), ["0 metrics", "1 metric", "2 metrics"]);
        assert_eq!([1, 1_234].map(metrics_are), ["1 metric is", "1,234 metrics are"]);
        assert_eq!((points(1), points(0)), ("1 point".into(), "0 points".into()));
        assert_eq!((copies(1), copies(2)), ("1 copy".into(), "2 copies".into()));
    }
}
