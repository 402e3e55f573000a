//! Confirms the old file of a reshaped metric by the metric's own file on this node.
//!
//! A reshape leaves the old file as a tombstone without owners. Points that a writer has put into it late are
//! filled into the metric's file. Once such a fill finds no missing point, the old file can go.

use std::io::Read;
use std::sync::Arc;

use bucky_api::archive::{LargeMember, Member};
use bucky_api::{HealLine, HealOutcome, OnSchemaDifference, chain};
use bucky_whisper::{Digest, MetricName};

use super::Sweeper;
use super::round::ReadTombstone;
use crate::blocking::blocking;
use crate::store::{
    Answer, BatchId, FileReader, HealBatch, HealRules, StoreError, Tombstone, Volumes,
};

/// How much of a long tombstone is read at once.
const PIECE_BYTES: usize = 256 * 1024;

impl Sweeper {
    /// Fills the metrics' own files from these tombstones, and returns what was found, by their numbers.
    pub(super) async fn ask_here(
        &self,
        batch: &BatchId,
        old_files: Vec<&ReadTombstone>,
    ) -> Vec<(usize, Answer)> {
        let mut answers = Vec::with_capacity(old_files.len());
        for one in old_files {
            let (store, id) = (Arc::clone(&self.store), batch.clone());
            let (tombstone, digest) = (one.tombstone.clone(), one.digest());
            let is_large = one.large_bytes.is_some();
            let healed = blocking(move || match is_large {
                true => fill_from_large(&store, &id, &tombstone, digest),
                false => fill_from(&store, &id, tombstone, digest),
            });
            let answer = match healed.await {
                Ok(Ok(Filled { answer, set_aside })) => {
                    for (batch, count) in set_aside {
                        self.added(batch, count);
                    }
                    answer
                }
                Ok(Err(reason)) => Answer::No(reason),
                Err(error) => Answer::No(error.to_string()),
            };
            answers.push((one.seq(), answer));
        }
        answers
    }
}

/// What a fill from an old file found, and the batches of tombstones that it made itself, with their numbers.
struct Filled {
    answer: Answer,
    set_aside: Vec<(BatchId, u64)>,
}

impl From<Answer> for Filled {
    fn from(answer: Answer) -> Self {
        Self { answer, set_aside: Vec::new() }
    }
}

/// If a crash came before the exchange, the tombstone is the new file: the metric is reshaped by it now.
fn rules() -> HealRules {
    HealRules { on_schema_difference: OnSchemaDifference::Reshape, ..HealRules::default() }
}

/// Fills the metric's file from the tombstone.
fn fill_from(
    store: &Arc<Volumes>,
    batch: &BatchId,
    tombstone: Tombstone,
    digest: Digest,
) -> Result<Filled, String> {
    let Tombstone { seq, metric, .. } = tombstone;
    let file = store.read_tombstone(batch, seq, &mut FileReader::new(store));
    let file = file.map_err(|error| chain(&error))?;
    let found = file.digest();
    if found != digest {
        return Ok(Answer::WrittenTo.into());
    }
    if is_gone(store, &metric) && store.is_untouched(batch, seq) {
        return Ok(Answer::Holds.into());
    }
    let (meta, is_sparse, content) = (file.meta, file.is_sparse, file.content);
    let mut filled = HealBatch::new(store).by(rules());
    filled.take(&Member { metric, meta, content, is_sparse, digest: found, announced: None });
    finished(filled)
}

/// Fills the metric's file from a tombstone that is too long for memory.
fn fill_from_large(
    store: &Arc<Volumes>,
    batch: &BatchId,
    tombstone: &Tombstone,
    digest: Digest,
) -> Result<Filled, String> {
    let (seq, metric) = (tombstone.seq, &tombstone.metric);
    let message = |error: StoreError| chain(&error);
    let mut file = store.open_large_tombstone(batch, seq).map_err(message)?;
    if is_gone(store, metric) && store.is_untouched(batch, seq) {
        return Ok(Answer::Holds.into());
    }
    let mut filled = HealBatch::new(store).by(rules());
    if filled.fill_from_open(metric, file.file(), digest) {
        let healed = finished(filled);
        // It may have changed while it was read.
        let now = store.inspect_large_tombstone(batch, seq).map_err(message)?;
        return if now.digest == digest { healed } else { Ok(Answer::WrittenTo.into()) };
    }
    drop(filled);
    // The metric's file does not exist, or lacks archives. A copy of the tombstone takes its place, or is
    // used to reshape it.
    let member = LargeMember {
        metric: metric.clone(),
        meta: file.meta(),
        len_bytes: file.len_bytes(),
        is_sparse: file.is_sparse(),
        announced: Some(digest),
    };
    let mut filled = HealBatch::new(store).by(rules());
    let mut coming = filled.begin_large(&member, metric);
    let (mut piece, mut left) = (vec![0; PIECE_BYTES], member.len_bytes);
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let read = file.read_exact(&mut piece[..wanted]);
        if let Err(error) = read {
            filled.discard_large(coming, metric);
            return Err(format!("it cannot be read: {error}"));
        }
        coming.write(&piece[..wanted]);
        left -= wanted as u64;
    }
    if coming.digest() != digest {
        filled.discard_large(coming, metric);
        return Ok(Answer::WrittenTo.into());
    }
    filled.end_large(coming, metric.clone());
    finished(filled)
}

fn finished(batch: HealBatch<'_>) -> Result<Filled, String> {
    let (lines, set_aside) = batch.finish();
    let line = lines.into_iter().next().ok_or_else(|| "it has no result".to_owned())?;
    Ok(Filled { answer: answer_of(&line), set_aside })
}

fn is_gone(store: &Volumes, metric: &MetricName) -> bool {
    matches!(store.stat(metric), Err(StoreError::Missing { .. }))
}

fn answer_of(line: &HealLine) -> Answer {
    match (line.outcome, line.digest) {
        (HealOutcome::Unchanged, Some(from)) => {
            Answer::NothingMissing { from, without_place: line.points_without_place() }
        }
        (HealOutcome::Unchanged, None) => Answer::No("it has no digest".into()),
        (HealOutcome::Created | HealOutcome::Filled | HealOutcome::Replaced, _) => {
            Answer::HealedAgain
        }
        (HealOutcome::Refused | HealOutcome::Failed, _) => Answer::No(format!(
            "its metric was reshaped, and cannot be filled from it: {}",
            line.reason
        )),
    }
}
