//! The folders below the prefix. Every path is opened from the prefix's own descriptor, and follows no link.
//!
//! Nothing outside the prefix can be reached, whatever the names or links below it are. Nothing on another
//! mount can be reached either: that has its own tree. The prefix itself may be a link. Paths are relative to
//! the prefix, also in the tree of another volume, which is at one of them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bucky_api::DiskStatus;
use bucky_whisper::past_leases;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::error::StoreError;
use super::identity::FolderId;

mod changes;

/// The permissions of a new folder, before the umask.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);

/// The prefix, held open.
pub(crate) struct Tree {
    root: File,
    path: PathBuf,
    /// The path of its root below the prefix; empty for the prefix.
    at: PathBuf,
    id: FolderId,
    /// Whether the kernel lacks openat2 (before Linux 5.6).
    walks: AtomicBool,
    /// The owner of created files, if the daemon runs as root and the prefix belongs to another user: the
    /// prefix's owner, so that carbon can write.
    owner: Option<(rustix::fs::Uid, rustix::fs::Gid)>,
}

impl Tree {
    /// Opens the folder `path`.
    ///
    /// # Errors
    /// [`StoreError`] if it is not a folder or cannot be opened.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| StoreError::io("open the prefix", path, errno))?;
        Self::of(root, path, PathBuf::new())
    }

    /// The tree of the folder `path` that is mounted in this one.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be opened.
    pub(crate) fn mounted(&self, path: &Path) -> Result<Self, StoreError> {
        self.beside(path, OFlags::NOFOLLOW)
    }

    /// The tree of the folder that the link `path` in this one leads to.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be opened.
    pub(crate) fn linked(&self, path: &Path) -> Result<Self, StoreError> {
        self.beside(path, OFlags::empty())
    }

    fn beside(&self, path: &Path, how: OFlags) -> Result<Self, StoreError> {
        let failed = |errno| StoreError::io("open the volume", path, errno);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(StoreError::BadPath { path: path.into() });
        };
        let parent = self.folder(parent).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | how;
        let root = rustix::fs::openat(&parent, Path::new(name), flags, Mode::empty());
        let shown = self.path.join(self.within(path).map_err(failed)?);
        Self::of(root.map_err(failed)?, &shown, path.to_owned())
    }

    fn of(root: OwnedFd, path: &Path, at: PathBuf) -> Result<Self, StoreError> {
        let failed = |errno| StoreError::io("check the prefix", path, errno);
        let id = FolderId::of(&root).map_err(failed)?;
        let owner = if rustix::process::geteuid().is_root() {
            let stat = rustix::fs::fstat(&root).map_err(failed)?;
            let owner =
                (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
            (owner != (rustix::process::geteuid(), rustix::process::getegid())).then_some(owner)
        } else {
            None
        };
        Ok(Self {
            root: File::from(root),
            path: path.to_owned(),
            at,
            id,
            walks: AtomicBool::new(false),
            owner,
        })
    }

    /// The prefix as it was configured.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of its root below the prefix; empty for the prefix.
    pub(crate) fn at(&self) -> &Path {
        &self.at
    }

    /// `relative` as a path from this tree's root.
    fn within<'p>(&self, relative: &'p Path) -> Result<&'p Path, Errno> {
        if self.at.as_os_str().is_empty() {
            return Ok(relative);
        }
        relative.strip_prefix(&self.at).map_err(|_| Errno::XDEV)
    }

    /// Whether the open folder is on the file system of the root.
    pub(crate) fn is_on_device(&self, folder: impl AsFd) -> Result<bool, Errno> {
        Ok(rustix::fs::fstat(folder)?.st_dev == self.id.device())
    }

    /// Whether the prefix's path still leads to the open folder. Call it before anything is written or
    /// deleted.
    ///
    /// # Errors
    /// [`StoreError::PrefixChanged`] if it does not.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let path = || self.path.clone();
        match FolderId::at(&self.path) {
            Ok(id) if id == self.id => Ok(()),
            Ok(_) => Err(StoreError::PrefixChanged { path: path() }),
            Err(errno) => Err(StoreError::PrefixGone { path: path(), source: errno.into() }),
        }
    }

    /// The prefix's descriptor.
    pub(crate) fn root(&self) -> &File {
        &self.root
    }

    /// Opens what is at `relative`, following no link.
    pub(crate) fn open_at(
        &self,
        relative: &Path,
        flags: OFlags,
        mode: Mode,
    ) -> Result<OwnedFd, Errno> {
        let relative = self.within(relative)?;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if !self.walks.load(Ordering::Relaxed) {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            match rustix::fs::openat2(&self.root, relative, flags, mode, resolve) {
                Err(Errno::NOSYS) => self.walks.store(true, Ordering::Relaxed),
                // Older container runtimes return this for a system call that they do not know. If it is a
                // real error, the walk meets it too.
                Err(Errno::PERM) => {}
                result => return result,
            }
        }
        self.walk(relative, flags, mode)
    }

    fn walk(&self, relative: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let through = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder: Option<OwnedFd> = None;
        let mut components = relative.components().peekable();
        while let Some(component) = components.next() {
            let std::path::Component::Normal(name) = component else {
                return Err(Errno::XDEV);
            };
            let at = folder.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            if components.peek().is_none() {
                let opened = rustix::fs::openat(at, name, flags, mode)?;
                return if self.is_on_device(&opened)? { Ok(opened) } else { Err(Errno::XDEV) };
            }
            let next = rustix::fs::openat(at, name, through, Mode::empty())?;
            folder = Some(next);
        }
        Err(Errno::NOENT)
    }

    /// Opens the folder `relative`. The path of the tree itself means its root.
    pub(crate) fn folder(&self, relative: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        if self.within(relative)?.as_os_str().is_empty() {
            return rustix::fs::openat(&self.root, ".", flags | OFlags::CLOEXEC, Mode::empty());
        }
        self.open_at(relative, flags, Mode::empty())
    }

    /// Opens the regular file `relative` with `flags`. Links, folders, FIFOs and devices are refused.
    pub(crate) fn open_file(&self, relative: &Path, flags: OFlags) -> Result<File, StoreError> {
        // NONBLOCK: opening a FIFO must not wait for its other end.
        let flags = flags | OFlags::NONBLOCK;
        let fd = past_leases(|| self.open_at(relative, flags, Mode::empty()))
            .map_err(|errno| StoreError::open(relative, errno))?;
        regular(fd, relative).map(|(file, _)| file)
    }

    /// Whether `file` is still what `relative` names.
    pub(crate) fn still_names(&self, relative: &Path, file: &File) -> Result<bool, StoreError> {
        let failed = |errno| StoreError::io("stat", relative, errno);
        let held = rustix::fs::fstat(file).map_err(failed)?;
        match self.open_at(relative, OFlags::PATH, Mode::empty()) {
            Ok(now) => {
                let named = rustix::fs::fstat(&now).map_err(failed)?;
                Ok((held.st_dev, held.st_ino) == (named.st_dev, named.st_ino))
            }
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(StoreError::open(relative, errno)),
        }
    }

    /// Size and free space of the prefix's file system.
    pub(crate) fn room(&self) -> io::Result<DiskStatus> {
        let stat = rustix::fs::fstatvfs(&self.root)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        // Some file systems create inodes as they need them, and report 0.
        let inodes = |count: u64| (stat.f_files > 0).then_some(count);
        Ok(DiskStatus {
            total_bytes: bytes(stat.f_blocks),
            free_bytes: bytes(stat.f_bavail),
            total_inodes: inodes(stat.f_files),
            free_inodes: inodes(stat.f_favail),
        })
    }
}

/// Opens a file for reading by `open`, which gets the flags, without updating the access time in its inode. A
/// move reads each file more than once, and each update would be a write. Only the owner of the file may do
/// so.
pub(super) fn open_unnoted(
    open: impl Fn(OFlags) -> Result<OwnedFd, Errno>,
) -> Result<OwnedFd, Errno> {
    match open(OFlags::RDONLY | OFlags::NOATIME) {
        Err(Errno::PERM) => open(OFlags::RDONLY),
        opened => opened,
    }
}

/// The file that was opened at `relative`. It must be a regular file.
pub(super) fn regular(fd: OwnedFd, relative: &Path) -> Result<(File, Stat), StoreError> {
    let stat = rustix::fs::fstat(&fd).map_err(|errno| StoreError::io("stat", relative, errno))?;
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok((File::from(fd), stat)),
        FileType::Directory => "a folder",
        FileType::Fifo => "a FIFO",
        _ => "a device or a socket",
    };
    Err(StoreError::NotAFile { path: relative.into(), what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_folder_at_the_prefix_is_noticed() {
        let parent = tempfile::tempdir().unwrap();
        let (one, other) = (parent.path().join("one"), parent.path().join("other"));
        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&other).unwrap();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let tree = Tree::open(&link).unwrap();
        tree.check().unwrap();
        std::fs::remove_file(&link).unwrap();
        assert!(matches!(tree.check(), Err(StoreError::PrefixGone { .. })));
        std::os::unix::fs::symlink(&other, &link).unwrap();
        let error = tree.check().unwrap_err();
        assert!(error.to_string().contains("restart buckyd"), "{error}");
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        tree.check().unwrap();
    }
}
