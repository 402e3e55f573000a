//! Giving an owner's file the archives that it lacks, while carbon may write to it.
//!
//! The new file is completed in the state folder and made durable. It changes places with the old one in one
//! step (`RENAME_EXCHANGE`), so at every moment there is one complete file under the metric's name. The old
//! file becomes a tombstone without owners, because a writer may still have it open. After the grace time the
//! sweeper fills the metric's file with points that came late, and only then unlinks the tombstone.
//!
//! If a crash happens before the exchange, the tombstone's folder has the new file, and the sweeper reshapes
//! the metric from that. After the exchange it has the old one.

use std::fs::File;
use std::path::Path;

use bucky_api::archive::FileMeta;
use bucky_api::{FileSchema, OnSchemaDifference, Problem, chain};
use bucky_whisper::{
    Clocks, Coverage, Header, Image, ReshapeError, WhisperFile, points_that_came, reshape,
    reshaped_len_bytes,
};
use rustix::fs::{AtFlags, Gid, OFlags, RenameFlags, Stat, Uid};
use rustix::io::Errno;

use super::error::StoreError;
use super::failure::{Failure, Holding};
use super::fill::Existing;
use super::rules::{HealRules, judge};
use super::staging::{NewFile, Staged};
use super::tombstone::BatchWriter;
use super::untouched::mark_untouched;
use super::{LockBudget, Store, TRIES, snapshot};

/// How many times the length of both files a reshape takes in memory: both files, the new file, which may be
/// as long as both, and the plan of a fill.
const RESHAPE_TIMES: u64 = 4;

/// Where the old files of one batch are put.
pub(super) struct TombstoneSlot<'s, 'b> {
    pub(super) batch: &'b BatchWriter<'s>,
    /// The number of this one in the manifest.
    pub(super) seq: usize,
}

/// The old file, before it and the new one change places.
pub(super) struct OldFile<'a> {
    pub(super) old: &'a File,
    pub(super) old_stat: Stat,
}

/// The result of a reshape in memory.
enum InMemoryOutcome {
    Done(Holding),
    /// The file is not the metric's any more.
    Moved,
    /// One of the files is too long for memory, or the new one would be.
    TooLong,
}

impl Store {
    /// Reshapes the file at the place of `staged`. If no layout can be found for it, fills what has a place.
    pub(super) fn reshape_or_fill(
        &self,
        staged: &Staged,
        aside: &TombstoneSlot<'_, '_>,
        rules: &HealRules,
        budget: &LockBudget,
    ) -> Result<Existing, Failure> {
        let refusal = match self.reshape(staged, aside, rules, budget) {
            Err(refusal) if refusal.problem == Problem::NoPlace => refusal,
            done => return done,
        };
        let keep = HealRules { on_schema_difference: OnSchemaDifference::Keep, ..*rules };
        let source = self.open_staged(staged)?;
        match self.fill_from_tmp(&staged.path, &source, &keep, budget) {
            Err(filled) if filled.problem == Problem::NoPlace => {
                Err(Failure { reason: refusal.reason, ..filled })
            }
            // Between the two, the points without a place may have expired.
            Ok(existing @ (Existing::Filled(_) | Existing::Unchanged(_))) => Ok(existing),
            _ => Err(refusal),
        }
    }

    /// Creates the file at the place of `staged` again, with the archives of both, and fills it from both.
    fn reshape(
        &self,
        staged: &Staged,
        aside: &TombstoneSlot<'_, '_>,
        rules: &HealRules,
        budget: &LockBudget,
    ) -> Result<Existing, Failure> {
        let path = staged.path.as_path();
        let source = self.open_staged(staged)?;
        if self.is_large(&source, path)? {
            return self.reshape_large(path, &source, aside, rules, budget);
        }
        let source_content = self.staged_content(staged)?;
        let source_bytes = source_content.len() as u64;
        let image = Image::parse(&source_content)
            .map_err(|error| Failure::refused(Problem::SourceDamaged, chain(&error)))?;
        for _ in 0..TRIES {
            let file = match self.tree.open_file(path, OFlags::RDWR) {
                Ok(file) => file,
                Err(StoreError::Missing { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            // Before the lock, because others that wait for the lock must not wait for memory too.
            let bytes = match self.len_bytes(&file, path) {
                Err(StoreError::TooLarge { .. }) => {
                    drop(source_content);
                    return self.reshape_large(path, &source, aside, rules, budget);
                }
                bytes => bytes?.saturating_add(source_bytes),
            };
            let bytes = bytes.saturating_mul(RESHAPE_TIMES);
            let share = self.options.memory.receiving.share_blocking(bytes);
            let share =
                share.map_err(|source| StoreError::NoMemory { path: path.into(), source })?;
            self.lock_exclusive(&file, path, budget)?;
            if !self.tree.still_names(path, &file)? {
                continue;
            }
            match self.reshape_open(&file, path, &image, aside, rules)? {
                InMemoryOutcome::Done(holding) => return Ok(Existing::Filled(holding)),
                InMemoryOutcome::Moved => {}
                InMemoryOutcome::TooLong => {
                    drop((file, share, source_content));
                    return self.reshape_large(path, &source, aside, rules, budget);
                }
            }
        }
        Err(StoreError::Unsteady { path: path.into() }.into())
    }

    /// Reshapes the locked file.
    fn reshape_open(
        &self,
        file: &File,
        path: &Path,
        source: &Image<'_>,
        aside: &TombstoneSlot<'_, '_>,
        rules: &HealRules,
    ) -> Result<InMemoryOutcome, Failure> {
        let content = self.content(file, path)?;
        let owner = Image::parse(&content)
            .map_err(|error| super::fill::damaged_destination(file, path, &error))?;
        if reshaped_len_bytes(owner.header(), source.header()) > self.file_limit_bytes() {
            return Ok(InMemoryOutcome::TooLong);
        }
        let options = rules.fill_options(self.options.aggregation_six);
        let new_content =
            reshape(&owner, source, options).map_err(|error| cannot_reshape(path, &error))?;
        let new = Image::parse(&new_content)
            .map_err(|error| super::fill::damaged_destination(file, path, &error))?;
        let before = Coverage::of(source, &owner, options.clocks);
        let after = Coverage::of(source, &new, options.clocks);
        let points = after.held().saturating_sub(before.held());
        let headers = (source.header(), new.header());
        let holding = judge(path, headers, &after, points, rules)?;
        let old_stat =
            rustix::fs::fstat(file).map_err(|errno| StoreError::io("stat", path, errno))?;
        let pair = OldFile { old: file, old_stat };
        let new_file = self.write_reshaped(&pair, &new_content, path)?;
        let copy_late = || self.copy_late(&pair, &content, &new_file.file, path, options.clocks);
        if !self.exchange(&pair, &new_file, path, aside, copy_late)? {
            return Ok(InMemoryOutcome::Moved);
        }
        Ok(InMemoryOutcome::Done(reshaped(path, headers, owner.header(), holding)))
    }

    /// Puts the new file, which is durable, in the place of the old one, which becomes a tombstone.
    /// `copy_late` copies what was written to the old one in the meantime. `false` if another file is in the
    /// place by now.
    pub(super) fn exchange(
        &self,
        pair: &OldFile<'_>,
        new: &Reshaped,
        path: &Path,
        aside: &TombstoneSlot<'_, '_>,
        copy_late: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        let failed = |errno: Errno| StoreError::io("reshape", path, errno);
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().map(Path::new)) else {
            return Err(StoreError::BadPath { path: path.into() }.into());
        };
        let folder = self.tree.folder(folder).map_err(|errno| StoreError::open(path, errno));
        let folder = folder.inspect_err(|_| self.remove_tmp(&new.tmp_name))?;
        let (batch, tombstone) = (aside.batch.folder(), BatchWriter::name_of(aside.seq));
        let moved = rustix::fs::renameat(self.state.tmp(), &new.tmp_name, batch, &tombstone);
        moved.inspect_err(|_| self.remove_tmp(&new.tmp_name)).map_err(failed)?;
        let remove = || {
            let removed = rustix::fs::unlinkat(batch, &tombstone, AtFlags::empty());
            removed.map_err(failed)
        };
        // Writers that take locks wait here until late points are copied.
        bucky_whisper::lock_exclusive(&new.file, self.options.lock_limit)
            .map_err(|error| StoreError::lock(path, error))?;
        mark_untouched(pair.old, &pair.old_stat).map_err(failed)?;
        let exchange =
            || rustix::fs::renameat_with(batch, &tombstone, &folder, name, RenameFlags::EXCHANGE);
        if let Err(errno) = exchange() {
            remove()?;
            return Err(cannot_exchange(path, errno));
        }
        let out =
            rustix::fs::statat(batch, &tombstone, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        if (out.st_dev, out.st_ino) != (pair.old_stat.st_dev, pair.old_stat.st_ino) {
            exchange().map_err(failed)?;
            remove()?;
            return Ok(false);
        }
        rustix::fs::fsync(batch).and_then(|()| rustix::fs::fsync(&folder)).map_err(failed)?;
        copy_late()?;
        Ok(true)
    }

    /// Writes the new file under a temporary name, durably, with the owner, mode and time of the old one.
    fn write_reshaped(
        &self,
        pair: &OldFile<'_>,
        content: &[u8],
        path: &Path,
    ) -> Result<Reshaped, StoreError> {
        let (meta, is_sparse) = (meta_of(&pair.old_stat), snapshot::is_sparse(&pair.old_stat));
        let (tmp_name, file) = self.make_tmp()?;
        let new = Reshaped { file, tmp_name };
        let written = self
            .fill_tmp(&new.file, &new.tmp_name, NewFile { content, meta, is_sparse })
            .and_then(|()| self.copy_meta(&new, &pair.old_stat, path));
        match written {
            Ok(()) => Ok(new),
            Err(error) => {
                self.remove_tmp(&new.tmp_name);
                Err(error)
            }
        }
    }

    /// Gives the new file the owner, mode and time of the old one, and makes it durable.
    pub(super) fn copy_meta(
        &self,
        new: &Reshaped,
        old: &Stat,
        path: &Path,
    ) -> Result<(), StoreError> {
        self.set_meta(&new.file, &new.tmp_name, meta_of(old))?;
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = (old.st_uid, old.st_gid);
            rustix::fs::fchown(&new.file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(|errno| StoreError::io("set the owner of", path, errno))?;
        }
        // A crash before the exchange leaves this file as the tombstone.
        let marked = rustix::fs::fstat(&new.file).and_then(|stat| mark_untouched(&new.file, &stat));
        marked.map_err(|errno| StoreError::io("set the time of", path, errno))?;
        new.file.sync_all().map_err(|error| StoreError::io("sync the new file", path, error))
    }

    /// Copies points that a writer without a lock has put into the old file since that was read. Later ones
    /// are left to the sweeper: the old file is a tombstone.
    fn copy_late(
        &self,
        pair: &OldFile<'_>,
        before: &[u8],
        new: &File,
        path: &Path,
        clocks: Clocks,
    ) -> Result<(), Failure> {
        let after = self.content(pair.old, path)?;
        if after == before {
            return Ok(());
        }
        let (Ok(before), Ok(after)) = (Image::parse(before), Image::parse(&after)) else {
            // Another process emptied it. The new file has all its points.
            return Ok(());
        };
        let mut points = points_that_came(&before, &after, clocks.latest);
        let io = |error: std::io::Error| StoreError::io("write the late points to", path, error);
        let file = new.try_clone().map_err(io)?;
        let late = |error: String| {
            StoreError::io("write the late points to", path, std::io::Error::other(error))
        };
        let mut file = WhisperFile::of_locked(file, path)
            .map_err(|error| late(chain(&error)))?
            .with_aggregation_six(self.options.aggregation_six);
        // A point without an archive of its own here waits in the tombstone, and the sweeper reports it.
        points.retain(|late| late.own_archive(file.header(), clocks.latest).is_some());
        file.update_late(&points, clocks.latest).map_err(|error| late(chain(&error)))?;
        file.sync().map_err(|error| late(chain(&error)))?;
        Ok(())
    }
}

fn meta_of(stat: &Stat) -> FileMeta {
    let mtime = u64::try_from(stat.st_mtime).unwrap_or(0);
    FileMeta { mode: stat.st_mode & 0o7777, mtime }
}

pub(super) fn cannot_reshape(path: &Path, error: &ReshapeError) -> Failure {
    let reason = format!("{} cannot be reshaped: {error}; the source is kept", path.display());
    Failure::refused(Problem::NoPlace, reason)
}

/// What the reshaped file holds. Its header was `old` before.
pub(super) fn reshaped(
    path: &Path,
    (source, new): (&Header, &Header),
    old: &Header,
    mut holding: Holding,
) -> Holding {
    let difference = holding.difference.get_or_insert_with(|| {
        let (source, owner) = (FileSchema::from(source), FileSchema::from(new));
        Box::new(bucky_api::SchemaDifference {
            source,
            owner,
            gaps: Vec::new(),
            reshaped_from: None,
        })
    });
    difference.reshaped_from = Some(FileSchema::from(old));
    tracing::info!(file = %path.display(), from = old.layout(), to = new.layout(), "reshaped");
    holding
}

/// A new file that has no place yet.
pub(super) struct Reshaped {
    pub(super) file: File,
    pub(super) tmp_name: std::path::PathBuf,
}

fn cannot_exchange(path: &Path, errno: Errno) -> Failure {
    match errno {
        Errno::XDEV => StoreError::Elsewhere { path: path.into() }.into(),
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => {
            let reason = format!(
                "{} cannot be reshaped: its file system cannot exchange two files (RENAME_EXCHANGE); the source is kept",
                path.display()
            );
            Failure::refused(Problem::NoPlace, reason)
        }
        errno => StoreError::io("reshape", path, errno).into(),
    }
}
