//! Metrics from an archive stream, each healed in the store.

use std::collections::HashSet;
use std::io::Read;
use std::time::Duration;

use bucky_api::archive::{
    LargeMember, Limits, Member, NoRoom, ReadArchiveError, Receiver, receive_archive,
};
use bucky_api::{Encoding, HealLine, LeftOut, Problem, chain};
use bucky_whisper::MetricName;

use super::links::{Links, Measurement};
use super::renames::Renames;
use super::rights::Rights;
use crate::http::respond::ApiError;
use crate::memory::{Budget, GrowingShare, Share};
use crate::store::{BatchId, HealBatch, HealRules, IncomingFile, Volumes};

/// How much memory a metric takes until its line is sent, besides its name, and how often its name is held:
/// in its line, in its reason, as a path, and in the answer.
const LINE_BYTES: u64 = 1024;
const NAME_TIMES: u64 = 12;

/// The largest buffer that is kept for the next metric. It is not counted in the shares: there is one for
/// each transfer.
const SPARE_LIMIT_BYTES: usize = 512 * 1024;

/// What a stream may contain.
pub(crate) enum Expected {
    /// Any metric.
    Anything(Rights),
    /// Only these metrics: a pull's. The share of their list comes with them, and the lines of metrics that
    /// were not fetched.
    These {
        metrics: Vec<MetricName>,
        renames: Renames,
        denied: Vec<HealLine>,
        share: Share,
        measurement: Measurement,
    },
}

/// Where the metrics of a batch are stored.
pub(crate) struct Destination<'a> {
    pub(crate) store: &'a Volumes,
    /// The memory budget for what is received.
    pub(crate) budget: &'a Budget,
    pub(crate) links: &'a Links,
}

/// A batch that is durable.
pub(crate) struct StoredBatch {
    /// One line for each metric.
    pub(crate) lines: Vec<HealLine>,
    /// The batches of tombstones that reshapes left, each with its number of tombstones.
    pub(crate) set_aside: Vec<(BatchId, u64)>,
    /// The memory that the lines take.
    pub(crate) share: Share,
}

/// The limits for the memory of a batch.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    /// The memory budget for everything that is received.
    budget: &'a Budget,
    /// The longest file that is held in memory.
    file_limit_bytes: u64,
}

/// A batch that is being received.
pub(crate) struct IncomingBatch<'a> {
    batch: HealBatch<'a>,
    bounds: Bounds<'a>,
    /// What the sender may store. `None` for a pull, whose metrics were all checked.
    rights: Option<Rights>,
    /// The metrics of a pull that have not arrived yet.
    missing: HashSet<MetricName>,
    /// The metrics of a pull that are stored under another name.
    renames: Renames,
    /// The measurement of a pull's transfer.
    measurement: Option<Measurement>,
    links: &'a Links,
    /// The total length of the files that have arrived.
    file_bytes: u64,
    /// The memory of the metric that is arriving.
    member: GrowingShare,
    /// The memory of the metrics that have arrived, until their lines are sent.
    lines: GrowingShare,
    /// The long file that is arriving, and what it is stored as. The second is `None` if it may not be
    /// stored.
    large: Option<(LargeMember, Option<(IncomingFile, MetricName)>)>,
    /// The buffer for the next metric: the previous one, unless that has grown too long.
    spare: Vec<u8>,
}

impl Receiver for &mut IncomingBatch<'_> {
    fn announce(&mut self, metric: &MetricName, bytes: u64) -> Result<(), NoRoom> {
        // This daemon asked for the metric, so it trusts the announced length. Otherwise a sender could
        // reserve memory that it never fills.
        if self.is_pull() {
            // The line first: the file in memory must not wait for it.
            let provided = self
                .lines
                .provide_blocking(self.bounds.budget, line_bytes(metric))
                .and_then(|()| self.member.provide_blocking(self.bounds.budget, bytes));
            provided.map_err(|error| NoRoom(error.to_string()))?;
        }
        Ok(())
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let added = self.member.add_blocking(self.bounds.budget, bytes);
        added.map_err(|error| NoRoom(error.to_string()))
    }

    fn buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    fn begin_large(&mut self, member: &LargeMember) -> bool {
        // A metric that was not requested is not read to its end, however long it is.
        if self.is_pull() && !self.missing.contains(&member.metric) {
            return false;
        }
        let is_refused =
            self.rights.as_ref().is_some_and(|rights| rights.refusal(&member.metric).is_some());
        let incoming = (!is_refused).then(|| {
            let stored_as = self.renames.stored_as(&member.metric).clone();
            (self.batch.begin_large(member, &stored_as), stored_as)
        });
        // A metric that may not be stored is still read, because others may follow.
        self.large = Some((member.clone(), incoming));
        true
    }

    fn take_large_piece(&mut self, piece: &[u8]) -> Result<(), NoRoom> {
        if let Some((_, Some((incoming, _)))) = &mut self.large {
            incoming.write(piece);
        }
        Ok(())
    }

    fn end_large(&mut self) -> Result<(), NoRoom> {
        let Some((member, incoming)) = self.large.take() else { return Ok(()) };
        self.file_bytes += member.len_bytes;
        let added = self.add_line(&member.metric);
        match incoming {
            Some((incoming, stored_as)) if added.is_err() => {
                self.batch.discard_large(incoming, &stored_as);
                return added;
            }
            Some((incoming, stored_as)) => {
                self.missing.remove(&member.metric);
                let mut metric = member.metric;
                self.renames.apply(&mut metric, self.batch.len());
                self.batch.end_large(incoming, stored_as);
            }
            None => {
                if let Some(line) = self.rights.as_ref().and_then(|r| r.refusal(&member.metric)) {
                    self.batch.note(line);
                }
            }
        }
        added
    }

    fn take(&mut self, mut member: Member) -> Result<(), NoRoom> {
        self.file_bytes += member.content.len() as u64;
        // A peer's answer contains only requested metrics.
        if !self.is_pull() || self.missing.remove(&member.metric) {
            self.add_line(&member.metric)?;
            match self.rights.as_ref().and_then(|rights| rights.refusal(&member.metric)) {
                Some(line) => self.batch.note(line),
                None => {
                    self.renames.apply(&mut member.metric, self.batch.len());
                    self.batch.take(&member);
                }
            }
        }
        self.spare = member.content;
        if self.spare.capacity() > SPARE_LIMIT_BYTES {
            self.spare = Vec::new();
        }
        self.member = GrowingShare::default();
        Ok(())
    }
}

/// The memory of a metric's line. A new name is covered by [`LINE_BYTES`], or by the share of the pull's
/// list.
fn line_bytes(metric: &MetricName) -> u64 {
    LINE_BYTES + metric.as_str().len() as u64 * NAME_TIMES
}

impl<'a> IncomingBatch<'a> {
    pub(crate) fn new(to: Destination<'a>, rules: HealRules, expected: Expected) -> Self {
        let Destination { store, budget, links } = to;
        let mut batch = HealBatch::new(store).by(rules);
        let mut lines = GrowingShare::by_steps();
        let (rights, metrics, renames, measurement) = match expected {
            Expected::Anything(rights) => (Some(rights), Vec::new(), Renames::default(), None),
            Expected::These { metrics, renames, denied, share, measurement } => {
                denied.into_iter().for_each(|line| batch.note(line));
                lines.add(share);
                (None, metrics, renames, Some(measurement))
            }
        };
        Self {
            batch,
            bounds: Bounds { budget, file_limit_bytes: store.file_limit_bytes() },
            rights,
            missing: metrics.into_iter().collect(),
            renames,
            measurement,
            links,
            file_bytes: 0,
            member: GrowingShare::default(),
            lines,
            large: None,
            spare: Vec::new(),
        }
    }

    /// Whether no metric has arrived yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Makes the batch durable.
    pub(crate) fn finish(self) -> StoredBatch {
        let (mut lines, set_aside) = self.batch.finish();
        self.renames.restore_names(&mut lines);
        StoredBatch { lines, set_aside, share: self.lines.into_share() }
    }

    fn is_pull(&self) -> bool {
        self.rights.is_none()
    }

    fn add_line(&mut self, metric: &MetricName) -> Result<(), NoRoom> {
        let added = self.lines.add_blocking(self.bounds.budget, line_bytes(metric));
        added.map_err(|error| NoRoom(error.to_string()))
    }

    /// Reads the stream to its end. Each metric is healed up to the sync.
    ///
    /// # Errors
    /// [`ApiError`] if the stream cannot be read to its end, unless each requested metric has a line.
    pub(crate) fn read(
        &mut self,
        encoding: Encoding,
        reader: impl Read + Send,
    ) -> Result<(), ApiError> {
        let limits = Limits { member_bytes: self.bounds.file_limit_bytes, ..Limits::default() };
        let result = encoding
            .decoder(reader)
            .map_err(|source| ReadArchiveError::Read { members: 0, source })
            .and_then(|reader| receive_archive(reader, limits, &mut *self));
        let (error, left_out) = match result {
            Ok(report) => {
                if let Some(measurement) = &self.measurement {
                    let worked = report.worked_ms.map(Duration::from_millis);
                    self.links.record(measurement, self.file_bytes, worked);
                }
                self.batch.verify(Some(&report.digests));
                (None, report.left_out)
            }
            Err(error) => {
                self.batch.verify(None);
                (Some(error), Vec::new())
            }
        };
        if let Some((_, Some((incoming, stored_as)))) = self.large.take() {
            self.batch.discard_large(incoming, &stored_as);
        }
        for LeftOut { metric, problem, reason } in left_out {
            if self.missing.remove(&metric) || !self.is_pull() {
                self.batch.note(HealLine::not_healed(metric, problem, reason));
            }
        }
        // The share of the report now belongs to its lines.
        self.lines.add(std::mem::take(&mut self.member).into_share());
        let why = error
            .as_ref()
            .map_or_else(|| "the peer did not send it".to_owned(), |error| chain(error));
        let mut missing: Vec<MetricName> = self.missing.drain().collect();
        missing.sort_unstable();
        for metric in missing {
            self.batch.note(HealLine::not_healed(metric, Problem::CutOff, why.clone()));
        }
        // A pull has a line for each requested metric, which says everything.
        error.filter(|_| !self.is_pull()).map_or(Ok(()), |error| Err(ApiError::from(error)))
    }
}
