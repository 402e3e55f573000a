//! Having the metric's own file here confirm the file that it took the place of.
//!
//! A reshape leaves the old file as a tombstone without owners. What a writer has put into it late is filled into the metric's
//! file; once that finds nothing more to do, the old file can go.

use std::sync::Arc;

use bucky_api::archive::Member;
use bucky_api::{HealLine, HealOutcome, OnSchemaDifference, chain};
use bucky_whisper::MetricName;

use super::Sweeper;
use super::round::Body;
use crate::blocking::blocking;
use crate::store::{BatchId, FileReader, HealBatch, HealRules, StoreError, Tombstone, Volumes};

impl Sweeper {
    /// Fills the metrics' files from `bodies`; those that must wait, and why.
    pub(super) async fn confirm_here(
        &self,
        batch: &BatchId,
        bodies: Vec<&Body>,
    ) -> Vec<(usize, String)> {
        let mut waits = Vec::new();
        for body in bodies {
            let (store, id) = (Arc::clone(&self.store), batch.clone());
            let tombstone = body.tombstone.clone();
            let digest = body.digest;
            let healed = blocking(move || -> Result<Option<(HealLine, SetAside)>, String> {
                let Tombstone { seq, metric, .. } = tombstone;
                let file = store.read_tombstone(&id, seq, &mut FileReader::new(&store));
                let file = file.map_err(|error| chain(&error))?;
                let found = file.digest();
                if found != digest {
                    return Err(super::owner::WRITTEN_TO.into());
                }
                let (meta, is_sparse, content) = (file.meta, file.is_sparse, file.content);
                if is_gone(&store, &metric) && store.is_untouched(&id, seq) {
                    // It was moved or deleted since, with all that is here.
                    return Ok(None);
                }
                // Where a crash came before the exchange this is the new file: it is reshaped now.
                let on_schema_difference = OnSchemaDifference::Reshape;
                let rules = HealRules { on_schema_difference, ..HealRules::default() };
                let mut filled = HealBatch::new(&store).by(rules);
                filled.take(&Member {
                    metric,
                    meta,
                    content,
                    is_sparse,
                    digest: found,
                    announced: None,
                });
                let (lines, set_aside) = filled.finish();
                let line = lines.into_iter().next();
                line.map(|line| Some((line, set_aside)))
                    .ok_or_else(|| "nothing became of it".to_owned())
            });
            let reason = match healed.await {
                Ok(Ok(None)) => None,
                Ok(Ok(Some((line, set_aside)))) => {
                    for (batch, count) in set_aside {
                        self.added(batch, count);
                    }
                    why_not(&line)
                }
                Ok(Err(reason)) => Some(reason),
                Err(error) => Some(error.to_string()),
            };
            waits.extend(reason.map(|reason| (body.tombstone.seq, reason)));
        }
        waits
    }
}

/// The batch of tombstones that another reshape left, with their number.
type SetAside = Vec<(BatchId, u64)>;

fn is_gone(store: &Volumes, metric: &MetricName) -> bool {
    matches!(store.stat(metric), Err(StoreError::Missing { .. }))
}

/// Why the old file must wait; none where the metric's file had all of it.
fn why_not(line: &HealLine) -> Option<String> {
    match line.outcome {
        HealOutcome::Unchanged => None,
        HealOutcome::Created | HealOutcome::Filled | HealOutcome::Replaced => Some(
            "it was written to after its metric was reshaped; it is looked at once more".into(),
        ),
        HealOutcome::Refused | HealOutcome::Failed => {
            Some(format!("its metric was reshaped, and cannot be filled from it: {}", line.reason))
        }
    }
}
