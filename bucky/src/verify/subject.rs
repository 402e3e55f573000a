//! A metric to verify.

use bucky_whisper::MetricName;

use crate::holders::Place;

/// A metric to verify.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// The metric.
    pub(crate) metric: MetricName,
    /// Where it belongs.
    pub(crate) place: Place,
    /// The nodes that are asked for it: those that listed it, and its owners. Sorted.
    pub(crate) nodes: Vec<usize>,
}
