//! A number of things for people: `1 metric`, `1,234 metrics`.

/// A number for people, in groups of three digits: `1,234,567`.
pub fn human_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The number and the right form of the noun: `one` if `count` is 1, `many` otherwise.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", human_count(count), if count == 1 { one } else { many })
}

/// `count` metrics.
pub fn metrics(count: u64) -> String {
    counted(count, "metric", "metrics")
}

/// `count` metrics with the verb "to be".
pub fn metrics_are(count: u64) -> String {
    counted(count, "metric is", "metrics are")
}

/// `count` points.
pub fn points(count: u64) -> String {
    counted(count, "point", "points")
}

/// `count` copies.
pub fn copies(count: u64) -> String {
    counted(count, "copy", "copies")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_groups_of_three_digits() {
        for (count, text) in [(0, "0"), (12, "12"), (123, "123"), (1_234_567, "1,234,567")] {
            assert_eq!(human_count(count), text);
        }
    }

    #[test]
    fn one_thing_is_singular_and_any_other_number_is_plural() {
        assert_eq!([0, 1, 2].map(metrics), ["0 metrics", "1 metric", "2 metrics"]);
        assert_eq!([1, 1_234].map(metrics_are), ["1 metric is", "1,234 metrics are"]);
        assert_eq!((points(1), points(0)), ("1 point".into(), "0 points".into()));
        assert_eq!((copies(1), copies(2)), ("1 copy".into(), "2 copies".into()));
    }
}
