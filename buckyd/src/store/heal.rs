//! Making this node's copy of a metric complete: creating or filling, a batch at a time.
//!
//! A file that is not there is first written whole where nobody sees it. At the batch's end everything is synced,
//! then the new files are put in place without replacing anything (if carbon was faster, its file is filled), then
//! all is synced again; only then are the lines of the batch true. So a crash, of the power too, never leaves a half
//! file under a metric's name.

use std::path::{Path, PathBuf};

use bucky_api::archive::Member;
use bucky_api::{HealLine, HealOutcome, Problem, chain};
use bucky_whisper::{Image, ImageError};
use rustix::fs::OFlags;

use super::commit::Mark;
use super::error::StoreError;
use super::fill::{Existing, Failure};
use super::kept::OnCorrupt;
use super::near::Near;
use super::salvage::OnCut;
use super::staging::Staged;
use super::unplaced::Unplaced;
use super::{LockBudget, Store};

/// Up to this many files a batch is synced file by file; above, the file system at once.
const FEW: usize = 2;

/// Metrics being healed together. [`HealBatch::finish`] makes them durable and tells what became of them.
pub(crate) struct HealBatch<'s> {
    store: &'s Store,
    on_corrupt: OnCorrupt,
    on_cut: OnCut,
    /// Before its first write.
    begun: Mark,
    lines: Vec<HealLine>,
    staged: Vec<Staged>,
    locks: LockBudget,
    near: Near,
    /// Whether the prefix was looked at before the first write.
    is_checked: bool,
}

impl<'s> HealBatch<'s> {
    /// A batch with nothing in it.
    pub(crate) fn new(store: &'s Store) -> Self {
        let (begun, on_corrupt) = (store.committer.mark(), OnCorrupt::default());
        let locks = store.lock_budget();
        let (lines, staged, near) = (Vec::new(), Vec::new(), Near::default());
        let on_cut = OnCut::default();
        Self { store, on_corrupt, on_cut, begun, lines, staged, locks, near, is_checked: false }
    }

    /// The same, with files that are there and corrupt treated so.
    #[must_use]
    pub(crate) fn on_corrupt(mut self, on_corrupt: OnCorrupt) -> Self {
        self.on_corrupt = on_corrupt;
        self
    }

    /// The same, with sources that were cut off treated so.
    #[must_use]
    pub(crate) fn on_cut(mut self, on_cut: OnCut) -> Self {
        self.on_cut = on_cut;
        self
    }

    /// Whether no metric came.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Heals one metric as far as it goes before the sync: fills a file that is there, stages one that is not.
    pub(crate) fn take(&mut self, member: &Member) {
        let result = self.try_take(member);
        let (outcome, points, failure) = match result {
            Ok((outcome, points)) => (outcome, points, None),
            Err(failure) => (failure.outcome, 0, Some(failure.below(self.store.tree.path()))),
        };
        self.lines.push(HealLine {
            metric: member.metric.clone(),
            stored_as: None,
            outcome,
            points,
            bytes: member.content.len() as u64,
            digest: Some(member.digest),
            problem: failure.as_ref().map(|failure| failure.problem),
            reason: failure.map(|failure| failure.reason).unwrap_or_default(),
        });
    }

    /// How many lines there are: the place of the next.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Adds the line of a metric that never came.
    pub(crate) fn note(&mut self, line: HealLine) {
        self.lines.push(line);
    }

    /// Makes the batch durable; the lines in the order in which the metrics came.
    pub(crate) fn finish(mut self) -> Vec<HealLine> {
        let healed = self.lines.iter().filter(|line| line.outcome.is_healed()).count();
        if healed > 0
            && let Err(error) = self.make_durable(healed <= FEW)
        {
            self.fail_all(error);
        }
        std::mem::take(&mut self.lines)
    }

    fn make_durable(&mut self, few: bool) -> Result<(), StoreError> {
        if !self.staged.is_empty() {
            self.sync_staged(few)?;
            self.store.check()?;
            self.put_all_in_place();
        }
        self.sync_final(few)?;
        // A disk that was mounted on the prefix meanwhile hides what was written.
        self.store.check()
    }

    fn try_take(&mut self, member: &Member) -> Result<(HealOutcome, u64), Failure> {
        if !member.is_intact() {
            return Err(Failure::failed(
                Problem::DigestMismatch,
                format!("the content arrived damaged: it has the digest {}", member.digest),
            ));
        }
        if !self.is_checked {
            self.store.check()?;
            self.is_checked = true;
        }
        // Nothing is stored under a metric's name that is not a Whisper file.
        let whole = match Image::parse(&member.content) {
            Ok(_) | Err(ImageError::Compressed) => None,
            Err(ImageError::Header(error)) => {
                Some(self.store.salvaged(member, self.on_cut, &error)?)
            }
        };
        let member = whole.as_ref().map_or(member, |whole| &whole.member);
        let path = member.metric.relative_path();
        // What is damaged was refused above, and what is compressed is refused where something is there already: only a
        // sound file takes the place of a corrupt one.
        let on_corrupt = self.on_corrupt;
        // Most are new. Whatever is in the way is looked at below, and again when the file is put in place.
        if let Ok(None) = self.near.look(&self.store.tree, &path) {
            return Ok(self.put_down(member, path)?);
        }
        let outcome = match self.store.fill_existing(&path, &member.content, &self.locks) {
            Ok(Some(Existing::Unchanged)) => return Ok((HealOutcome::Unchanged, 0)),
            Ok(Some(Existing::Filled { points })) => return Ok((HealOutcome::Filled, points)),
            Ok(Some(Existing::NotThere)) => HealOutcome::Created,
            // There is something to fill, and no room for it now: what becomes of it shows at the end.
            Ok(None) => return self.put_down(member, path).map_err(no_room_for_it),
            Err(failure)
                if on_corrupt == OnCorrupt::Replace
                    && failure.problem == Problem::DestinationDamaged =>
            {
                HealOutcome::Replaced
            }
            Ok(Some(Existing::Replaced { .. })) => HealOutcome::Replaced,
            Err(failure) => return Err(failure),
        };
        self.put_down(member, path)?;
        Ok((outcome, 0))
    }

    /// Writes `member` to a new file, which is put in place, or filled from, at the end.
    fn put_down(
        &mut self,
        member: &Member,
        path: PathBuf,
    ) -> Result<(HealOutcome, u64), StoreError> {
        let (content, meta, store) = (&member.content, member.meta, self.store);
        let on_corrupt = self.on_corrupt;
        let (file, is_folder_new) = match on_corrupt {
            OnCorrupt::Leave => store.write_unplaced(&path, content, meta, &self.near)?,
            // It may be renamed more than once.
            OnCorrupt::Replace => (Unplaced::Named(store.write_tmp(content, meta)?), false),
        };
        let (line, digest) = (self.lines.len(), member.digest);
        self.staged.push(Staged { line, path, file, is_folder_new, digest, on_corrupt });
        Ok((HealOutcome::Created, 0))
    }

    fn sync_staged(&self, few: bool) -> Result<(), StoreError> {
        if !few {
            return self.sync_all();
        }
        self.staged.iter().try_for_each(|staged| self.store.sync_unplaced(staged))
    }

    fn sync_final(&mut self, few: bool) -> Result<(), StoreError> {
        if !few {
            return self.sync_all();
        }
        let store = self.store;
        for line in self.lines.iter_mut().filter(|line| line.outcome.is_healed()) {
            match sync_one(store, &line.metric.relative_path()) {
                // It is nobody else's failure.
                Err(error @ StoreError::Deleted { .. }) => {
                    store.unlist(&line.metric);
                    fail(line, Failure::from(error));
                }
                synced => synced?,
            }
        }
        Ok(())
    }

    fn sync_all(&self) -> Result<(), StoreError> {
        let tree = &self.store.tree;
        let synced = self.store.committer.commit(self.begun, || tree.sync_all());
        synced.map_err(|errno| StoreError::io("sync the file system of", tree.path(), errno))
    }

    fn put_all_in_place(&mut self) {
        for staged in std::mem::take(&mut self.staged) {
            let result = self.store.put_or_fill(&staged, &self.locks, &self.near);
            let line = &mut self.lines[staged.line];
            match result {
                Ok(Existing::NotThere) => {
                    line.outcome = HealOutcome::Created;
                    self.store.inventory.added(&line.metric);
                }
                Ok(Existing::Replaced { kept }) => {
                    line.outcome = HealOutcome::Replaced;
                    line.reason = format!(
                        "its corrupt file was replaced, and is kept as {}; remove that folder when nobody needs it",
                        kept.display()
                    );
                    tracing::warn!(metric = %line.metric, kept = %kept.display(), "a corrupt file was replaced");
                }
                Ok(Existing::Unchanged) => line.outcome = HealOutcome::Unchanged,
                Ok(Existing::Filled { points }) => {
                    line.outcome = HealOutcome::Filled;
                    line.points = points;
                }
                Err(failure) => fail(line, failure.below(self.store.tree.path())),
            }
        }
    }

    /// Nothing of the batch is known to be durable.
    fn fail_all(&mut self, error: StoreError) {
        let failure = Failure::from(error).below(self.store.tree.path());
        self.store.give_up(std::mem::take(&mut self.staged));
        for line in self.lines.iter_mut().filter(|line| line.outcome.is_healed()) {
            self.store.forget_unwritten(&line.metric.relative_path());
            fail(line, Failure::failed(failure.problem, failure.reason.clone()));
        }
    }
}

impl Drop for HealBatch<'_> {
    /// A batch that is given up leaves no temporary file.
    fn drop(&mut self) {
        self.store.give_up(std::mem::take(&mut self.staged));
    }
}

/// Makes a file that was put in place or filled durable, and its name.
fn sync_one(store: &Store, path: &Path) -> Result<(), StoreError> {
    let file = store.tree.open_file(path, OFlags::RDONLY).map_err(|error| match error {
        StoreError::Missing { path } => StoreError::Deleted { path },
        error => error,
    })?;
    file.sync_all().map_err(|error| StoreError::io("sync", path, error))?;
    store.tree.sync_folders_of(path)
}

/// A fill in place needs no room on the disk: that a temporary file finds none there is not what stands in its way.
fn no_room_for_it(error: StoreError) -> Failure {
    let reason = format!(
        "there is no memory to fill it in at this time (--memory of this buckyd), and it cannot wait in a temporary \
         file ({})",
        chain(&error)
    );
    Failure::failed(Problem::Busy, reason)
}

fn fail(line: &mut HealLine, failure: Failure) {
    line.outcome = failure.outcome;
    line.problem = Some(failure.problem);
    line.reason = failure.reason;
    line.points = 0;
}
