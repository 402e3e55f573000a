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
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bucky_api::clock::unix_now;
use bucky_api::{Problem, ReplacedStatus, chain};
use bucky_whisper::{Digest, ImageError, MetricName};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Store;
use super::error::StoreError;
use super::failure::Failure;
use super::fill::damaged_destination;
use super::staging::Staged;
use super::tree::Tree;

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

impl KeptFiles {
    /// Opens the folder at `path`, and tidies up after a crash.
    pub(super) fn open(folder: OwnedFd, path: PathBuf, tree: &Tree) -> Result<Self, StoreError> {
        let kept = Self { folder, path };
        for name in kept.names()? {
            let tidied = kept.aside(name.clone()).and_then(|aside| aside.tidy(tree));
            if let Err(error) = tidied {
                let path = kept.path.join(name);
                tracing::warn!(path = %path.display(), error = %error, "cannot clean up a folder of replaced files; \
                     it stays as it is");
            }
        }
        Ok(kept)
    }

    /// The folders' names.
    fn names(&self) -> Result<Vec<String>, StoreError> {
        let failed = |errno| StoreError::io("read", &self.path, errno);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Ok(name) = entry.file_name().to_str()
                && name.starts_with(|first: char| first.is_ascii_digit())
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn aside(&self, name: String) -> std::io::Result<KeptFolder<'_>> {
        let flags = FOLDER_FLAGS | OFlags::NOFOLLOW;
        let folder = rustix::fs::openat(&self.folder, &name, flags, Mode::empty())?;
        Ok(KeptFolder { kept: self, name, folder })
    }

    /// Creates a folder with its manifest, durably.
    fn begin(&self, manifest: &Manifest) -> Result<KeptFolder<'_>, StoreError> {
        let failed =
            |error: std::io::Error| StoreError::io("create a folder in", &self.path, error);
        let now = unix_now();
        for number in 0..NAMES {
            let name = format!("{now}-{number}");
            match rustix::fs::mkdirat(&self.folder, &name, Mode::from_raw_mode(0o755)) {
                Err(Errno::EXIST) => continue,
                made => made.map_err(|errno| failed(errno.into()))?,
            }
            let aside = self.aside(name).map_err(failed)?;
            if let Err(error) = aside.write_manifest(manifest) {
                aside.remove_folder();
                return Err(failed(error));
            }
            return Ok(aside);
        }
        Err(failed(Errno::EXIST.into()))
    }
}

impl KeptFolder<'_> {
    /// The path of the old file.
    fn path(&self) -> PathBuf {
        self.kept.path.join(&self.name).join(OLD)
    }

    fn write_manifest(&self, manifest: &Manifest) -> std::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, MANIFEST, flags, Mode::from_raw_mode(0o644))?;
        let mut file = File::from(file);
        serde_json::to_writer(&mut file, manifest)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        rustix::fs::fsync(&self.folder)?;
        Ok(rustix::fs::fsync(&self.kept.folder)?)
    }

    fn manifest(&self) -> std::io::Result<Manifest> {
        let mut text = String::new();
        self.open_file(MANIFEST)?.take(64 * 1024).read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    }

    fn open_file(&self, name: &str) -> std::io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(File::from(rustix::fs::openat(&self.folder, name, flags, Mode::empty())?))
    }

    fn unlink(&self, name: &str) -> std::io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.folder, name, AtFlags::empty())?)
    }

    /// The second half: `new` and the corrupt file change places. `false` if another file was in the place.
    /// It is back there then.
    fn change_places(&self, corrupt: &CorruptFile<'_>) -> Result<bool, Failure> {
        let failed = |errno| failed(corrupt.path, errno);
        let exchange = || {
            let flags = RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(&self.folder, NEW, &corrupt.folder, corrupt.name, flags)
        };
        exchange().map_err(|errno| cannot_exchange(corrupt.path, errno))?;
        if !is_same(&stat(&self.folder, NEW).map_err(failed)?, &corrupt.old) {
            exchange().map_err(failed)?;
            return Ok(false);
        }
        self.unlink(NEW)
            .map_err(|error| StoreError::io("keep aside the corrupt file", corrupt.path, error))?;
        rustix::fs::fsync(&corrupt.folder).map_err(failed)?;
        Ok(true)
    }

    /// Undoes a replacement after a failure: the staged file goes back to where it was, and additional names
    /// are removed. If the two had already changed places, the old file stays here.
    fn undo(
        &self,
        tree: &Tree,
        tmp: &OwnedFd,
        (path, tmp_name): (&Path, &Path),
    ) -> std::io::Result<()> {
        // `new` need not be the staged file: if changing back failed, it is another process's file, and
        // stays.
        if !self.drop_third_name()? && stat(&self.folder, NEW).is_ok() {
            if self.is_staged_copy()? {
                rustix::fs::renameat(&self.folder, NEW, tmp, tmp_name)?;
            } else {
                let file = self.kept.path.join(&self.name).join(NEW);
                tracing::warn!(metric = %path.display(), file = %file.display(), "a file of another process was left \
                     here; check it, and put it back by hand");
            }
        }
        self.drop_second_name(tree, path)?;
        self.remove_folder();
        Ok(())
    }

    /// Removes `new` if it is the old file: the two have changed places.
    fn drop_third_name(&self) -> std::io::Result<bool> {
        let is_old = match (stat(&self.folder, OLD), stat(&self.folder, NEW)) {
            (Ok(old), Ok(new)) => is_same(&old, &new),
            _ => false,
        };
        if is_old {
            self.unlink(NEW)?;
        }
        Ok(is_old)
    }

    /// Removes `old` if the metric's file is still the same: nothing was replaced.
    fn drop_second_name(&self, tree: &Tree, path: &Path) -> std::io::Result<()> {
        let Ok(old) = stat(&self.folder, OLD) else { return Ok(()) };
        let there = tree.open_file(path, OFlags::RDONLY).ok();
        let there = there.and_then(|file| rustix::fs::fstat(file).ok());
        if there.is_some_and(|there| is_same(&old, &there)) {
            self.unlink(OLD)?;
        }
        Ok(())
    }

    /// Removes the folder if neither file is in it.
    fn remove_folder(&self) {
        let is_absent = |name| matches!(stat(&self.folder, name), Err(Errno::NOENT));
        if is_absent(OLD) && is_absent(NEW) {
            let _ = self.unlink(MANIFEST);
            let _ = rustix::fs::unlinkat(&self.kept.folder, &self.name, AtFlags::REMOVEDIR);
        }
    }

    /// Finishes or undoes what was under way at a crash.
    fn tidy(&self, tree: &Tree) -> std::io::Result<()> {
        if !self.drop_third_name()? && stat(&self.folder, NEW).is_ok() && self.is_staged_copy()? {
            self.unlink(NEW)?;
        }
        if stat(&self.folder, OLD).is_ok() {
            self.drop_second_name(tree, &self.manifest()?.metric.relative_path())?;
        }
        self.remove_folder();
        Ok(())
    }

    /// Whether `new` is the staged replacement. Its source still has that, because no client was told that it
    /// is here.
    fn is_staged_copy(&self) -> std::io::Result<bool> {
        let mut content = Vec::new();
        self.open_file(NEW)?.read_to_end(&mut content)?;
        Ok(Some(Digest::of(&content)) == self.manifest()?.replaced_by)
    }
}

fn stat(folder: &OwnedFd, name: &str) -> Result<Stat, Errno> {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

#[cfg(test)]
mod tests;
