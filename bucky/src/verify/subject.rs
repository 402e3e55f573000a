//! A metric to verify.

use bucky_whisper::MetricName;

use crate::holders::MetricPlace;

/// A metric to verify.
#[derive(Clone, Debug)]
pub(crate) struct VerifySubject {
    /// The metric.
    pub(crate) metric: MetricName,
    /// Where it belongs.
    pub(crate) place: MetricPlace,
    /// The nodes that are asked for it: those that listed it, and its owners. Sorted.
    pub(crate) nodes: Vec<usize>,
}
