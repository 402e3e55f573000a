//! A look at the owners' files of live metrics: what is missing or wrong, and telling it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bucky_whisper::MetricName;

use crate::TestCluster;
use crate::written::DroppedUpdate;

/// How many metrics with lost or wrong points a failed story tells of, and how many points of each.
const TOLD: usize = 6;
const TOLD_OF_EACH: usize = 3;
/// How many lines of a daemon's log that speak of such a metric.
const LOG_LINES: usize = 6;
/// What a look at the owners' files has found.
#[derive(Debug, Default)]
pub(crate) struct Look<'d> {
    pub(crate) points: u64,
    pub(crate) dropped: &'d [DroppedUpdate],
    /// Points that lack because carbon has dropped them.
    pub(crate) explained: u64,
    pub(crate) problems: Vec<(MetricName, String)>,
}

impl Look<'_> {
    pub(crate) fn explains(&self, metric: &MetricName, sent_at: f64) -> bool {
        self.dropped.iter().any(|dropped| dropped.explains(metric, sent_at))
    }

    pub(crate) fn add(&mut self, metric: &MetricName, problem: String) {
        self.problems.push((metric.clone(), problem));
    }

    pub(crate) fn tell(&self, cluster: &TestCluster) -> String {
        let metrics: BTreeSet<&MetricName> = self.problems.iter().map(|(name, _)| name).collect();
        let mut text = format!(
            "{} of {} points are not as they were written, of {} metrics",
            self.problems.len(),
            self.points,
            metrics.len()
        );
        for name in metrics.into_iter().take(TOLD) {
            let of_metric = self.problems.iter().filter(|(metric, _)| metric == name);
            for (_, problem) in of_metric.take(TOLD_OF_EACH) {
                let _ = write!(text, "\n{problem}");
            }
            for node in cluster.nodes() {
                if node.has(name.as_str()) {
                    let _ = write!(text, "\n    {} has the file", node.host());
                }
                let log = node.log();
                for line in log.lines().filter(|line| line.contains(name.as_str())).take(LOG_LINES)
                {
                    let _ = write!(text, "\n    {} logged: {line}", node.host());
                }
            }
        }
        text
    }
}
