//! The list of metrics, as the store changes it.
//!
//! Files that the store creates and deletes are in the list at once, and not only after the next scan.

use std::path::Path;

use bucky_whisper::MetricName;

/// The keeper of the list.
pub(crate) trait MetricList: Send + Sync {
    /// A file of `metric` was put in place.
    fn added(&self, metric: &MetricName);
    /// The file of `metric` was removed.
    fn removed(&self, metric: &MetricName);
    /// How many metrics of the last scan are below the folder `path` of the prefix.
    fn count_below(&self, path: &Path) -> u64;
}
