//! Long files in a batch: each comes piece by piece into the new file itself, and is staged once it is whole.

use bucky_api::archive::LargeMember;
use bucky_api::{HealLine, HealOutcome, MemberDigest, Problem};
use bucky_whisper::{Digest, MetricName};

use super::{Failure, HealBatch, OnCorrupt, Staged, fail};
use crate::store::large::{Coming, arrived_damaged};
use crate::store::rules::HealRules;
use crate::store::salvage::OnCut;

/// A long file whose digest its sender tells at the end.
pub(super) struct Unverified {
    line: usize,
    /// Its name at the source.
    metric: MetricName,
    /// The digest of what came.
    digest: Digest,
}

impl HealBatch<'_> {
    /// Begins to receive a long file, which is stored as `metric`.
    pub(crate) fn begin_large(&mut self, member: &LargeMember, metric: &MetricName) -> Coming {
        let checked = self.store.check();
        self.store.receive_large(member, metric, &self.near, checked.err().map(Failure::from))
    }

    /// A long file has come whole. Where its digest was not announced, it is not believed before [`Self::verify`] has seen
    /// it in the report.
    pub(crate) fn end_large(&mut self, mut coming: Coming, metric: MetricName) {
        let ended = coming.end(&self.store);
        let line = self.lines.len();
        let mut told = HealLine {
            metric,
            stored_as: None,
            outcome: HealOutcome::Created,
            points: 0,
            held: None,
            difference: None,
            bytes: coming.member.len_bytes,
            digest: Some(coming.digest()),
            problem: None,
            reason: String::new(),
        };
        match (ended, coming.file.take()) {
            (Ok(digest), Some((file, _))) => {
                let (path, is_folder_new) = (coming.path.clone(), coming.is_folder_new);
                let rules =
                    HealRules { on_corrupt: OnCorrupt::Leave, on_cut: OnCut::Refuse, ..self.rules };
                if coming.member.announced.is_none() {
                    let metric = coming.member.metric.clone();
                    self.unverified.push(Unverified { line, metric, digest });
                }
                let reshapes = false;
                self.staged.push(Staged {
                    line,
                    path,
                    file,
                    is_folder_new,
                    digest,
                    rules,
                    reshapes,
                });
            }
            (ended, file) => {
                coming.file = file;
                self.give_up_large(coming);
                let failure = ended.err().unwrap_or_else(|| {
                    Failure::failed(Problem::Storage, "there is no file to write it to")
                });
                fail(&mut told, failure.below(self.store.tree.path()));
            }
        }
        self.lines.push(told);
    }

    /// Removes what has come of a long file that gets no place.
    pub(crate) fn give_up_large(&self, coming: Coming) {
        let Coming { path, file, is_folder_new, .. } = coming;
        if let Some((file, _)) = file {
            self.store.remove_unplaced(&file);
        }
        if is_folder_new {
            self.store.tree.prune_folders(&path);
        }
    }

    /// Compares the long files that came with what their sender says that it has sent; those that differ get no place. None
    /// where the stream broke off before it could say so.
    pub(crate) fn verify(&mut self, sent: Option<&[MemberDigest]>) {
        for Unverified { line, metric, digest } in std::mem::take(&mut self.unverified) {
            let told = |one: &MemberDigest| one.metric == metric && one.digest == digest;
            if sent.is_some_and(|sent| sent.iter().any(told)) {
                continue;
            }
            let (bad, good) =
                std::mem::take(&mut self.staged).into_iter().partition(|one| one.line == line);
            self.staged = good;
            self.store.give_up(bad);
            let failure = match sent {
                Some(_) => arrived_damaged(digest),
                None => Failure::failed(
                    Problem::CutOff,
                    "the stream ended before it told the digest of this file",
                ),
            };
            if let Some(line) = self.lines.get_mut(line) {
                fail(line, failure);
            }
        }
    }
}
