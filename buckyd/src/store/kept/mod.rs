//! Replacing a corrupt file by a valid one, and keeping the corrupt one.
//!
//! This is done only if the request asks for it (`replace_corrupt`). Each corrupt file has its own folder in
//! `.bucky/replaced/`, named by the time. `manifest` has the metric and the reason, `old` is the file, and
//! `new` is, for a moment, its replacement. No file is without a name at any step:
//!
//! 1. The manifest is written and synced. The new file, which is complete and synced, is moved here as `new`.
//! 2. The corrupt file gets its second name `old`, which is synced.
//! 3. `new` and the metric's file change places in one step. Then `new` is checked: if it is not the corrupt
//!    file, another process has put a file there, and the two change back.
//! 4. `new`, now the third name of the corrupt file, is removed.
//!
//! A source that was cut off, and whose owners have the rest of it, is kept in the same way (`salvage`): the
//! manifest, then one rename. Nothing takes its place.
//!
//! After a crash the next start tidies up. Before step 3 nothing was replaced, and the folder is removed.
//! After it, `old` stays.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bucky_api::{Problem, ReplacedStatus, chain};
use bucky_whisper::{Digest, ImageError, MetricName};
use rustix::fs::{AtFlags, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Store;
use super::error::StoreError;
use super::failure::Failure;
use super::fill::damaged_destination;
use super::staging::Staged;

mod folder;

const MANIFEST: &str = "manifest";
const OLD: &str = "old";
const NEW: &str = "new";
const FOLDER_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// The most files that can be replaced in one second.
const NAMES: u32 = 1_000_000;

/// The description of a kept file.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    metric: MetricName,
    /// What is wrong with the file.
    reason: String,
    /// The digest of the content that replaced it. `None` if nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced_by: Option<Digest>,
}

/// The folder `replaced/`.
pub(super) struct KeptFiles {
    folder: OwnedFd,
    path: PathBuf,
}

/// The place of a corrupt file.
struct CorruptFile<'p> {
    path: &'p Path,
    folder: OwnedFd,
    name: &'p Path,
    /// The corrupt file, as it was when it was checked.
    old: Stat,
}

/// The folder of one kept file.
struct KeptFolder<'k> {
    kept: &'k KeptFiles,
    name: String,
    folder: OwnedFd,
}

impl Store {
    /// Puts the staged file, named `tmp_name` in `tmp`, in the place of a corrupt one. Returns the path at
    /// which the corrupt one is kept. `None` if another file is there by now.
    pub(super) fn replace_corrupt(
        &self,
        staged: &Staged,
        tmp_name: &Path,
    ) -> Result<Option<PathBuf>, Failure> {
        let path = staged.path.as_path();
        let old = match self.tree.open_file(path, OFlags::RDWR) {
            Ok(old) => old,
            Err(StoreError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        self.lock_exclusive(&old, path, &self.lock_budget())?;
        if !self.tree.still_names(path, &old)? {
            return Ok(None);
        }
        let error = match self.kind_of(&old, path)? {
            Err(error @ ImageError::Header(_)) => error,
            // It has become valid, or was replaced in place, so it is filled instead.
            Ok(()) | Err(ImageError::Compressed) => return Ok(None),
        };
        let damage = damaged_destination(&old, path, &error);
        if damage.problem != Problem::DestinationDamaged {
            return Err(damage);
        }
        let metric = MetricName::from_relative_path(path)
            .map_err(|_| StoreError::BadPath { path: path.into() })?;
        let manifest = Manifest { metric, reason: chain(&error), replaced_by: Some(staged.digest) };
        let corrupt = self.corrupt_file(path, &old)?;
        let aside = self.state.kept().begin(&manifest)?;
        let replaced = match self.give_second_name(tmp_name, &corrupt, &aside) {
            Ok(true) => aside.change_places(&corrupt),
            not_named => not_named,
        };
        if !matches!(replaced, Ok(true)) {
            let undone = aside.undo(&self.tree, self.state.tmp(), (path, tmp_name));
            if let Err(error) = undone {
                let path = aside.path();
                tracing::warn!(path = %path.display(), %error, "cannot clean up a folder of replaced files; it stays \
                     as it is");
            }
        }
        Ok(replaced?.then(|| aside.path()))
    }

    /// The place of the corrupt file `old`.
    fn corrupt_file<'p>(&self, path: &'p Path, old: &File) -> Result<CorruptFile<'p>, Failure> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().map(Path::new)) else {
            return Err(StoreError::BadPath { path: path.into() }.into());
        };
        let folder = self.tree.folder(folder).map_err(|errno| StoreError::open(path, errno))?;
        let old = rustix::fs::fstat(old).map_err(|errno| failed(path, errno))?;
        Ok(CorruptFile { path, folder, name, old })
    }

    /// The first half: moves the staged file next to the manifest, and gives the corrupt one its second name.
    /// `false` if that is no longer in its place.
    fn give_second_name(
        &self,
        tmp_name: &Path,
        corrupt: &CorruptFile<'_>,
        aside: &KeptFolder<'_>,
    ) -> Result<bool, Failure> {
        let failed = |errno| failed(corrupt.path, errno);
        rustix::fs::renameat(self.state.tmp(), tmp_name, &aside.folder, NEW).map_err(failed)?;
        rustix::fs::linkat(&corrupt.folder, corrupt.name, &aside.folder, OLD, AtFlags::empty())
            .map_err(failed)?;
        if !is_same(&stat(&aside.folder, OLD).map_err(failed)?, &corrupt.old) {
            return Ok(false);
        }
        rustix::fs::fsync(&aside.folder).map_err(failed)?;
        Ok(true)
    }

    /// Keeps the file `name` in `folder` aside. It is the file of `metric`, is locked, and was cut off. Its
    /// owners have the rest of it. Returns its new path, which is durable.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn keep_cut(
        &self,
        metric: &MetricName,
        folder: &OwnedFd,
        name: &Path,
        reason: String,
    ) -> Result<PathBuf, StoreError> {
        let manifest = Manifest { metric: metric.clone(), reason, replaced_by: None };
        let aside = self.state.kept().begin(&manifest)?;
        if let Err(errno) = rustix::fs::renameat(folder, name, &aside.folder, OLD) {
            aside.remove_folder();
            let path = metric.relative_path();
            return Err(match errno {
                Errno::XDEV => StoreError::Elsewhere { path },
                errno => StoreError::io("keep aside the truncated file", path, errno),
            });
        }
        let failed = |errno| StoreError::io("sync", aside.path(), errno);
        rustix::fs::fsync(&aside.folder).map_err(failed)?;
        rustix::fs::fsync(folder).map_err(failed)?;
        Ok(aside.path())
    }

    /// How many replaced files are kept, and their total length.
    ///
    /// # Errors
    /// [`StoreError`] if the folder cannot be read.
    pub(crate) fn replaced(&self) -> Result<ReplacedStatus, StoreError> {
        let kept = self.state.kept();
        let mut status = ReplacedStatus::default();
        for name in kept.names()? {
            if let Ok(old) = stat(&kept.folder, &format!("{name}/{OLD}")) {
                status.files += 1;
                status.bytes += u64::try_from(old.st_size).unwrap_or(0);
            }
        }
        Ok(status)
    }
}

fn failed(path: &Path, errno: Errno) -> Failure {
    match errno {
        Errno::XDEV => StoreError::Elsewhere { path: path.into() }.into(),
        errno => StoreError::io("keep aside the corrupt file", path, errno).into(),
    }
}

fn cannot_exchange(path: &Path, errno: Errno) -> Failure {
    if !matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) {
        return StoreError::io("replace the corrupt file", path, errno).into();
    }
    let reason = format!(
        "the owner's file {} is corrupt, and its file system cannot exchange two files; move it aside, then run this \
         again",
        path.display()
    );
    Failure::refused(Problem::DestinationDamaged, reason)
}

fn stat(folder: &OwnedFd, name: &str) -> Result<Stat, Errno> {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

#[cfg(test)]
mod tests;
