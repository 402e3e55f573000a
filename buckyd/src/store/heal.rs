//! Making this node's copy of a metric complete: creating or filling, a batch at a time.
//!
//! A file that is not there is first written whole under a temporary name. At the batch's end everything is synced,
//! then the new files are put in place without replacing anything (if carbon was faster, its file is filled), then
//! all is synced again; only then are the lines of the batch true. So a crash, of the power too, never leaves a half
//! file under a metric's name.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bucky_api::archive::{FileMeta, Member};
use bucky_api::{HealLine, HealOutcome, Problem, chain};
use bucky_whisper::{FillOptions, Image, ImageError, is_compressed};
use rustix::fs::{Advice, AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::commit::Mark;
use super::error::StoreError;
use super::tree::Tree;
use super::{Store, TRIES, unix_now};

/// Up to this many files a batch is synced file by file; above, the file system at once.
const FEW: usize = 2;
/// How long after its last write a file that is not whole may still be in the making.
const STILL_BEING_WRITTEN: Duration = Duration::from_secs(5);

/// Metrics being healed together. [`HealBatch::finish`] makes them durable and tells what became of them.
pub(crate) struct HealBatch<'s> {
    store: &'s Store,
    /// Before its first write.
    begun: Mark,
    lines: Vec<HealLine>,
    staged: Vec<Staged>,
}

/// A new file that waits under a temporary name.
struct Staged {
    line: usize,
    path: PathBuf,
    tmp_name: PathBuf,
}

/// What was done to a file that was there.
enum Existing {
    NotThere,
    Unchanged,
    Filled { points: u64 },
}

/// Why a metric could not be healed.
struct Failure {
    outcome: HealOutcome,
    problem: Problem,
    reason: String,
}

impl Failure {
    fn refused(problem: Problem, reason: impl Into<String>) -> Self {
        Self { outcome: HealOutcome::Refused, problem, reason: reason.into() }
    }

    fn failed(problem: Problem, reason: impl Into<String>) -> Self {
        Self { outcome: HealOutcome::Failed, problem, reason: reason.into() }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let problem = error.as_destination_problem();
        let outcome = match problem {
            Problem::BadPath | Problem::TooLarge => HealOutcome::Refused,
            _ => HealOutcome::Failed,
        };
        Self { outcome, problem, reason: chain(&error) }
    }
}

impl<'s> HealBatch<'s> {
    /// A batch with nothing in it.
    pub(crate) fn new(store: &'s Store) -> Self {
        Self { store, begun: store.committer.mark(), lines: Vec::new(), staged: Vec::new() }
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
            Err(failure) => (failure.outcome, 0, Some(failure)),
        };
        self.lines.push(HealLine {
            metric: member.metric.clone(),
            outcome,
            points,
            bytes: member.content.len() as u64,
            digest: Some(member.digest),
            problem: failure.as_ref().map(|failure| failure.problem),
            reason: failure.map(|failure| failure.reason).unwrap_or_default(),
        });
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
            self.put_all_in_place();
        }
        self.sync_final(few)
    }

    fn try_take(&mut self, member: &Member) -> Result<(HealOutcome, u64), Failure> {
        if !member.is_intact() {
            return Err(Failure::failed(
                Problem::DigestMismatch,
                format!("the content arrived damaged: it has the digest {}", member.digest),
            ));
        }
        check_source(&member.content)?;
        let path = member.metric.relative_path();
        match self.store.fill_existing(&path, &member.content)? {
            Existing::Unchanged => Ok((HealOutcome::Unchanged, 0)),
            Existing::Filled { points } => Ok((HealOutcome::Filled, points)),
            Existing::NotThere => {
                let tmp_name = self.store.write_tmp(&member.content, member.meta)?;
                self.staged.push(Staged { line: self.lines.len(), path, tmp_name });
                Ok((HealOutcome::Created, 0))
            }
        }
    }

    fn sync_staged(&self, few: bool) -> Result<(), StoreError> {
        if !few {
            return self.sync_all();
        }
        for staged in &self.staged {
            let tmp = self.store.open_tmp(&staged.tmp_name)?;
            tmp.sync_all().map_err(|error| StoreError::io("sync the new", &staged.path, error))?;
        }
        Ok(())
    }

    fn sync_final(&self, few: bool) -> Result<(), StoreError> {
        if !few {
            return self.sync_all();
        }
        for line in self.lines.iter().filter(|line| line.outcome.is_healed()) {
            let path = line.metric.relative_path();
            let file = self.store.tree.open_file(&path, OFlags::RDONLY)?;
            file.sync_all().map_err(|error| StoreError::io("sync", &path, error))?;
            self.store.tree.sync_folders_of(&path)?;
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
            let result = self.store.put_or_fill(&staged);
            let line = &mut self.lines[staged.line];
            match result {
                Ok(Existing::NotThere) => self.store.inventory.added(&line.metric),
                Ok(Existing::Unchanged) => line.outcome = HealOutcome::Unchanged,
                Ok(Existing::Filled { points }) => {
                    line.outcome = HealOutcome::Filled;
                    line.points = points;
                }
                Err(failure) => fail(line, failure),
            }
        }
    }

    /// Nothing of the batch is known to be durable.
    fn fail_all(&mut self, error: StoreError) {
        let failure = Failure::from(error);
        for staged in self.staged.drain(..) {
            self.store.remove_tmp(&staged.tmp_name);
        }
        for line in self.lines.iter_mut().filter(|line| line.outcome.is_healed()) {
            self.store.forget_unwritten(&line.metric.relative_path());
            fail(line, Failure::failed(failure.problem, failure.reason.clone()));
        }
    }
}

impl Drop for HealBatch<'_> {
    /// A batch that is given up leaves no temporary file.
    fn drop(&mut self) {
        for staged in &self.staged {
            self.store.remove_tmp(&staged.tmp_name);
        }
    }
}

fn fail(line: &mut HealLine, failure: Failure) {
    line.outcome = failure.outcome;
    line.problem = Some(failure.problem);
    line.reason = failure.reason;
    line.points = 0;
}

/// Nothing is stored under a metric's name that is not a Whisper file.
fn check_source(content: &[u8]) -> Result<(), Failure> {
    match Image::parse(content) {
        Ok(_) | Err(ImageError::Compressed) => Ok(()),
        Err(ImageError::Header(error)) => Err(Failure::refused(
            Problem::SourceDamaged,
            format!("the source's file is no whole Whisper file: {}", chain(&error)),
        )),
    }
}

impl Store {
    /// Fills the file at `path`, if there is one, from `source`.
    fn fill_existing(&self, path: &Path, source: &[u8]) -> Result<Existing, Failure> {
        for _ in 0..TRIES {
            let file = match self.tree.open_file(path, OFlags::RDWR) {
                Ok(file) => file,
                Err(StoreError::Missing { .. }) => return Ok(Existing::NotThere),
                Err(error) => return Err(error.into()),
            };
            self.lock_exclusive(&file, path)?;
            if self.tree.still_names(path, &file)? {
                return self.fill_open(&file, path, source);
            }
        }
        Err(StoreError::Unsteady { path: path.into() }.into())
    }

    fn fill_open(&self, file: &File, path: &Path, source: &[u8]) -> Result<Existing, Failure> {
        let content = self.content(file, path)?;
        if content == source {
            return Ok(Existing::Unchanged);
        }
        if is_compressed(source) || is_compressed(&content) {
            return Err(Failure::refused(
                Problem::Compressed,
                format!(
                    "{} is there already, and one of the two files is compressed: their points cannot be brought \
                     together; decompress it with go-carbon's tools first",
                    path.display()
                ),
            ));
        }
        let source = Image::parse(source)
            .map_err(|error| Failure::refused(Problem::SourceDamaged, error.to_string()))?;
        let destination =
            Image::parse(&content).map_err(|error| damaged_destination(file, path, &error))?;
        let options =
            FillOptions { now: unix_now(), aggregation_six: self.options.aggregation_six };
        let plan = bucky_whisper::fill(&source, &destination, options);
        for run in plan.runs() {
            file.write_all_at(run.bytes, run.offset)
                .map_err(|error| StoreError::io("fill", path, error))?;
        }
        if self.tree.is_elsewhere(file).map_err(|errno| StoreError::io("look at", path, errno))? {
            // The batch's sync is for the prefix's file system; this file lies on one mounted below it.
            file.sync_all().map_err(|error| StoreError::io("sync", path, error))?;
        }
        if plan.points_left_out() > 0 {
            // What could be filled was; but the source holds the only copy of the rest.
            let reason = format!(
                "{} of the source's points have no place in {}: their positions hold newer timestamps, from a clock \
                 that was ahead or from damage; the source is kept",
                plan.points_left_out(),
                path.display()
            );
            return Err(Failure::refused(Problem::NoPlace, reason));
        }
        Ok(if plan.is_empty() {
            Existing::Unchanged
        } else {
            Existing::Filled { points: plan.points_filled() }
        })
    }

    /// Drops what memory holds of a file after a failed sync.
    ///
    /// The kernel tells a failed write once and then takes the page for clean: the next heal would find every point
    /// there, sync without an error, and call done what the disk never took. Read from the disk, it is seen.
    fn forget_unwritten(&self, path: &Path) {
        if let Ok(file) = self.tree.open_file(path, OFlags::RDONLY)
            && let Err(errno) = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)
        {
            tracing::warn!(file = %path.display(), error = %errno, "what the disk did not take stays in memory");
        }
    }

    /// Writes a file under a temporary name and returns that.
    pub(super) fn write_tmp(&self, content: &[u8], meta: FileMeta) -> Result<PathBuf, StoreError> {
        let name = self.state.new_tmp_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let tmp = rustix::fs::openat(self.state.tmp(), &name, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|errno| StoreError::io("make a temporary file", &name, errno))?;
        let written = self.fill_tmp(&tmp, &name, content, meta);
        if written.is_err() {
            self.remove_tmp(&name);
        }
        written.map(|()| name)
    }

    fn fill_tmp(
        &self,
        tmp: &File,
        name: &Path,
        content: &[u8],
        meta: FileMeta,
    ) -> Result<(), StoreError> {
        let failed =
            |error: std::io::Error| StoreError::io("write the temporary file", name, error);
        if self.options.sparse {
            bucky_whisper::write_sparse(tmp, content).map_err(failed)?;
        } else {
            (&*tmp).write_all(content).map_err(failed)?;
        }
        let failed = |errno: Errno| StoreError::io("set mode and time of", name, errno);
        self.tree.give_to_owner(tmp, name)?;
        // Without 0o600 neither carbon nor the sync that follows could open it.
        let mode = Mode::from_raw_mode(meta.mode & 0o777 | 0o600);
        rustix::fs::fchmod(tmp, mode).map_err(failed)?;
        let time = Timespec { tv_sec: i64::try_from(meta.mtime).unwrap_or(0), tv_nsec: 0 };
        rustix::fs::futimens(tmp, &Timestamps { last_access: time, last_modification: time })
            .map_err(failed)
    }

    /// Puts a staged file in place; where a file has appeared meanwhile, fills that.
    fn put_or_fill(&self, staged: &Staged) -> Result<Existing, Failure> {
        let result = self.try_put_or_fill(staged);
        if !matches!(result, Ok(Existing::NotThere)) {
            self.remove_tmp(&staged.tmp_name);
        }
        result
    }

    fn try_put_or_fill(&self, staged: &Staged) -> Result<Existing, Failure> {
        let (Some(folder), Some(name)) = (staged.path.parent(), staged.path.file_name()) else {
            return Err(StoreError::BadPath { path: staged.path.clone() }.into());
        };
        for _ in 0..TRIES {
            let folder = match self.tree.make_folder(folder) {
                // One of its folders was removed, being empty, while those below were made.
                Err(StoreError::Missing { .. }) => continue,
                folder => folder?,
            };
            match Tree::put_in_place(self.state.tmp(), &staged.tmp_name, &folder, Path::new(name)) {
                Ok(true) => return Ok(Existing::NotThere),
                Ok(false) => {}
                // The folder was removed, being empty, between its opening and the rename.
                Err(Errno::NOENT) => continue,
                Err(Errno::XDEV) => {
                    return Err(StoreError::Elsewhere { path: staged.path.clone() }.into());
                }
                Err(errno) => {
                    return Err(StoreError::io("put in place", &staged.path, errno).into());
                }
            }
            let tmp = self.open_tmp(&staged.tmp_name)?;
            let source = self.content(&tmp, &staged.path)?;
            match self.fill_existing(&staged.path, &source)? {
                Existing::NotThere => {}
                done => return Ok(done),
            }
        }
        Err(StoreError::Unsteady { path: staged.path.clone() }.into())
    }

    pub(super) fn open_tmp(&self, name: &Path) -> Result<File, StoreError> {
        rustix::fs::openat(self.state.tmp(), name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map(File::from)
            .map_err(|errno| StoreError::io("open the temporary file", name, errno))
    }

    pub(super) fn remove_tmp(&self, name: &Path) {
        if let Err(errno) = rustix::fs::unlinkat(self.state.tmp(), name, AtFlags::empty())
            && errno != Errno::NOENT
        {
            tracing::warn!(file = %name.display(), error = %errno, "a temporary file could not be removed");
        }
    }
}

/// A file at the owner that is no Whisper file. Carbon writes a new one bit by bit: one that has just been written
/// to may be whole in a moment.
fn damaged_destination(file: &File, path: &Path, error: &ImageError) -> Failure {
    let age = file.metadata().and_then(|meta| meta.modified()).map(|time| time.elapsed());
    if matches!(age, Ok(Ok(age)) if age > STILL_BEING_WRITTEN) {
        let reason = format!(
            "{} at the owner is damaged ({}); move it aside, then run this again",
            path.display(),
            chain(error)
        );
        return Failure::refused(Problem::DestinationDamaged, reason);
    }
    let reason = format!(
        "{} at the owner is not whole, and was written to a moment ago ({})",
        path.display(),
        chain(error)
    );
    Failure::failed(Problem::Busy, reason)
}
