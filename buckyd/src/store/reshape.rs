//! Giving an owner's file the archives that it lacks, beside a carbon that writes to it.
//!
//! The new file is made whole and durable in the state folder, and changes places with the old one in one step
//! (`RENAME_EXCHANGE`): at every moment there is one whole file under the metric's name. The old file becomes a tombstone
//! without owners: a writer may still have it open. Once the grace time is over the sweeper fills the metric's file with what
//! came there late, and only then unlinks it.
//!
//! After a crash before the exchange, what lies in the tombstone's folder is the new file, and the sweeper reshapes the metric by
//! that. After the exchange it is the old one.

use std::fs::File;
use std::path::Path;

use bucky_api::archive::FileMeta;
use bucky_api::{FileSchema, Problem, chain};
use bucky_whisper::{
    Clocks, Coverage, Image, WhisperFile, points_that_came, reshape, reshaped_len_bytes,
};
use rustix::fs::{AtFlags, Gid, OFlags, RenameFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use super::error::StoreError;
use super::fill::{Existing, Failure};
use super::rules::{HealRules, Holding, judge};
use super::snapshot;
use super::staging::{NewFile, Staged};
use super::tombstone::BatchWriter;
use super::{LockBudget, Store, TRIES};

/// How many times the length of both files a reshape takes: these, the new file, which may be as long as both, and the plan of
/// a fill.
const RESHAPE_TIMES: u64 = 4;

/// Where the old files of one batch go.
pub(super) struct Aside<'s, 'b> {
    pub(super) batch: &'b BatchWriter<'s>,
    /// The number that the manifest has for this one.
    pub(super) seq: usize,
}

/// The old file and the new one, before they change places.
struct Pair<'a> {
    old: &'a File,
    old_content: &'a [u8],
    old_stat: Stat,
    new_content: &'a [u8],
}

impl Store {
    /// Re-makes the file at the place of `staged` with the archives of both, filled from both.
    pub(super) fn reshape(
        &self,
        staged: &Staged,
        aside: &Aside<'_, '_>,
        rules: &HealRules,
        budget: &LockBudget,
    ) -> Result<Existing, Failure> {
        let path = staged.path.as_path();
        let source = self.staged_content(staged)?;
        let source_bytes = source.len() as u64;
        let source = Image::parse(&source)
            .map_err(|error| Failure::refused(Problem::SourceDamaged, chain(&error)))?;
        for _ in 0..TRIES {
            let file = match self.tree.open_file(path, OFlags::RDWR) {
                Ok(file) => file,
                Err(StoreError::Missing { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            // Before the lock: nobody who waits for it is to wait for memory too.
            let bytes = self.len_bytes(&file, path)?.saturating_add(source_bytes);
            let bytes = bytes.saturating_mul(RESHAPE_TIMES);
            let share = self.options.memory.receiving.share_blocking(bytes);
            let _share =
                share.map_err(|source| StoreError::NoMemory { path: path.into(), source })?;
            self.lock_exclusive(&file, path, budget)?;
            if !self.tree.still_names(path, &file)? {
                continue;
            }
            if let Some(holding) = self.reshape_open(&file, path, &source, aside, rules)? {
                return Ok(Existing::Filled(holding));
            }
        }
        Err(StoreError::Unsteady { path: path.into() }.into())
    }

    /// Re-makes the locked file; none where it is not the metric's any more.
    fn reshape_open(
        &self,
        file: &File,
        path: &Path,
        source: &Image<'_>,
        aside: &Aside<'_, '_>,
        rules: &HealRules,
    ) -> Result<Option<Holding>, Failure> {
        let content = self.content(file, path)?;
        let owner = Image::parse(&content)
            .map_err(|error| super::fill::damaged_destination(file, path, &error))?;
        let len_bytes = reshaped_len_bytes(owner.header(), source.header());
        let limit = self.options.file_limit_bytes;
        if len_bytes > limit {
            let path = path.to_owned();
            return Err(StoreError::TooLarge { path, bytes: len_bytes, limit }.into());
        }
        let options = rules.fill_options(self.options.aggregation_six);
        let new_content = reshape(&owner, source, options).map_err(|error| {
            let reason =
                format!("{} cannot be reshaped: {error}; the source is kept", path.display());
            Failure::refused(Problem::NoPlace, reason)
        })?;
        let new = Image::parse(&new_content)
            .map_err(|error| super::fill::damaged_destination(file, path, &error))?;
        let before = Coverage::of(source, &owner, options.clocks);
        let after = Coverage::of(source, &new, options.clocks);
        let points = after.held().saturating_sub(before.held());
        let headers = (source.header(), new.header());
        let mut holding = judge(path, headers, &after, points, rules)?;
        let old_stat =
            rustix::fs::fstat(file).map_err(|errno| StoreError::io("look at", path, errno))?;
        let pair = Pair { old: file, old_content: &content, old_stat, new_content: &new_content };
        if !self.exchange(&pair, path, aside, options.clocks)? {
            return Ok(None);
        }
        let difference = holding.difference.get_or_insert_with(|| {
            let (source, owner) =
                (FileSchema::from(source.header()), FileSchema::from(new.header()));
            Box::new(bucky_api::SchemaDifference {
                source,
                owner,
                gaps: Vec::new(),
                reshaped_from: None,
            })
        });
        difference.reshaped_from = Some(FileSchema::from(owner.header()));
        tracing::info!(file = %path.display(), from = owner.header().layout(), to = new.header().layout(), "reshaped");
        Ok(Some(holding))
    }

    /// Puts the new file in the place of the old one, which becomes a tombstone. False where another file stands there by now.
    fn exchange(
        &self,
        pair: &Pair<'_>,
        path: &Path,
        aside: &Aside<'_, '_>,
        clocks: Clocks,
    ) -> Result<bool, Failure> {
        let failed = |errno: Errno| StoreError::io("reshape", path, errno);
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().map(Path::new)) else {
            return Err(StoreError::BadPath { path: path.into() }.into());
        };
        let folder = self.tree.folder(folder).map_err(|errno| StoreError::open(path, errno))?;
        let new = self.write_reshaped(pair, path)?;
        let (batch, tombstone) = (aside.batch.folder(), BatchWriter::name_of(aside.seq));
        let moved = rustix::fs::renameat(self.state.tmp(), &new.tmp_name, batch, &tombstone);
        moved.inspect_err(|_| self.remove_tmp(&new.tmp_name)).map_err(failed)?;
        let remove = || {
            let removed = rustix::fs::unlinkat(batch, &tombstone, AtFlags::empty());
            removed.map_err(failed)
        };
        // Writers that take locks wait here until what came late is carried over.
        bucky_whisper::lock_exclusive(&new.file, self.options.lock_limit)
            .map_err(|error| StoreError::lock(path, error))?;
        make_older(pair).map_err(failed)?;
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
        self.carry_late(pair, &new.file, path, clocks)?;
        Ok(true)
    }

    /// The new file under a temporary name, durable, with the owner, mode and time of the old one.
    fn write_reshaped(&self, pair: &Pair<'_>, path: &Path) -> Result<Reshaped, StoreError> {
        let meta = FileMeta {
            mode: pair.old_stat.st_mode & 0o7777,
            mtime: u64::try_from(pair.old_stat.st_mtime).unwrap_or(0),
        };
        let (content, is_sparse) = (pair.new_content, snapshot::is_sparse(&pair.old_stat));
        let tmp_name = self.write_tmp(NewFile { content, meta, is_sparse })?;
        let made = || -> Result<File, StoreError> {
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file =
                rustix::fs::openat(self.state.tmp(), &tmp_name, flags, rustix::fs::Mode::empty())
                    .map(File::from)
                    .map_err(|errno| StoreError::io("open the temporary file", path, errno))?;
            if rustix::process::geteuid().is_root() {
                let (uid, gid) = (pair.old_stat.st_uid, pair.old_stat.st_gid);
                rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                    .map_err(|errno| StoreError::io("give to its owner", path, errno))?;
            }
            file.sync_all().map_err(|error| StoreError::io("sync the new", path, error))?;
            Ok(file)
        };
        match made() {
            Ok(file) => Ok(Reshaped { file, tmp_name }),
            Err(error) => {
                self.remove_tmp(&tmp_name);
                Err(error)
            }
        }
    }

    /// Writes into the new file what a writer without a lock has put into the old one since that was read. What comes later
    /// still is the sweeper's: the old file is a tombstone.
    fn carry_late(
        &self,
        pair: &Pair<'_>,
        new: &File,
        path: &Path,
        clocks: Clocks,
    ) -> Result<(), Failure> {
        let after = self.content(pair.old, path)?;
        if after == pair.old_content {
            return Ok(());
        }
        let (Ok(before), Ok(after)) = (Image::parse(pair.old_content), Image::parse(&after)) else {
            // Emptied by somebody: the new file has all that was there.
            return Ok(());
        };
        let mut points = points_that_came(&before, &after, clocks.latest);
        let io = |error: std::io::Error| StoreError::io("write what came late to", path, error);
        let file = new.try_clone().map_err(io)?;
        let late = |error: String| {
            StoreError::io("write what came late to", path, std::io::Error::other(error))
        };
        let mut file = WhisperFile::of_locked(file, path)
            .map_err(|error| late(chain(&error)))?
            .with_aggregation_six(self.options.aggregation_six);
        // What has no archive of its own here is told by the sweeper, and waits in the tombstone.
        points.retain(|late| late.own_archive(file.header(), clocks.latest).is_some());
        file.update_late(&points, clocks.latest).map_err(|error| late(chain(&error)))?;
        file.sync().map_err(|error| late(chain(&error)))?;
        Ok(())
    }
}

/// Makes the old file's last write older than the change of its inode by the exchange that follows, so that a later write can be
/// told from that: see [`Store::is_untouched`].
fn make_older(pair: &Pair<'_>) -> Result<(), Errno> {
    let written = pair.old_stat.st_mtime;
    if i64::from(super::unix_now()) > written + 1 {
        return Ok(());
    }
    let modified = Timespec { tv_sec: written - 1, tv_nsec: 0 };
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    rustix::fs::futimens(pair.old, &Timestamps { last_access, last_modification: modified })
}

/// A new file that has no place yet.
struct Reshaped {
    file: File,
    tmp_name: std::path::PathBuf,
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
