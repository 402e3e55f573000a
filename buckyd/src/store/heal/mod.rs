//! Heals this node's copies of metrics: creates or fills them, a batch at a time.
//!
//! A file that does not exist is first written completely without its name. At the end of the batch
//! everything is synced. Then the new files are put in place without replacing anything. (If carbon was
//! faster, its file is filled.) Then everything is synced again, and only then are the lines of the batch
//! true. So no crash or power failure leaves an incomplete file under a metric's name.

mod large;

use std::path::{Path, PathBuf};

use bucky_api::archive::Member;
use bucky_api::{DeleteMetric, HealLine, HealOutcome, OnSchemaDifference, Problem, chain};
use bucky_whisper::{Digest, Image, ImageError};
use rustix::fs::OFlags;

use self::large::Unverified;
use super::commit::Mark;
use super::error::StoreError;
use super::failure::{Failure, Holding};
use super::fill::Existing;
use super::folder_cache::FolderCache;
use super::reshape::TombstoneSlot;
use super::rules::HealRules;
use super::staging::{NewFile, Staged};
use super::tombstone::{BatchId, BatchWriter};
use super::unplaced::Unplaced;
use super::volume::Volume;
use super::{LockBudget, Store};

/// A batch of at most this many files is synced file by file. For more, the whole file system is synced.
const FEW: usize = 2;

/// Whether a new file may only be read from, to reshape the existing one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reshapes {
    No,
    Yes,
}

/// Metrics that are healed together. [`VolumeBatch::finish`] makes them durable and returns a line for each.
pub(crate) struct VolumeBatch<'s> {
    store: Volume<'s>,
    rules: HealRules,
    /// The moment before its first write.
    begun: Mark,
    lines: Vec<HealLine>,
    staged: Vec<Staged>,
    /// Long files that are staged, and whose digest has not arrived yet.
    unverified: Vec<Unverified>,
    locks: LockBudget,
    folders: FolderCache,
    /// Whether the prefix was checked before the first write.
    is_checked: bool,
}

impl<'s> VolumeBatch<'s> {
    /// An empty batch.
    pub(crate) fn new(store: impl Into<Volume<'s>>) -> Self {
        let store = store.into();
        let (begun, rules) = (store.committer.mark(), HealRules::default());
        let locks = store.lock_budget();
        let (lines, staged, folders) = (Vec::new(), Vec::new(), FolderCache::default());
        let (unverified, is_checked) = (Vec::new(), false);
        Self { store, rules, begun, lines, staged, unverified, locks, folders, is_checked }
    }

    /// Sets the rules of the batch.
    #[must_use]
    pub(crate) fn by(mut self, rules: HealRules) -> Self {
        self.rules = rules;
        self
    }

    /// Whether the batch belongs to this volume.
    pub(super) fn is_of(&self, store: &Store) -> bool {
        std::ptr::eq(&*self.store, store)
    }

    /// Heals one metric up to the sync: fills an existing file, or stages a new one.
    pub(crate) fn take(&mut self, member: &Member) {
        let mut line = HealLine {
            metric: member.metric.clone(),
            stored_as: None,
            outcome: HealOutcome::Failed,
            points: 0,
            held: None,
            difference: None,
            bytes: member.content.len() as u64,
            digest: Some(member.digest),
            problem: None,
            reason: String::new(),
        };
        match self.try_take(member) {
            Ok((outcome, holding)) => {
                line.outcome = outcome;
                add_holding(&mut line, holding);
            }
            Err(failure) => fail(&mut line, failure.below(self.store.tree.path())),
        }
        self.lines.push(line);
    }

    /// The number of lines, which is the index of the next.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Adds the line of a metric that did not arrive.
    pub(crate) fn note(&mut self, line: HealLine) {
        self.lines.push(line);
    }

    /// Makes the batch durable. Returns the lines in the order in which the metrics arrived. If files were
    /// reshaped, also returns the batch of tombstones that the old files became, and their number.
    pub(crate) fn finish(mut self) -> (Vec<HealLine>, Option<(BatchId, u64)>) {
        let healed = self.lines.iter().filter(|line| line.outcome.is_healed()).count();
        let mut set_aside = None;
        if healed > 0
            && !self.rules.preview
            && let Err(error) = self.make_durable(healed <= FEW, &mut set_aside)
        {
            self.fail_all(error);
        }
        (std::mem::take(&mut self.lines), set_aside)
    }

    fn make_durable(
        &mut self,
        few: bool,
        set_aside: &mut Option<(BatchId, u64)>,
    ) -> Result<(), StoreError> {
        if !self.staged.is_empty() {
            self.sync_staged(few)?;
            self.store.check()?;
            let to_reshape = self.staged.iter().filter(|staged| staged.reshapes);
            let old_files = old_files(to_reshape, &self.lines);
            let store = self.store.clone();
            let aside = if old_files.is_empty() {
                None
            } else {
                Some(BatchWriter::begin(&store.state, &old_files)?)
            };
            let reshaped = self.put_all_in_place(aside.as_ref());
            *set_aside = aside.and_then(BatchWriter::end).map(|batch| (batch, reshaped));
        }
        self.sync_final(few)?;
        // A disk that was mounted on the prefix during the batch hides what was written.
        self.store.check()
    }

    fn try_take(&mut self, member: &Member) -> Result<(HealOutcome, Holding), Failure> {
        if !member.is_intact() {
            return Err(Failure::failed(
                Problem::DigestMismatch,
                format!("the content arrived damaged: its digest is {}", member.digest),
            ));
        }
        if !self.is_checked {
            self.store.check()?;
            self.is_checked = true;
        }
        // Only a Whisper file may be stored under a metric's name.
        let whole = match Image::parse(&member.content) {
            Ok(_) | Err(ImageError::Compressed) => None,
            Err(ImageError::Header(_)) if self.store.is_cut_of_large(member, self.rules.on_cut) => {
                return self.take_cut_of_large(member);
            }
            Err(ImageError::Header(error)) => {
                Some(self.store.salvaged(member, self.rules.on_cut, &error)?)
            }
        };
        let member = whole.as_ref().map_or(member, |whole| &whole.member);
        let path = member.metric.relative_path();
        // A corrupt member was refused above. A compressed one is refused if a file exists already. So only a
        // valid file replaces a corrupt one.
        let rules = self.rules;
        // Most metrics are new. An existing file is checked below, and again when the new file is put in
        // place.
        if let Ok(None) = self.folders.stat_at(&self.store.tree, &path) {
            return Ok(self.write_new(member, path, Reshapes::No)?);
        }
        let outcome = match self.store.fill_existing(&path, &member.content, &rules, &self.locks) {
            Ok(Some(Existing::Unchanged(holding))) => return Ok((HealOutcome::Unchanged, holding)),
            Ok(Some(Existing::Filled(holding))) => return Ok((HealOutcome::Filled, holding)),
            Ok(Some(Existing::NotThere)) => HealOutcome::Created,
            Ok(Some(Existing::NeedsReshape)) => {
                return Ok(self.write_new(member, path, Reshapes::Yes)?);
            }
            Ok(None) if rules.preview => return self.preview_large(member, &path),
            // There is a file to fill, and no memory for it now, or it is too long. It is filled at the end.
            Ok(None) => {
                let reshapes = match rules.on_schema_difference {
                    OnSchemaDifference::Reshape => Reshapes::Yes,
                    _ => Reshapes::No,
                };
                return self.write_new(member, path, reshapes).map_err(no_room_for_it);
            }
            Err(failure) if rules.replaces(&failure) => HealOutcome::Replaced,
            Ok(Some(Existing::Replaced { .. })) => HealOutcome::Replaced,
            Err(failure) => return Err(failure),
        };
        self.write_new(member, path, Reshapes::No)?;
        Ok((outcome, Holding::default()))
    }

    /// Writes `member` to a new file. At the end it is put in place, or the existing file is filled from it.
    fn write_new(
        &mut self,
        member: &Member,
        path: PathBuf,
        reshapes: Reshapes,
    ) -> Result<(HealOutcome, Holding), StoreError> {
        let Member { meta, is_sparse, .. } = *member;
        let (new, store) = (NewFile { content: &member.content, meta, is_sparse }, &*self.store);
        let rules = self.rules;
        if rules.preview {
            return Ok((HealOutcome::Created, Holding::default()));
        }
        let reshapes = reshapes == Reshapes::Yes;
        let (file, is_folder_new) = if rules.may_replace() || reshapes {
            // It may be renamed more than once, or only be read from.
            (Unplaced::Named(store.write_tmp(new)?), false)
        } else {
            store.write_unplaced(&path, new, &self.folders)?
        };
        let (line, digest) = (self.lines.len(), member.digest);
        self.staged.push(Staged { line, path, file, is_folder_new, digest, rules, reshapes });
        Ok((HealOutcome::Created, Holding::default()))
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
        let store = &*self.store;
        for line in self.lines.iter_mut().filter(|line| line.outcome.is_healed()) {
            match sync_one(store, &line.metric.relative_path()) {
                // The other metrics have not failed.
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

    /// Puts all staged files in place. Returns how many files were reshaped. The old ones are in `aside`.
    fn put_all_in_place(&mut self, aside: Option<&BatchWriter<'_>>) -> u64 {
        let (mut seq, mut reshaped) = (0, 0);
        for staged in std::mem::take(&mut self.staged) {
            let place = aside.filter(|_| staged.reshapes).map(|batch| TombstoneSlot { batch, seq });
            seq += usize::from(place.is_some());
            let mut result = self.store.put_or_fill(&staged, &self.locks, &self.folders);
            if let Ok(Existing::NeedsReshape) = result {
                result = match place {
                    Some(aside) => {
                        self.store.reshape_or_fill(&staged, &aside, &self.rules, &self.locks)
                    }
                    None => Err(just_made(&staged.path)),
                };
                reshaped += u64::from(result.is_ok());
                self.store.remove_unplaced(&staged.file);
            }
            self.set_result(staged.line, result);
        }
        reshaped
    }

    /// Enters the result of a staged file.
    fn set_result(&mut self, line: usize, result: Result<Existing, Failure>) {
        let Some(line) = self.lines.get_mut(line) else { return };
        match result {
            Ok(Existing::NotThere) => {
                line.outcome = HealOutcome::Created;
                self.store.inventory.added(&line.metric);
            }
            Ok(Existing::Replaced { kept }) => {
                line.outcome = HealOutcome::Replaced;
                line.reason = format!(
                    "its corrupt file was replaced and is kept as {}; remove its folder when you no longer need it",
                    kept.display()
                );
                tracing::warn!(metric = %line.metric, kept = %kept.display(), "a corrupt file was replaced");
            }
            Ok(Existing::Unchanged(holding)) => {
                line.outcome = HealOutcome::Unchanged;
                add_holding(line, holding);
            }
            Ok(Existing::Filled(holding)) => {
                line.outcome = HealOutcome::Filled;
                add_holding(line, holding);
            }
            Ok(Existing::NeedsReshape) => fail(line, just_made(&line.metric.relative_path())),
            Err(failure) => fail(line, failure.below(self.store.tree.path())),
        }
    }

    /// Marks all metrics as failed: whether any of them is durable is unknown.
    fn fail_all(&mut self, error: StoreError) {
        let failure = Failure::from(error).below(self.store.tree.path());
        self.store.discard(std::mem::take(&mut self.staged));
        for line in self.lines.iter_mut().filter(|line| line.outcome.is_healed()) {
            self.store.forget_unwritten(&line.metric.relative_path());
            fail(line, Failure::failed(failure.problem, failure.reason.clone()));
        }
    }
}

impl Drop for VolumeBatch<'_> {
    /// A batch that is dropped unfinished leaves no temporary file.
    fn drop(&mut self) {
        self.store.discard(std::mem::take(&mut self.staged));
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

/// A fill in place needs no disk space. What is missing is memory, so the lack of space for a temporary file
/// must not be reported as a full disk.
fn no_room_for_it(error: StoreError) -> Failure {
    let reason = format!(
        "there is no memory now to fill it (--memory of this buckyd), and it cannot wait in a temporary file ({})",
        chain(&error)
    );
    Failure::failed(Problem::Busy, reason)
}

/// The manifest's lines for the old files of reshaped metrics. They have no owners: the sweeper checks them
/// on this node. Their content is not known before they are set aside, so their digest has no meaning.
fn old_files<'a>(
    to_reshape: impl Iterator<Item = &'a Staged>,
    lines: &[HealLine],
) -> Vec<DeleteMetric> {
    let old_file = |staged: &Staged| DeleteMetric {
        name: lines[staged.line].metric.clone(),
        digest: Digest::of(&[]),
        owners: Vec::new(),
        on_schema_difference: OnSchemaDifference::Keep,
        points_given_up: 0,
    };
    to_reshape.map(old_file).collect()
}

/// A file of another schema that appeared just before ours was put in place.
fn just_made(path: &Path) -> Failure {
    let reason =
        format!("{} was created with another schema a moment ago; try again", path.display());
    Failure::failed(Problem::Busy, reason)
}

fn add_holding(line: &mut HealLine, holding: Holding) {
    line.points = holding.points;
    line.held = holding.held;
    line.difference = holding.difference;
}

fn fail(line: &mut HealLine, failure: Failure) {
    line.outcome = failure.outcome;
    line.problem = Some(failure.problem);
    line.reason = failure.reason;
    add_holding(line, failure.holding);
}
