//! Metrics that a pull stores under other names than at the source.

use std::collections::{HashMap, HashSet};

use bucky_api::bounded::METRICS_MOST;
use bucky_api::{HealLine, RenamedMetric};
use bucky_whisper::MetricName;

use crate::http::respond::ApiError;

/// The names under which a pull's metrics are stored.
#[derive(Default)]
pub(crate) struct Renames {
    /// New names by the name at the source.
    names: HashMap<MetricName, MetricName>,
    /// The name at the source by the number of the line.
    lines: Vec<(usize, MetricName)>,
}

/// All metrics that a request asks for, by their names at the source, and their renames.
///
/// # Errors
/// `bad_request` if it asks for no metric, for too many, or for one twice.
pub(crate) fn of_request(
    mut metrics: Vec<MetricName>,
    renamed: Vec<RenamedMetric>,
) -> Result<(Vec<MetricName>, Renames), ApiError> {
    if metrics.is_empty() && renamed.is_empty() {
        return Err(ApiError::bad_request("the request names no metric").hint(
            "give `metrics`, or `renamed` for metrics that will be stored under other names",
        ));
    }
    if renamed.is_empty() {
        return Ok((metrics, Renames::default()));
    }
    if metrics.len().saturating_add(renamed.len()) > METRICS_MOST {
        return Err(ApiError::bad_request(format!(
            "`metrics` and `renamed` have more than {METRICS_MOST} entries together; send them in several requests"
        )));
    }
    let mut seen: HashSet<&MetricName> = metrics.iter().collect();
    if let Some(twice) = renamed.iter().find(|metric| !seen.insert(&metric.name)) {
        return Err(ApiError::bad_request(format!(
            "the request names {} twice; one request stores a metric under one name only",
            twice.name
        )));
    }
    metrics.extend(renamed.iter().map(|metric| metric.name.clone()));
    let names = renamed.into_iter().map(|RenamedMetric { name, to }| (name, to)).collect();
    Ok((metrics, Renames { names, lines: Vec::new() }))
}

impl Renames {
    /// Whether all of `metrics` are stored under another name.
    pub(crate) fn are_all_of(&self, metrics: &[MetricName]) -> bool {
        metrics.iter().all(|metric| self.names.get(metric).is_some_and(|to| to != metric))
    }

    /// The name under which `metric` is stored.
    pub(crate) fn stored_as<'a>(&'a self, metric: &'a MetricName) -> &'a MetricName {
        self.names.get(metric).unwrap_or(metric)
    }

    /// Replaces `metric` by the name under which it is stored. Its line will be number `line`.
    pub(crate) fn apply(&mut self, metric: &mut MetricName, line: usize) {
        if let Some(to) = self.names.get(metric) {
            let name = std::mem::replace(metric, to.clone());
            self.lines.push((line, name));
        }
    }

    /// Puts the names at the source into the lines, and the new names into `stored_as`.
    pub(crate) fn restore_names(self, lines: &mut [HealLine]) {
        for (number, name) in self.lines {
            if let Some(line) = lines.get_mut(number) {
                line.stored_as = Some(std::mem::replace(&mut line.metric, name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MetricName {
        text.parse().unwrap()
    }

    fn renamed(pairs: &[(&str, &str)]) -> Vec<RenamedMetric> {
        pairs.iter().map(|(from, to)| RenamedMetric { name: name(from), to: name(to) }).collect()
    }

    #[test]
    fn a_request_names_each_metric_once_and_at_least_one() {
        assert!(of_request(Vec::new(), Vec::new()).is_err());
        assert!(of_request(vec![name("a")], renamed(&[("a", "b")])).is_err());
        assert!(of_request(Vec::new(), renamed(&[("a", "b"), ("a", "c")])).is_err());
        let (all, renames) = of_request(vec![name("a")], renamed(&[("b", "c")])).unwrap();
        assert_eq!(all, [name("a"), name("b")]);
        assert!(!renames.are_all_of(&all));
        assert!(of_request(vec![name("a")], Vec::new()).is_ok());
    }

    #[test]
    fn a_name_that_stays_the_same_is_not_a_rename() {
        let (all, renames) = of_request(Vec::new(), renamed(&[("a", "b"), ("c", "c")])).unwrap();
        assert!(!renames.are_all_of(&all));
        let (all, renames) = of_request(Vec::new(), renamed(&[("a", "b"), ("c", "b")])).unwrap();
        assert!(renames.are_all_of(&all));
    }
}
