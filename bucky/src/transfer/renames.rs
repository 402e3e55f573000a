//! Metrics that their owners store under other names than their source.

use std::collections::HashMap;

use bucky_api::RenamedMetric;
use bucky_whisper::MetricName;

/// The new names of a batch's metrics. A metric that is not in it keeps its name.
#[derive(Debug, Default)]
pub(crate) struct Renames(HashMap<MetricName, MetricName>);

impl Renames {
    /// The name under which `metric` is stored, if it is renamed.
    pub(crate) fn of(&self, metric: &MetricName) -> Option<&MetricName> {
        self.0.get(metric)
    }

    /// Splits `metrics` for the request to an owner: those that keep their names, and those that are renamed.
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
    /// Takes pairs of an old name and a new one. A name that stays the same is not a renaming.
    fn from_iter<I: IntoIterator<Item = (MetricName, MetricName)>>(pairs: I) -> Self {
        Self(pairs.into_iter().filter(|(old, new)| old != new).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bucky_api::{DaemonAddr, HealLine, PullRequest};

    use super::*;
    use crate::fake_daemon::{Reply, daemon};
    use crate::fleet::Node;
    use crate::run::failure_kind::FailureKind;
    use crate::transfer::bring::BringReport;
    use crate::transfer::mover::Mover;
    use crate::transfer::mover::fake::{FakeMember, healed, mover};

    fn name(text: &str) -> MetricName {
        text.parse().unwrap()
    }

    async fn bring(mover: &Mover, source: &Arc<Node>) -> BringReport {
        let renames = [("old.a", "new.a"), ("same", "same")];
        let renames = renames.into_iter().map(|(old, new)| (name(old), name(new))).collect();
        let metrics = vec![name("old.a"), name("same")];
        let owner = Arc::clone(&mover.fleet.members[0]);
        mover.bring_as(source, &owner, metrics, None, &renames).await
    }

    /// An owner that stores each metric under the name that `stored` makes of the requested one.
    async fn owner(
        stored: impl Fn(&RenamedMetric) -> Option<MetricName> + Send + Sync + 'static,
    ) -> (DaemonAddr, Arc<Mutex<Vec<PullRequest>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let addr = daemon(move |request| {
            let pull: PullRequest = serde_json::from_slice(&request.body).unwrap();
            let kept = pull.metrics.iter().map(|metric| healed(metric, "x"));
            let renamed = pull
                .renamed
                .iter()
                .map(|metric| HealLine { stored_as: stored(metric), ..healed(&metric.name, "x") });
            let lines: Vec<HealLine> = kept.chain(renamed).collect();
            noted.lock().unwrap().push(pull);
            Reply::lines(&lines)
        });
        (addr.await, asked)
    }

    #[tokio::test]
    async fn an_owner_gets_new_names_for_renamed_metrics_only() {
        let (addr, asked) = owner(|metric| Some(metric.to.clone())).await;
        let nobody = daemon(|_| Reply::status(404)).await;
        let (mover, source) =
            mover(vec![FakeMember::v1("a", addr), FakeMember::v1("b", nobody)], false);
        let report = bring(&mover, &source).await;
        assert_eq!(report.done, [name("old.a"), name("same")]);
        assert!(report.failed.is_empty() && report.gone.is_empty());
        let asked = asked.lock().unwrap();
        assert_eq!(asked[0].metrics, [name("same")]);
        assert_eq!(asked[0].renamed, [RenamedMetric { name: name("old.a"), to: name("new.a") }]);
    }

    #[tokio::test]
    async fn an_owner_that_stored_a_metric_under_another_name_is_not_believed() {
        for stored in [None, Some(name("new.b"))] {
            let (addr, _) = owner(move |_| stored.clone()).await;
            let nobody = daemon(|_| Reply::status(404)).await;
            let (mover, source) =
                mover(vec![FakeMember::v1("a", addr), FakeMember::v1("b", nobody)], false);
            let report = bring(&mover, &source).await;
            assert_eq!(report.done, [name("same")]);
            let (metric, failure) = &report.failed[0];
            assert_eq!((metric, failure.kind), (&name("old.a"), FailureKind::WrongName));
            assert!(failure.reason.contains("instead of new.a"), "{}", failure.reason);
        }
    }
}
