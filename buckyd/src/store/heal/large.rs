//! Long files in a batch. Each is written to the new file piece by piece as it arrives, and staged once it is
//! complete.

use std::fs::File;
use std::path::Path;

use bucky_api::archive::{LargeMember, Member};
use bucky_api::{HealLine, HealOutcome, MemberDigest, OnSchemaDifference, Problem};
use bucky_whisper::{Digest, LARGE_FILL_BYTES, LargeBytes, MetricName};

use super::{Existing, Failure, Holding, Staged, VolumeBatch, add_holding, fail};
use crate::store::fill_large::LargePreview;
use crate::store::large::{IncomingFile, arrived_damaged};

/// A long file whose digest is in the sender's report at the end.
pub(super) struct Unverified {
    line: usize,
    /// Its name at the source.
    metric: MetricName,
    /// The digest of the received content.
    digest: Digest,
}

impl VolumeBatch<'_> {
    /// Begins to receive a long file, which is stored as `metric`.
    pub(crate) fn begin_large(
        &mut self,
        member: &LargeMember,
        metric: &MetricName,
    ) -> IncomingFile {
        self.store.receive_large(member, metric, &self.folders, &self.rules)
    }

    /// A long file is complete. If its digest was not announced, it is not accepted until [`Self::verify`]
    /// has seen it in the report.
    pub(crate) fn end_large(&mut self, incoming: IncomingFile, metric: MetricName) {
        let mut line = HealLine {
            metric,
            stored_as: None,
            outcome: HealOutcome::Failed,
            points: 0,
            held: None,
            difference: None,
            bytes: incoming.member.len_bytes,
            digest: Some(incoming.digest()),
            problem: None,
            reason: String::new(),
        };
        match self.stage_large(incoming) {
            Ok((outcome, holding)) => {
                line.outcome = outcome;
                add_holding(&mut line, holding);
            }
            Err(failure) => fail(&mut line, failure.below(self.store.tree.path())),
        }
        self.lines.push(line);
    }

    /// Stages a long file that is complete, or previews it.
    fn stage_large(
        &mut self,
        mut incoming: IncomingFile,
    ) -> Result<(HealOutcome, Holding), Failure> {
        let ended = incoming.end(&self.store);
        let (digest, file) = match (ended, incoming.file.take()) {
            (Ok(digest), Some((file, open))) if self.rules.preview => {
                let looked = self.preview_new_large(&incoming.path, &open, digest);
                incoming.file = Some((file, open));
                self.discard_large(incoming);
                return looked;
            }
            (Ok(digest), Some((file, _))) => (digest, file),
            (Ok(_), None) if self.rules.preview => {
                return Ok((HealOutcome::Created, Holding::default()));
            }
            (ended, file) => {
                incoming.file = file;
                self.discard_large(incoming);
                let no_file = "there is no file to write it to";
                return Err(ended
                    .err()
                    .unwrap_or_else(|| Failure::failed(Problem::Storage, no_file)));
            }
        };
        let line = self.lines.len();
        if incoming.member.announced.is_none() {
            let metric = incoming.member.metric.clone();
            self.unverified.push(Unverified { line, metric, digest });
        }
        let IncomingFile { path, is_folder_new, .. } = incoming;
        let rules = self.rules;
        let reshapes = rules.on_schema_difference == OnSchemaDifference::Reshape
            && !matches!(self.folders.stat_at(&self.store.tree, &path), Ok(None));
        self.staged.push(Staged { line, path, file, is_folder_new, digest, rules, reshapes });
        Ok((HealOutcome::Created, Holding::default()))
    }

    /// What the long file `open` would do to the metric at `path`.
    fn preview_new_large(
        &self,
        path: &Path,
        open: &File,
        digest: Digest,
    ) -> Result<(HealOutcome, Holding), Failure> {
        let share = self.store.share_for_large(path, LARGE_FILL_BYTES)?;
        let (source, rules) = (LargeBytes::File(open), &self.rules);
        let preview = LargePreview { source, digest, rules, _share: share };
        self.store.preview_large_from(path, &preview, &self.locks).map(outcome_of)
    }

    /// What `member`, a short file, would do to the long file at `path`.
    pub(super) fn preview_large(
        &self,
        member: &Member,
        path: &Path,
    ) -> Result<(HealOutcome, Holding), Failure> {
        let share = self.store.share_for_large_now(path)?;
        let (source, digest) = (LargeBytes::Memory(&member.content), member.digest);
        let preview = LargePreview { source, digest, rules: &self.rules, _share: share };
        self.store.preview_large_from(path, &preview, &self.locks).map(outcome_of)
    }

    /// Takes the rest of a file that was cut off, and that was too long for memory before.
    pub(super) fn take_cut_of_large(
        &mut self,
        member: &Member,
    ) -> Result<(HealOutcome, Holding), Failure> {
        let Member { meta, digest, is_sparse, .. } = *member;
        let (metric, announced) = (member.metric.clone(), Some(digest));
        let len_bytes = member.content.len() as u64;
        let large = LargeMember { metric, meta, len_bytes, is_sparse, announced };
        let mut incoming = self.begin_large(&large, &member.metric);
        incoming.write(&member.content);
        self.stage_large(incoming)
    }

    /// Fills the metric's file, if there is one, from the long file `open`, which no process may write to.
    /// `false` if a fill is not enough: the file must be received first.
    pub(crate) fn fill_from_open(
        &mut self,
        metric: &MetricName,
        open: &File,
        digest: Digest,
    ) -> bool {
        let path = metric.relative_path();
        let filled = match self.store.check() {
            Ok(()) => self.store.fill_large_from(&path, open, &self.rules, &self.locks),
            Err(error) => Err(error.into()),
        };
        let mut line = HealLine {
            metric: metric.clone(),
            stored_as: None,
            outcome: HealOutcome::Failed,
            points: 0,
            held: None,
            difference: None,
            bytes: open.metadata().map_or(0, |meta| meta.len()),
            digest: Some(digest),
            problem: None,
            reason: String::new(),
        };
        match filled {
            Ok(Existing::NotThere | Existing::NeedsReshape | Existing::Replaced { .. }) => {
                return false;
            }
            Ok(existing) => {
                let (outcome, holding) = outcome_of(existing);
                line.outcome = outcome;
                add_holding(&mut line, holding);
            }
            Err(failure) => fail(&mut line, failure.below(self.store.tree.path())),
        }
        self.lines.push(line);
        true
    }

    /// Removes a long file that was received and gets no place.
    pub(crate) fn discard_large(&self, incoming: IncomingFile) {
        let IncomingFile { path, file, is_folder_new, .. } = incoming;
        if let Some((file, _)) = file {
            self.store.remove_unplaced(&file);
        }
        if is_folder_new {
            self.store.tree.prune_folders(&path);
        }
    }

    /// Compares the long files that were received with the digests in the sender's report. Files that differ
    /// get no place. `sent` is `None` if the stream ended before its report.
    pub(crate) fn verify(&mut self, sent: Option<&[MemberDigest]>) {
        for Unverified { line, metric, digest } in std::mem::take(&mut self.unverified) {
            let is_this = |one: &MemberDigest| one.metric == metric && one.digest == digest;
            if sent.is_some_and(|sent| sent.iter().any(is_this)) {
                continue;
            }
            let (bad, good) =
                std::mem::take(&mut self.staged).into_iter().partition(|one| one.line == line);
            self.staged = good;
            self.store.discard(bad);
            let failure = match sent {
                Some(_) => arrived_damaged(digest),
                None => Failure::failed(
                    Problem::CutOff,
                    "the stream ended before it gave the digest of this file",
                ),
            };
            if let Some(line) = self.lines.get_mut(line) {
                fail(line, failure);
            }
        }
    }
}

/// The outcome for an existing file, filled or previewed.
fn outcome_of(existing: Existing) -> (HealOutcome, Holding) {
    match existing {
        Existing::Unchanged(holding) => (HealOutcome::Unchanged, holding),
        Existing::Filled(holding) => (HealOutcome::Filled, holding),
        Existing::NotThere | Existing::NeedsReshape | Existing::Replaced { .. } => {
            (HealOutcome::Created, Holding::default())
        }
    }
}
