//! New files: written completely without their names, and put in place without replacing anything.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use bucky_api::archive::FileMeta;
use bucky_whisper::Digest;
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::error::StoreError;
use super::failure::Failure;
use super::fill::Existing;
use super::folder_cache::{FolderCache, is_removed};
use super::rules::HealRules;
use super::tree::Tree;
use super::unplaced::Unplaced;
use super::{LockBudget, Store, TRIES};

/// The properties of a new file.
#[derive(Clone, Copy)]
pub(super) struct NewFile<'c> {
    pub(super) content: &'c [u8],
    pub(super) meta: FileMeta,
    /// Whether it gets holes in place of blocks of zeros, because its source has them.
    pub(super) is_sparse: bool,
}

/// A new file that waits to be put in place.
pub(super) struct Staged {
    /// The index of its line in the batch.
    pub(super) line: usize,
    /// The path where it will be put.
    pub(super) path: PathBuf,
    /// Where it is now.
    pub(super) file: Unplaced,
    /// Whether its folder was created for it.
    pub(super) is_folder_new: bool,
    /// The digest of its content.
    pub(super) digest: Digest,
    /// The rules for a file in its place.
    pub(super) rules: HealRules,
    /// Whether the file in its place must be reshaped, as far as is known.
    pub(super) reshapes: bool,
}

impl Staged {
    /// Its name in `tmp`, if it replaces the file that is in its place.
    fn replaces(&self, failure: &Failure) -> Option<&Path> {
        match &self.file {
            Unplaced::Named(name) if self.rules.replaces(failure) => Some(name),
            _ => None,
        }
    }
}

impl Store {
    /// Writes a new file that will be put at `path`: in that folder, which is created, but without a name. If
    /// that is not possible, under a temporary name. `true` if the folder was created.
    pub(super) fn write_unplaced(
        &self,
        path: &Path,
        new: NewFile<'_>,
        folders: &FolderCache,
    ) -> Result<(Unplaced, bool), StoreError> {
        // An error of the folder is reported when the file is put in place.
        let folder = path.parent().and_then(|folder| folders.make_folder(&self.tree, folder).ok());
        let is_folder_new = folder.as_ref().is_some_and(|(_, is_new)| *is_new);
        let written = match folder.and_then(|(folder, _)| self.unnamed.make(&*folder)) {
            Some(mut unnamed) => self.fill_tmp(unnamed.file(), path, new).map(|()| {
                unnamed.written(new.content.len());
                Unplaced::Unnamed(unnamed)
            }),
            None => self.write_tmp(new).map(Unplaced::Named),
        };
        if written.is_err() && is_folder_new {
            self.tree.prune_folders(path);
        }
        Ok((written?, is_folder_new))
    }

    /// An empty new file that will be put at `path`, as in [`Self::write_unplaced`], open for writing. `true`
    /// if the folder was created.
    pub(super) fn make_unplaced(
        &self,
        path: &Path,
        folders: &FolderCache,
    ) -> (Result<(Unplaced, File), StoreError>, bool) {
        let folder = path.parent().and_then(|folder| folders.make_folder(&self.tree, folder).ok());
        let is_folder_new = folder.as_ref().is_some_and(|(_, is_new)| *is_new);
        let unnamed = folder.and_then(|(folder, _)| {
            let unnamed = self.unnamed.make(&*folder)?;
            let file = unnamed.file().try_clone().ok()?;
            Some((Unplaced::Unnamed(unnamed), file))
        });
        let made = match unnamed {
            Some(made) => Ok(made),
            None => self.make_tmp().map(|(name, file)| (Unplaced::Named(name), file)),
        };
        (made, is_folder_new)
    }

    /// An empty file under a temporary name.
    pub(super) fn make_tmp(&self) -> Result<(PathBuf, File), StoreError> {
        let name = self.state.new_tmp_name();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let tmp = rustix::fs::openat(self.state.tmp(), &name, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|errno| StoreError::io("create the temporary file", &name, errno))?;
        Ok((name, tmp))
    }

    /// Writes a file under a temporary name and returns that.
    pub(super) fn write_tmp(&self, new: NewFile<'_>) -> Result<PathBuf, StoreError> {
        let (name, tmp) = self.make_tmp()?;
        let written = self.fill_tmp(&tmp, &name, new);
        if written.is_err() {
            self.remove_tmp(&name);
        }
        written.map(|()| name)
    }

    pub(super) fn fill_tmp(
        &self,
        tmp: &File,
        name: &Path,
        new: NewFile<'_>,
    ) -> Result<(), StoreError> {
        let NewFile { content, meta, is_sparse } = new;
        let failed = |error: std::io::Error| StoreError::io("write the new file", name, error);
        if is_sparse || self.options.sparse {
            bucky_whisper::write_sparse(tmp, content).map_err(failed)?;
        } else {
            (&*tmp).write_all(content).map_err(failed)?;
        }
        self.set_meta(tmp, name, meta)
    }

    /// Gives a new file its owner, mode and time.
    pub(super) fn set_meta(
        &self,
        tmp: &File,
        name: &Path,
        meta: FileMeta,
    ) -> Result<(), StoreError> {
        let failed = |errno: Errno| StoreError::io("set mode and time of", name, errno);
        self.tree.give_to_owner(tmp, name)?;
        // Without 0o600 neither carbon nor the sync that follows could open it.
        let mode = Mode::from_raw_mode(meta.mode & 0o777 | 0o600);
        rustix::fs::fchmod(tmp, mode).map_err(failed)?;
        let time = Timespec { tv_sec: i64::try_from(meta.mtime).unwrap_or(0), tv_nsec: 0 };
        rustix::fs::futimens(tmp, &Timestamps { last_access: time, last_modification: time })
            .map_err(failed)
    }

    /// Puts a staged file in place. If a file has appeared there, fills that instead.
    pub(super) fn put_or_fill(
        &self,
        staged: &Staged,
        budget: &LockBudget,
        folders: &FolderCache,
    ) -> Result<Existing, Failure> {
        let result = self.try_put_or_fill(staged, budget, folders);
        if !matches!(result, Ok(Existing::NotThere | Existing::NeedsReshape)) {
            self.remove_unplaced(&staged.file);
        }
        if result.is_err() {
            // Folders that were created for it and are empty.
            self.tree.prune_folders(&staged.path);
        }
        result
    }

    fn try_put_or_fill(
        &self,
        staged: &Staged,
        budget: &LockBudget,
        folders: &FolderCache,
    ) -> Result<Existing, Failure> {
        let (Some(folder), Some(name)) = (staged.path.parent(), staged.path.file_name()) else {
            return Err(StoreError::BadPath { path: staged.path.clone() }.into());
        };
        for _ in 0..TRIES {
            let (folder, _) = match folders.make_folder(&self.tree, folder) {
                // One of its folders was empty and was removed while those below were created.
                Err(StoreError::Missing { .. }) => continue,
                folder => folder?,
            };
            let name = Path::new(name);
            let put = match &staged.file {
                Unplaced::Named(tmp) => Tree::put_in_place(self.state.tmp(), tmp, &*folder, name),
                Unplaced::Unnamed(unnamed) => unnamed.put_in_place(&*folder, name),
            };
            match put {
                Ok(true) => return Ok(Existing::NotThere),
                Ok(false) => {}
                // The folder was empty and was removed between its opening and this. For a file without a
                // name it can also mean that linking is not allowed.
                Err(Errno::NOENT)
                    if matches!(staged.file, Unplaced::Named(_))
                        || is_removed(&folder).unwrap_or(true) =>
                {
                    folders.forget();
                    continue;
                }
                Err(Errno::XDEV) => {
                    return Err(StoreError::Elsewhere { path: staged.path.clone() }.into());
                }
                Err(errno) => {
                    if matches!(staged.file, Unplaced::Unnamed(_)) {
                        self.unnamed.link_failed(errno);
                    }
                    return Err(StoreError::io(
                        "put the new file in place at",
                        &staged.path,
                        errno,
                    )
                    .into());
                }
            }
            match self.fill_from_unplaced(staged, budget) {
                Ok(Existing::NotThere) => {}
                Err(failure) => {
                    let Some(tmp_name) = staged.replaces(&failure) else { return Err(failure) };
                    if let Some(kept) = self.replace_corrupt(staged, tmp_name)? {
                        return Ok(Existing::Replaced { kept });
                    }
                }
                done => return done,
            }
        }
        Err(StoreError::Unsteady { path: staged.path.clone() }.into())
    }

    fn fill_from_unplaced(
        &self,
        staged: &Staged,
        budget: &LockBudget,
    ) -> Result<Existing, Failure> {
        let Staged { path, file, .. } = staged;
        match file {
            Unplaced::Named(name) => {
                self.fill_from_tmp(path, &self.open_tmp(name)?, &staged.rules, budget)
            }
            Unplaced::Unnamed(unnamed) => {
                self.fill_from_tmp(path, unnamed.file(), &staged.rules, budget)
            }
        }
    }

    /// A staged file, open for reading.
    pub(super) fn open_staged(&self, staged: &Staged) -> Result<File, StoreError> {
        match &staged.file {
            Unplaced::Named(name) => self.open_tmp(name),
            Unplaced::Unnamed(unnamed) => unnamed
                .file()
                .try_clone()
                .map_err(|error| StoreError::io("open the new file", &staged.path, error)),
        }
    }

    /// The content of a staged file.
    pub(super) fn staged_content(&self, staged: &Staged) -> Result<Vec<u8>, StoreError> {
        match &staged.file {
            Unplaced::Named(name) => self.content(&self.open_tmp(name)?, &staged.path),
            Unplaced::Unnamed(unnamed) => self.content(unnamed.file(), &staged.path),
        }
    }

    /// Makes the content of a new file durable.
    pub(super) fn sync_unplaced(&self, staged: &Staged) -> Result<(), StoreError> {
        let synced = match &staged.file {
            Unplaced::Named(name) => self.open_tmp(name)?.sync_all(),
            Unplaced::Unnamed(unnamed) => unnamed.file().sync_all(),
        };
        synced.map_err(|error| StoreError::io("sync the new file", &staged.path, error))
    }

    /// Removes a new file that gets no place. A file without a name disappears when it is closed.
    pub(super) fn remove_unplaced(&self, file: &Unplaced) {
        if let Unplaced::Named(name) = file {
            self.remove_tmp(name);
        }
    }

    /// Removes new files that get no place, and the empty folders that were created for them.
    pub(super) fn discard(&self, staged: Vec<Staged>) {
        for Staged { path, file, is_folder_new, .. } in staged {
            self.remove_unplaced(&file);
            if is_folder_new {
                self.tree.prune_folders(&path);
            }
        }
    }

    /// Sets the length of a new file, and allocates disk space unless it gets holes.
    pub(super) fn allocate(&self, file: &File, len: u64, is_sparse: bool) -> std::io::Result<()> {
        if !is_sparse && !self.options.sparse {
            let allocate = || rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len);
            match rustix::io::retry_on_intr(allocate) {
                // The file system does not support this: it allocates space as it is written to.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        file.set_len(len)
    }

    pub(super) fn open_tmp(&self, name: &Path) -> Result<File, StoreError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.state.tmp(), name, flags, Mode::empty())
            .map(File::from)
            .map_err(|errno| StoreError::io("open the temporary file", name, errno))
    }

    pub(super) fn remove_tmp(&self, name: &Path) {
        if let Err(errno) = rustix::fs::unlinkat(self.state.tmp(), name, AtFlags::empty())
            && errno != Errno::NOENT
        {
            tracing::warn!(file = %name.display(), error = %errno, "cannot remove a temporary file");
        }
    }
}
