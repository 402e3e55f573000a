//! Has all owners of a batch create or fill their copies, and makes the receipts.
//!
//! Each owner pulls the batch from the source (`pull`). A metric is healed if all owners healed it from the
//! same content.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use bucky_api::{DaemonAddr, DeleteMetric, HealLine, OnSchemaDifference};
use bucky_whisper::{Digest, MetricName};

use super::batch::Stray;
use super::mover::Mover;
use super::pull::Pull;
use super::renames::Renames;
use crate::fleet::Node;
use crate::run::failure::Failure;
use crate::run::tally::Effect;

/// Proof that all owners durably hold the metric as it was at `digest`. Only this module and its children
/// make one.
#[derive(Debug)]
pub(super) struct Healed {
    metric: MetricName,
    digest: Digest,
    owners: Arc<[DaemonAddr]>,
    /// For how many points an owner has no place, if the operator has allowed to lose them.
    given_up: u64,
}

impl Healed {
    /// The proof in an owner's line: it healed the metric from this digest. It holds for all of `owners`.
    pub(super) fn by_line(line: &HealLine, owners: Arc<[DaemonAddr]>) -> Option<Self> {
        let digest = line.digest.filter(|_| line.outcome.is_healed())?;
        let given_up = line.points_without_place();
        Some(Self { metric: line.metric.clone(), digest, owners, given_up })
    }

    /// The proof of two owners together, for the same content of the same metric.
    pub(super) fn and(self, other: &Self) -> Self {
        Self { given_up: self.given_up.max(other.given_up), ..self }
    }

    /// The metric.
    pub(super) fn metric(&self) -> &MetricName {
        &self.metric
    }

    /// For how many points an owner has no place.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up
    }

    /// The metric, if the proof is not needed.
    pub(super) fn into_metric(self) -> MetricName {
        self.metric
    }

    /// The request to delete its source, in a run with the policy `rule`.
    ///
    /// If every point had its place, the owners must hold all of them in the end. Carbon may create an
    /// owner's file again by another schema in the meantime, and the operator has not allowed to lose points
    /// of this metric.
    pub(super) fn to_delete(&self, rule: OnSchemaDifference) -> DeleteMetric {
        let gives_up = matches!(rule, OnSchemaDifference::Coarsen | OnSchemaDifference::Drop);
        let on_schema_difference =
            if gives_up && self.given_up == 0 { OnSchemaDifference::Keep } else { rule };
        let owners = self.owners.to_vec();
        let (name, digest) = (self.metric.clone(), self.digest);
        let points_given_up = self.given_up;
        DeleteMetric { name, digest, owners, on_schema_difference, points_given_up }
    }
}

/// The result of healing a batch.
#[derive(Debug, Default)]
pub(super) struct HealReport {
    /// Metrics that all owners healed from the same content.
    pub(super) healed: Vec<(Healed, Effect)>,
    /// Metrics that all owners healed, but from different contents.
    pub(super) again: Vec<Stray>,
    /// Metrics that are gone from the source.
    pub(super) gone: Vec<MetricName>,
    /// Metrics that some owner did not heal.
    pub(super) failed: Vec<(MetricName, Failure)>,
    /// How many were not tried because the operator stopped the run.
    pub(super) left: usize,
}

/// Heals `strays` of `source` at all of `owners`; `renames` has their names there.
pub(super) async fn heal(
    mover: &Mover,
    source: &Arc<Node>,
    owners: &[Arc<Node>],
    strays: Vec<Stray>,
    renames: &Renames,
) -> HealReport {
    let mut report = HealReport::default();
    let addrs: Arc<[DaemonAddr]> = owners.iter().map(|owner| owner.addr().clone()).collect();
    let mut left: BTreeMap<MetricName, Candidate> =
        strays.into_iter().map(|stray| (stray.metric, Candidate::of(stray.bytes))).collect();
    for (number, owner) in owners.iter().enumerate() {
        let strays = left.iter().map(|(metric, candidate)| candidate.stray(metric)).collect();
        let pull = Pull { mover, source, owner, renames, is_first: number == 0 };
        let pulled = pull.run(strays).await;
        report.gone.extend(pulled.gone);
        report.failed.extend(pulled.failed);
        report.left += pulled.left.len();
        let mut healed = BTreeMap::new();
        for line in pulled.lines {
            if let Some(candidate) = left.remove(&line.metric) {
                let candidate = candidate.healed(&line);
                healed.insert(line.metric, candidate);
            }
        }
        left = healed;
    }
    for (metric, candidate) in left {
        match (candidate.content, candidate.effect) {
            (HealedFrom::One(digest), Some(effect)) => {
                let given_up = candidate.given_up;
                let healed = Healed { metric, digest, owners: Arc::clone(&addrs), given_up };
                report.healed.push((healed, effect));
            }
            _ => report.again.push(Stray { metric, bytes: candidate.bytes }),
        }
    }
    report
}

/// A metric that some of its owners have healed so far.
struct Candidate {
    content: HealedFrom,
    effect: Option<Effect>,
    /// The length of its file; `None` if it is not known.
    bytes: Option<NonZeroU64>,
    /// The most points that any owner so far has no place for.
    given_up: u64,
}

/// The content from which the owners so far have healed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HealedFrom {
    /// None has healed yet.
    None,
    /// All of them healed from this content.
    One(Digest),
    /// The source was written to in the meantime, or an owner gave no digest.
    Several,
}

impl Candidate {
    fn of(bytes: Option<NonZeroU64>) -> Self {
        Self { content: HealedFrom::None, effect: None, bytes, given_up: 0 }
    }

    fn stray(&self, metric: &MetricName) -> Stray {
        Stray { metric: metric.clone(), bytes: self.bytes }
    }
    fn healed(self, line: &HealLine) -> Self {
        let content = match (self.content, line.digest) {
            (HealedFrom::None, Some(digest)) => HealedFrom::One(digest),
            (HealedFrom::One(last), Some(digest)) if last == digest => self.content,
            _ => HealedFrom::Several,
        };
        let here = Effect { outcome: line.outcome, points: line.points, bytes: line.bytes };
        let effect = self.effect.map_or(here, |effect| effect.and(here));
        let given_up = self.given_up.max(line.points_without_place());
        Self { content, effect: Some(effect), bytes: NonZeroU64::new(line.bytes), given_up }
    }
}

#[cfg(test)]
mod tests {
    use bucky_api::{ArchiveGap, FileSchema, HealOutcome, NoPlaceReason, SchemaDifference};

    use super::*;

    fn line(without_place: u64) -> HealLine {
        let gap = ArchiveGap {
            seconds_per_point: 60,
            points: without_place,
            reason: NoPlaceReason::NoArchive,
            oldest: 0,
            newest: 0,
            coarser: 0,
            coarser_seconds_per_point: 0,
        };
        let schema = |archives: &str| FileSchema {
            archives: archives.to_owned(),
            aggregation: "average".to_owned(),
            x_files_factor: "0.5".to_owned(),
        };
        let difference = SchemaDifference {
            source: schema("60s:1d"),
            owner: schema("1h:1d"),
            gaps: vec![gap],
            reshaped_from: None,
        };
        HealLine {
            metric: "a".parse().unwrap(),
            stored_as: None,
            outcome: HealOutcome::Unchanged,
            points: 0,
            held: None,
            difference: Some(Box::new(difference)),
            bytes: 0,
            digest: Some(Digest::of(b"content")),
            problem: None,
            reason: String::new(),
        }
    }

    /// Otherwise the owner without a place for them would be asked for points that the operator gave up, for
    /// ever.
    #[test]
    fn the_proof_of_two_owners_gives_up_as_many_points_as_the_worse_of_them() {
        let owners: Arc<[DaemonAddr]> = Arc::new(["b:4242".parse().unwrap()]);
        let proof = |points| Healed::by_line(&line(points), Arc::clone(&owners)).unwrap();
        for (first, second) in [(3, 0), (0, 3)] {
            let both = proof(first).and(&proof(second));
            let delete = both.to_delete(OnSchemaDifference::Drop);
            assert_eq!(delete.points_given_up, 3);
            assert_eq!(delete.on_schema_difference, OnSchemaDifference::Drop);
        }
    }
}
