//! The folder `replaced/`, and the folder of each kept file in it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bucky_api::clock::unix_now;
use bucky_whisper::Digest;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{
    CorruptFile, FOLDER_FLAGS, KeptFiles, KeptFolder, MANIFEST, Manifest, NAMES, NEW, OLD,
    cannot_exchange, failed, is_same, stat,
};
use crate::store::error::StoreError;
use crate::store::failure::Failure;
use crate::store::tree::Tree;

impl KeptFiles {
    /// Opens the folder at `path`, and tidies up after a crash.
    pub(in crate::store) fn open(
        folder: OwnedFd,
        path: PathBuf,
        tree: &Tree,
    ) -> Result<Self, StoreError> {
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
    pub(super) fn names(&self) -> Result<Vec<String>, StoreError> {
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

    pub(super) fn aside(&self, name: String) -> std::io::Result<KeptFolder<'_>> {
        let flags = FOLDER_FLAGS | OFlags::NOFOLLOW;
        let folder = rustix::fs::openat(&self.folder, &name, flags, Mode::empty())?;
        Ok(KeptFolder { kept: self, name, folder })
    }

    /// Creates a folder with its manifest, durably.
    pub(super) fn begin(&self, manifest: &Manifest) -> Result<KeptFolder<'_>, StoreError> {
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
    pub(super) fn path(&self) -> PathBuf {
        self.kept.path.join(&self.name).join(OLD)
    }

    pub(super) fn write_manifest(&self, manifest: &Manifest) -> std::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, MANIFEST, flags, Mode::from_raw_mode(0o644))?;
        let mut file = File::from(file);
        serde_json::to_writer(&mut file, manifest)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        rustix::fs::fsync(&self.folder)?;
        Ok(rustix::fs::fsync(&self.kept.folder)?)
    }

    pub(super) fn manifest(&self) -> std::io::Result<Manifest> {
        let mut text = String::new();
        self.open_file(MANIFEST)?.take(64 * 1024).read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    }

    pub(super) fn open_file(&self, name: &str) -> std::io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(File::from(rustix::fs::openat(&self.folder, name, flags, Mode::empty())?))
    }

    pub(super) fn unlink(&self, name: &str) -> std::io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.folder, name, AtFlags::empty())?)
    }

    /// The second half: `new` and the corrupt file change places. `false` if another file was in the place.
    /// It is back there then.
    pub(super) fn change_places(&self, corrupt: &CorruptFile<'_>) -> Result<bool, Failure> {
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
    pub(super) fn undo(
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
                     here; check it, and move it back");
            }
        }
        self.drop_second_name(tree, path)?;
        self.remove_folder();
        Ok(())
    }

    /// Removes `new` if it is the old file: the two have changed places.
    pub(super) fn drop_third_name(&self) -> std::io::Result<bool> {
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
    pub(super) fn drop_second_name(&self, tree: &Tree, path: &Path) -> std::io::Result<()> {
        let Ok(old) = stat(&self.folder, OLD) else { return Ok(()) };
        let there = tree.open_file(path, OFlags::RDONLY).ok();
        let there = there.and_then(|file| rustix::fs::fstat(file).ok());
        if there.is_some_and(|there| is_same(&old, &there)) {
            self.unlink(OLD)?;
        }
        Ok(())
    }

    /// Removes the folder if neither file is in it.
    pub(super) fn remove_folder(&self) {
        let is_absent = |name| matches!(stat(&self.folder, name), Err(Errno::NOENT));
        if is_absent(OLD) && is_absent(NEW) {
            let _ = self.unlink(MANIFEST);
            let _ = rustix::fs::unlinkat(&self.kept.folder, &self.name, AtFlags::REMOVEDIR);
        }
    }

    /// Finishes or undoes what was under way at a crash.
    pub(super) fn tidy(&self, tree: &Tree) -> std::io::Result<()> {
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
    pub(super) fn is_staged_copy(&self) -> std::io::Result<bool> {
        let mut content = Vec::new();
        self.open_file(NEW)?.read_to_end(&mut content)?;
        Ok(Some(Digest::of(&content)) == self.manifest()?.replaced_by)
    }
}
