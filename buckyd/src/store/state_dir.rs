//! The daemon's own folder: `PREFIX/.bucky`, or the one of `--state-dir`.
//!
//! `store-id` names the store. `ring` has the present and former members of the ring, `volumes` the node's
//! volumes. `lock` keeps a second daemon out. `tmp/` holds files that are being received, `tombstones/`
//! deleted sources, and `replaced/` corrupt files that were replaced. The folder is on the prefix's file
//! system, because files move by renames. No name in it ends in `.wsp`, so carbon, the Go tool and a scan
//! skip it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::path::Arg;
use uuid::Uuid;

use super::error::StoreError;
use super::exclusive::{DEFAULT_NAME, LOCK};
use super::kept::KeptFiles;
use super::tombstone::UnfinishedBatches;
use super::tree::Tree;

const STORE_ID: &str = "store-id";
const TMP: &str = "tmp";
const TOMBSTONES: &str = "tombstones";
const REPLACED: &str = "replaced";

/// The open state folder.
pub(super) struct StateDir {
    path: PathBuf,
    folder: OwnedFd,
    tmp: OwnedFd,
    tombstones: OwnedFd,
    kept: KeptFiles,
    store_id: String,
    next_tmp: AtomicU64,
    unfinished_batches: UnfinishedBatches,
    /// Held as long as the daemon runs.
    _locks: Vec<File>,
}

impl StateDir {
    pub(super) fn open(tree: &Tree, path: Option<&Path>) -> Result<Self, StoreError> {
        // Without a slash at its end, which would make the system follow a link.
        let is_default = path.is_none();
        let path: PathBuf =
            path.map_or_else(|| tree.path().join(DEFAULT_NAME), |path| path.components().collect());
        let folder = match is_default {
            true => make_in(tree.root(), DEFAULT_NAME, &path)?,
            false => make_in(rustix::fs::CWD, &path, &path)?,
        };
        check_is_no_metrics_folder(tree, &path)?;
        let mut locks = vec![take_lock(&folder, &path)?];
        if !is_default {
            locks.extend(lock_at_prefix(tree)?);
        }
        check_same_file_system(tree, &folder, &path)?;
        let made = |name: &str| make_in(&folder, name, &path.join(name));
        let (tmp, tombstones, replaced) = (made(TMP)?, made(TOMBSTONES)?, made(REPLACED)?);
        remove_files(&tmp, &path.join(TMP))?;
        let kept = KeptFiles::open(replaced, path.join(REPLACED), tree)?;
        let store_id = store_id(&folder, &path)?;
        Ok(Self {
            path,
            folder,
            tmp,
            tombstones,
            kept,
            store_id,
            next_tmp: AtomicU64::new(0),
            unfinished_batches: UnfinishedBatches::default(),
            _locks: locks,
        })
    }

    pub(super) fn store_id(&self) -> &str {
        &self.store_id
    }

    /// Its path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The open folder.
    pub(super) fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    /// The path of the folder of a batch of tombstones, for messages.
    pub(super) fn tombstone_path(&self, batch: &str) -> PathBuf {
        self.path.join(TOMBSTONES).join(batch)
    }

    pub(super) fn tmp(&self) -> &OwnedFd {
        &self.tmp
    }

    pub(super) fn tombstones(&self) -> &OwnedFd {
        &self.tombstones
    }

    pub(super) fn kept(&self) -> &KeptFiles {
        &self.kept
    }

    pub(super) fn unfinished_batches(&self) -> &UnfinishedBatches {
        &self.unfinished_batches
    }

    /// A name that is new in `tmp`, which was emptied at start, under the lock.
    pub(super) fn new_tmp_name(&self) -> PathBuf {
        PathBuf::from(self.next_tmp.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

/// Creates the folder `name` in `parent` if it does not exist, and opens it. A link is not followed.
fn make_in(parent: impl AsFd, name: impl Arg, path: &Path) -> Result<OwnedFd, StoreError> {
    let name = name.as_cow_c_str().map_err(|errno| StoreError::open(path, errno))?;
    match rustix::fs::mkdirat(&parent, &*name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(StoreError::io("create the state folder", path, errno)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&parent, &*name, flags, Mode::empty()).map_err(|errno| {
        let there = rustix::fs::statat(&parent, &*name, AtFlags::SYMLINK_NOFOLLOW);
        let is_link = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        if there.is_ok_and(is_link) {
            return StoreError::StateLink { path: path.into() };
        }
        StoreError::io("open the state folder", path, errno)
    })
}

/// The lock in `.bucky` at the prefix if the state folder is elsewhere. A daemon with its state folder at the
/// prefix locks only that. `None` if there is no such lock and it cannot be created. The folders' own locks
/// are held anyway.
fn lock_at_prefix(tree: &Tree) -> Result<Option<File>, StoreError> {
    let path = tree.path().join(DEFAULT_NAME);
    match make_in(tree.root(), DEFAULT_NAME, &path) {
        Ok(folder) => match create_or_open(&folder, LOCK) {
            Ok(_) => take_lock(&folder, &path).map(Some),
            Err(_) => Ok(None),
        },
        Err(_) => Ok(None),
    }
}

fn take_lock(folder: &OwnedFd, path: &Path) -> Result<File, StoreError> {
    let lock = create_or_open(folder, LOCK)
        .map_err(|errno| StoreError::io("create the lock in", path, errno))?;
    bucky_whisper::lock_exclusive(&lock, Duration::ZERO)
        .map_err(|_| StoreError::Served { path: path.into(), whose: "it".into() })?;
    Ok(lock)
}

fn create_or_open(folder: &OwnedFd, name: &str) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o644)).map(File::from)
}

fn check_same_file_system(tree: &Tree, folder: &OwnedFd, path: &Path) -> Result<(), StoreError> {
    let failed = |errno: Errno| StoreError::io("check the state folder", path, errno);
    let here = rustix::fs::fstat(folder).map_err(failed)?.st_dev;
    let there = rustix::fs::fstat(tree.root()).map_err(failed)?.st_dev;
    if here == there {
        return Ok(());
    }
    let source = std::io::Error::new(
        std::io::ErrorKind::CrossesDevices,
        format!(
            "it is on another file system than {}; give --state-dir a folder there",
            tree.path().display()
        ),
    );
    Err(StoreError::io("use the state folder", path, source))
}

/// Checks that no metric's name leads into the state folder: below the prefix, a component of its path must
/// begin with a dot.
fn check_is_no_metrics_folder(tree: &Tree, path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::io("check the state folder", path, error);
    let prefix = tree.path().canonicalize().map_err(failed)?;
    let folder = path.canonicalize().map_err(failed)?;
    let Ok(below) = folder.strip_prefix(&prefix) else { return Ok(()) };
    if below.components().any(|name| name.as_os_str().as_encoded_bytes().starts_with(b".")) {
        return Ok(());
    }
    let source = std::io::Error::new(
        std::io::ErrorKind::InvalidInput,
        format!(
            "metrics may be there; give --state-dir a folder outside {}, or one whose name begins with a dot",
            prefix.display()
        ),
    );
    Err(StoreError::io("use the state folder", path, source))
}

/// Removes the temporary files in `folder`, recognised by their names: a crashed daemon left them.
fn remove_files(folder: &OwnedFd, path: &Path) -> Result<(), StoreError> {
    let failed = |errno: Errno| StoreError::io("clear", path, errno);
    for entry in Dir::read_from(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().to_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        rustix::fs::unlinkat(folder, entry.file_name(), AtFlags::empty()).map_err(failed)?;
    }
    Ok(())
}

/// The store's name, which is created at the first start.
fn store_id(folder: &OwnedFd, path: &Path) -> Result<String, StoreError> {
    let failed = |source| StoreError::io("read or write the store's name in", path, source);
    let mut file = create_or_open(folder, STORE_ID).map_err(|errno| failed(errno.into()))?;
    let mut text = String::new();
    (&file).take(1024).read_to_string(&mut text).map_err(failed)?;
    if let Ok(id) = text.trim().parse::<Uuid>() {
        return Ok(id.to_string());
    }
    let id = Uuid::new_v4().to_string();
    file.set_len(0).map_err(failed)?;
    std::io::Seek::rewind(&mut file).map_err(failed)?;
    file.write_all(format!("{id}\n").as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    rustix::fs::fsync(folder).map_err(|errno| failed(errno.into()))?;
    Ok(id)
}
