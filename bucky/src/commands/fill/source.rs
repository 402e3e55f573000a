//! Deletes a source once its points are elsewhere, and only if it has not changed since it was filled from.

use std::fs::File;
use std::io::Seek;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bucky_whisper::{
    Digest, Lease, late_points_of, lock_exclusive, lock_shared, past_leases, unlock,
};
use rustix::fs::{Mode, OFlags};

/// How an attempt to delete a source ended.
pub(super) enum Deletion {
    /// It is gone, and nothing can write to it any more.
    Done,
    /// It has changed since it was filled from, and stays.
    Changed,
    /// It is gone, and a writer that had it open has written to it since.
    WrittenSince(UnlinkedFile),
}

/// A file whose name was removed while a process may still have it open.
pub(super) struct UnlinkedFile {
    file: File,
    /// The digest of its content.
    pub(super) digest: Digest,
}

impl UnlinkedFile {
    /// A path under which it can be read as long as this value lives.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Waits, for at most `limit`, until no other process has it open, and reports whether it has changed.
    pub(super) fn settle(mut self, limit: Duration) -> anyhow::Result<Deletion> {
        // Without a lease (the file's owner or the kernel may refuse one), its content now must do.
        let lease = Lease::take(&self.file, limit);
        let now = digest(&self.file, Path::new("the deleted source"))?;
        drop(lease);
        if now == self.digest {
            return Ok(Deletion::Done);
        }
        self.digest = now;
        Ok(Deletion::WrittenSince(self))
    }
}

pub(super) fn digest_of(path: &Path, limit: Duration) -> anyhow::Result<Digest> {
    let file = open(path)?;
    lock_shared(&file, limit).with_context(|| format!("cannot lock {}", path.display()))?;
    digest(&file, path)
}

/// Opens a regular file. Opening a pipe would wait for its other end.
fn open(path: &Path) -> anyhow::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = past_leases(|| rustix::fs::open(path, flags, Mode::empty())).map(File::from);
    let file = opened.with_context(|| format!("cannot open {}", path.display()))?;
    let metadata = file.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(metadata.is_file(), "{} is not a regular file", path.display());
    Ok(file)
}

fn digest(mut file: &File, path: &Path) -> anyhow::Result<Digest> {
    let digest = file.rewind().and_then(|()| {
        let bytes = file.metadata()?.len();
        Digest::read(file, bytes)
    });
    let (digest, _) = digest.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(digest)
}

/// Fails if go-carbon keeps late points of the file at `path` in another file, which is not filled from.
fn refuse_late_points(path: &Path) -> anyhow::Result<()> {
    let Some(name) = path.file_name() else { return Ok(()) };
    let sidecar = path.with_file_name(late_points_of(name));
    match std::fs::symlink_metadata(&sidecar) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", sidecar.display())),
        Ok(_) => bail!(
            "go-carbon keeps late points of the source in {}, so it was not deleted; let go-carbon merge them first",
            sidecar.display()
        ),
    }
}

/// Deletes the file at `path` if its content still has this digest.
pub(super) fn delete_unchanged(
    path: &Path,
    filled_from: Digest,
    limit: Duration,
) -> anyhow::Result<Deletion> {
    let file = open(path)?;
    lock_exclusive(&file, limit).with_context(|| format!("cannot lock {}", path.display()))?;
    if digest(&file, path)? != filled_from {
        return Ok(Deletion::Changed);
    }
    // The path may lead to another file by now, after the wait for the lock.
    let inode = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let opened = file.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    let named = std::fs::symlink_metadata(path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    if inode(opened) != inode(named) {
        return Ok(Deletion::Changed);
    }
    refuse_late_points(path)?;
    std::fs::remove_file(path).with_context(|| format!("cannot delete {}", path.display()))?;
    // A process that waits for the lock, or takes none, has the file open and will still write to it.
    unlock(&file).with_context(|| format!("cannot unlock {}", path.display()))?;
    UnlinkedFile { file, digest: filled_from }.settle(limit)
}
