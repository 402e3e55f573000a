//! A batch of heals over all volumes. Each volume has its own part, which it makes durable by itself.

use std::fs::File;

use bucky_api::archive::{LargeMember, Member};
use bucky_api::{HealLine, MemberDigest};
use bucky_whisper::{Digest, MetricName};

use super::Volumes;
use crate::store::IncomingFile;
use crate::store::heal::VolumeBatch;
use crate::store::rules::HealRules;
use crate::store::tombstone::BatchId;
use crate::store::volume::Volume;

/// Metrics that are healed together, on any volume. [`HealBatch::finish`] makes them durable and returns a
/// line for each.
pub(crate) struct HealBatch<'s> {
    volumes: &'s Volumes,
    rules: HealRules,
    /// The prefix's part.
    prefix: VolumeBatch<'s>,
    /// The parts of other volumes.
    others: Vec<VolumeBatch<'s>>,
    /// The part of each line: `None` means the prefix's. Empty as long as there is no other part.
    order: Vec<Option<usize>>,
}

impl<'s> HealBatch<'s> {
    /// An empty batch.
    pub(crate) fn new(volumes: &'s Volumes) -> Self {
        let (rules, prefix) = (HealRules::default(), VolumeBatch::new(&volumes.prefix));
        Self { volumes, rules, prefix, others: Vec::new(), order: Vec::new() }
    }

    /// Sets the rules of the batch.
    #[must_use]
    pub(crate) fn by(self, rules: HealRules) -> Self {
        Self { prefix: self.prefix.by(rules), rules, ..self }
    }

    /// Whether no metric was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of lines, which is the index of the next.
    pub(crate) fn len(&self) -> usize {
        self.prefix.len() + self.others.iter().map(VolumeBatch::len).sum::<usize>()
    }

    /// Heals one metric up to the sync.
    pub(crate) fn take(&mut self, member: &Member) {
        self.part_of(&member.metric).take(member);
    }

    /// Begins to receive a long file, which is stored as `metric`.
    pub(crate) fn begin_large(
        &mut self,
        member: &LargeMember,
        metric: &MetricName,
    ) -> IncomingFile {
        match self.volumes.of(metric) {
            Volume::Prefix(_) => self.prefix.begin_large(member, metric),
            volume => VolumeBatch::new(volume).by(self.rules).begin_large(member, metric),
        }
    }

    /// A long file is complete.
    pub(crate) fn end_large(&mut self, incoming: IncomingFile, metric: MetricName) {
        self.part_of(&metric).end_large(incoming, metric);
    }

    /// Fills the metric's file from a long file, in the part of its volume. If that returns `false`, this
    /// batch has no line for it, and takes no other metric.
    pub(crate) fn fill_from_open(
        &mut self,
        metric: &MetricName,
        open: &File,
        digest: Digest,
    ) -> bool {
        self.part_of(metric).fill_from_open(metric, open, digest)
    }

    /// A long file is complete, and its sender gives no digest. It is accepted as it is.
    pub(crate) fn end_large_without_digest(&mut self, incoming: IncomingFile, metric: MetricName) {
        let digest =
            MemberDigest { metric: incoming.member.metric.clone(), digest: incoming.digest() };
        self.end_large(incoming, metric);
        self.verify(Some(&[digest]));
    }

    /// A long file will not be complete.
    pub(crate) fn discard_large(&self, incoming: IncomingFile, metric: &MetricName) {
        match self.volumes.of(metric) {
            Volume::Prefix(_) => self.prefix.discard_large(incoming),
            volume => VolumeBatch::new(volume).discard_large(incoming),
        }
    }

    /// Compares the long files that were received with the digests in the sender's report.
    pub(crate) fn verify(&mut self, sent: Option<&[MemberDigest]>) {
        self.prefix.verify(sent);
        self.others.iter_mut().for_each(|part| part.verify(sent));
    }

    /// Adds the line of a metric that did not arrive.
    pub(crate) fn note(&mut self, line: HealLine) {
        if !self.others.is_empty() {
            self.order.push(None);
        }
        self.prefix.note(line);
    }

    /// Makes the batch durable. Returns the lines in the order in which the metrics arrived. If files were
    /// reshaped, also returns the batches of tombstones that the old files became, with their numbers.
    pub(crate) fn finish(self) -> (Vec<HealLine>, Vec<(BatchId, u64)>) {
        let (prefix, set_aside) = self.prefix.finish();
        let mut set_aside = Vec::from_iter(set_aside);
        if self.others.is_empty() {
            return (prefix, set_aside);
        }
        let mut others = Vec::with_capacity(self.others.len());
        for part in self.others {
            let (lines, aside) = part.finish();
            set_aside.extend(aside);
            others.push(lines.into_iter());
        }
        let mut prefix = prefix.into_iter();
        let next = |part: Option<usize>| match part {
            None => prefix.next(),
            Some(part) => others.get_mut(part).and_then(Iterator::next),
        };
        (self.order.into_iter().filter_map(next).collect(), set_aside)
    }

    fn part_of(&mut self, metric: &MetricName) -> &mut VolumeBatch<'s> {
        let volume = self.volumes.of(metric);
        if let Volume::Prefix(_) = volume {
            if !self.others.is_empty() {
                self.order.push(None);
            }
            return &mut self.prefix;
        }
        if self.others.is_empty() {
            self.order = vec![None; self.prefix.len()];
        }
        let known = self.others.iter().position(|part| part.is_of(&volume));
        let part = known.unwrap_or_else(|| {
            self.others.push(VolumeBatch::new(volume).by(self.rules));
            self.others.len() - 1
        });
        self.order.push(Some(part));
        &mut self.others[part]
    }
}
