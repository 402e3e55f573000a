//! Metrics that are stored at their owners under other names than they have at their source.

use std::collections::HashMap;

use bucky_api::RenamedMetric;
use bucky_whisper::MetricName;

/// Under which names the metrics of a batch are stored. What is not in it keeps its name.
#[derive(Debug, Default)]
pub(crate) struct Renames(HashMap<MetricName, MetricName>);

impl Renames {
    /// Whether all keep their names.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name that `metric` is stored under, where that is another one.
    pub(crate) fn of(&self, metric: &MetricName) -> Option<&MetricName> {
        self.0.get(metric)
    }

    /// `metrics` by what an owner is told of them: those that keep their names, and those that do not.
    pub(super) fn parted<'m>(
        &self,
        metrics: impl Iterator<Item = &'m MetricName>,
    ) -> (Vec<MetricName>, Vec<RenamedMetric>) {
        let (mut kept, mut renamed) = (Vec::new(), Vec::new());
        for name in metrics.cloned() {
            match self.of(&name).cloned() {
                Some(to) => renamed.push(RenamedMetric { name, to }),
                None => kept.push(name),
            }
        }
        (kept, renamed)
    }
}

impl FromIterator<(MetricName, MetricName)> for Renames {
    /// Of pairs of an old name and a new one. One that stays the same is no renaming.
    fn from_iter<I: IntoIterator<Item = (MetricName, MetricName)>>(pairs: I) -> Self {
        Self(pairs.into_iter().filter(|(old, new)| old != new).collect())
    }
}
