//! New files: written whole under a temporary name, and put in place without replacing anything.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use bucky_api::Problem;
use bucky_api::archive::FileMeta;
use bucky_whisper::Digest;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::error::StoreError;
use super::fill::{Existing, Failure};
use super::kept::OnCorrupt;
use super::near::Near;
use super::tree::Tree;
use super::{LockBudget, Store, TRIES};

/// A new file that waits under a temporary name.
pub(super) struct Staged {
    /// The number of its line in the batch.
    pub(super) line: usize,
    /// Where it belongs.
    pub(super) path: PathBuf,
    /// Its name until then.
    pub(super) tmp_name: PathBuf,
    /// The digest of its content.
    pub(super) digest: Digest,
    /// What becomes of a corrupt file in its place.
    pub(super) on_corrupt: OnCorrupt,
}

impl Staged {
    fn replaces(&self, failure: &Failure) -> bool {
        self.on_corrupt == OnCorrupt::Replace && failure.problem == Problem::DestinationDamaged
    }
}

impl Store {
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
    pub(super) fn put_or_fill(
        &self,
        staged: &Staged,
        budget: &LockBudget,
        near: &Near,
    ) -> Result<Existing, Failure> {
        let result = self.try_put_or_fill(staged, budget, near);
        if !matches!(result, Ok(Existing::NotThere)) {
            self.remove_tmp(&staged.tmp_name);
        }
        if result.is_err() {
            // Folders that were made for it and hold nothing.
            self.tree.prune_folders(&staged.path);
        }
        result
    }

    fn try_put_or_fill(
        &self,
        staged: &Staged,
        budget: &LockBudget,
        near: &Near,
    ) -> Result<Existing, Failure> {
        let (Some(folder), Some(name)) = (staged.path.parent(), staged.path.file_name()) else {
            return Err(StoreError::BadPath { path: staged.path.clone() }.into());
        };
        for _ in 0..TRIES {
            let folder = match near.make_folder(&self.tree, folder) {
                // One of its folders was removed, being empty, while those below were made.
                Err(StoreError::Missing { .. }) => continue,
                folder => folder?,
            };
            match Tree::put_in_place(self.state.tmp(), &staged.tmp_name, &*folder, Path::new(name))
            {
                Ok(true) => return Ok(Existing::NotThere),
                Ok(false) => {}
                // The folder was removed, being empty, between its opening and the rename.
                Err(Errno::NOENT) => {
                    near.forget();
                    continue;
                }
                Err(Errno::XDEV) => {
                    return Err(StoreError::Elsewhere { path: staged.path.clone() }.into());
                }
                Err(errno) => {
                    return Err(StoreError::io("put in place", &staged.path, errno).into());
                }
            }
            let tmp = self.open_tmp(&staged.tmp_name)?;
            match self.fill_from_tmp(&staged.path, &tmp, budget) {
                Ok(Existing::NotThere) => {}
                Err(failure) if staged.replaces(&failure) => {
                    if let Some(kept) = self.replace_corrupt(staged)? {
                        return Ok(Existing::Replaced { kept });
                    }
                }
                done => return done,
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
