//! Checks the owners' files of live metrics, and reports what is missing or wrong.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bucky_whisper::MetricName;

use crate::TestCluster;
use crate::written::DroppedUpdate;

/// How many metrics with lost or wrong points a failed test shows, and how many points of each.
const METRICS_SHOWN: usize = 6;
const POINTS_SHOWN: usize = 3;
/// How many lines of a daemon's log about such a metric are shown.
const LOG_LINES: usize = 6;
/// The result of checking the owners' files.
#[derive(Debug, Default)]
pub(crate) struct LiveCheck<'d> {
    pub(crate) points: u64,
    pub(crate) dropped: &'d [DroppedUpdate],
    /// The number of points that are missing because carbon has dropped them.
    pub(crate) explained: u64,
    pub(crate) problems: Vec<(MetricName, String)>,
}

impl LiveCheck<'_> {
    pub(crate) fn explains(&self, metric: &MetricName, sent_at: f64) -> bool {
        self.dropped.iter().any(|dropped| dropped.explains(metric, sent_at))
    }

    pub(crate) fn add(&mut self, metric: &MetricName, problem: String) {
        self.problems.push((metric.clone(), problem));
    }

    pub(crate) fn report(&self, cluster: &TestCluster) -> String {
        let metrics: BTreeSet<&MetricName> = self.problems.iter().map(|(name, _)| name).collect();
        let mut text = format!(
            "{} of {} points are not as they were written, of {} metrics",
            self.problems.len(),
            self.points,
            metrics.len()
        );
        for name in metrics.into_iter().take(METRICS_SHOWN) {
            let of_metric = self.problems.iter().filter(|(metric, _)| metric == name);
            for (_, problem) in of_metric.take(POINTS_SHOWN) {
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
