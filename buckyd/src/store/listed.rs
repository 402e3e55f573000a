//! The list of metrics, as the store changes it.
//!
//! What the store creates and deletes is in the list at once, and not only after the next scan.

use std::path::Path;

use bucky_whisper::MetricName;

/// Who keeps the list.
pub(crate) trait MetricList: Send + Sync {
    /// A file of `metric` was put in place.
    fn added(&self, metric: &MetricName);
    /// The file of `metric` was taken away.
    fn removed(&self, metric: &MetricName);
    /// How many metrics of the last scan lie below the folder `path` of the prefix.
    fn count_below(&self, path: &Path) -> u64;
}
