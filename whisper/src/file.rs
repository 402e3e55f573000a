//! An open Whisper file. All local files are opened, locked and read through this module.
//!
//! A file is locked while it is open: shared for reading, exclusively for changes. The locks are those that
//! whisper.py and go-carbon take, so a writer that locks is never seen in the middle of a write. This module
//! does not read the clock.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use crate::aggregation::{Aggregation, AggregationSix};
use crate::header::{AGGREGATION_AT, Header, HeaderError, X_FILES_FACTOR_AT, is_compressed};
use crate::image::{Image, ImageError, Point};
use crate::lease::past_leases;
use crate::lock::{LockError, lock_exclusive, lock_shared};
use crate::retention::XFilesFactor;
use crate::slots::{AccessError, FileSlots};

/// How often a path may start to refer to another file while we wait for its lock.
const REPLACED_MAX: u32 = 10;

/// The purpose for which a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Reading, under a shared lock.
    Read,
    /// Reading and writing, under the exclusive lock.
    Update,
}

/// Why a Whisper file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refused, or the file does not exist.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is a folder, a pipe or another special file.
    #[error("{} is not a regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// Its lock could not be taken.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: LockError,
    },
    /// Each time its lock was taken, the path referred to another file.
    #[error("{} was replaced again and again while waiting for its lock; try again", path.display())]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// It was opened, but cannot be read.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// It is in go-carbon's compressed format.
    #[error("{} is in go-carbon's compressed format, whose points cannot be read", path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
    },
    /// Its header is damaged, or it is not a Whisper file.
    #[error("{} is corrupt or not a Whisper file; move it aside, or restore it from another copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: HeaderError,
    },
}

impl OpenError {
    /// Whether the file does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Open { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The header of the file at `path`, read without waiting for any lock.
///
/// # Errors
/// [`OpenError`], but never [`OpenError::Lock`].
pub fn info(path: &Path) -> Result<Header, OpenError> {
    let file = open_regular(path, OFlags::RDONLY)?;
    read_header(&file, path)
}

/// A standard Whisper file, open and locked until it is dropped.
#[derive(Debug)]
pub struct WhisperFile {
    file: File,
    path: PathBuf,
    header: Header,
    aggregation_six: AggregationSix,
}

impl WhisperFile {
    /// Opens the file at `path`, waits for its lock for at most `lock_limit`, and checks its header.
    ///
    /// # Errors
    /// [`OpenError`]; the file is unchanged then.
    pub fn open(path: &Path, mode: OpenMode, lock_limit: Duration) -> Result<Self, OpenError> {
        let file = open_locked(path, mode, lock_limit)?;
        let header = read_header(&file, path)?;
        let aggregation_six = AggregationSix::default();
        Ok(Self { file, path: path.to_owned(), header, aggregation_six })
    }

    /// Wraps a file that is open for reading and writing and whose exclusive lock the caller holds. `path` is
    /// used in messages.
    ///
    /// # Errors
    /// [`OpenError`] if its header cannot be read or is damaged.
    pub fn of_locked(file: File, path: &Path) -> Result<Self, OpenError> {
        let header = read_header(&file, path)?;
        let aggregation_six = AggregationSix::default();
        Ok(Self { file, path: path.to_owned(), header, aggregation_six })
    }

    /// Sets what aggregation 6 means in this file. Without this call it means what it means in whisper.py.
    #[must_use]
    pub fn with_aggregation_six(mut self, six: AggregationSix) -> Self {
        self.aggregation_six = six;
        self
    }

    /// A duplicate of the open descriptor. It is not a second open of the file, so leases count it as the
    /// same.
    pub(crate) fn descriptor(&self) -> Result<File, AccessError> {
        let again = self.file.try_clone();
        again.map_err(|source| AccessError::Read { path: self.path.clone(), source })
    }

    /// The path that the file was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn aggregation_six(&self) -> AggregationSix {
        self.aggregation_six
    }

    pub(crate) fn slots(&self) -> FileSlots<'_> {
        FileSlots { file: &self.file, path: &self.path }
    }

    /// The whole content, for [`Image::parse`].
    ///
    /// # Errors
    /// [`AccessError::Read`].
    pub fn read(&self) -> Result<Vec<u8>, AccessError> {
        read_all(&self.file, &self.path)
    }

    /// The newest valid point at `now`, from any archive. Source: [`Image::last_point`].
    ///
    /// # Errors
    /// [`OpenError::Access`] if the file cannot be read.
    pub fn last_point(&self, now: u32) -> Result<Option<Point>, OpenError> {
        let bytes = self.read()?;
        Ok(parse_image(&bytes, &self.path)?.last_point(now))
    }

    /// Whether no archive has a valid point at `now`. Source: [`Image::is_empty`].
    ///
    /// # Errors
    /// The same as for [`Self::last_point`].
    pub fn is_empty(&self, now: u32) -> Result<bool, OpenError> {
        let bytes = self.read()?;
        Ok(parse_image(&bytes, &self.path)?.is_empty(now))
    }

    /// Sets how finer points are rolled up from now on, and returns the previous method. Changes these four
    /// bytes of the header and nothing else: existing roll-ups stay as they are. In a file from before
    /// whisper 0.9.9 the four bytes held a time.
    ///
    /// # Errors
    /// [`AccessError::Write`].
    pub fn set_aggregation(
        &mut self,
        aggregation: Aggregation,
    ) -> Result<Aggregation, AccessError> {
        self.slots().write_at(&aggregation.code().to_be_bytes(), AGGREGATION_AT)?;
        self.header.last_update = None;
        Ok(std::mem::replace(&mut self.header.aggregation, aggregation))
    }

    /// Sets the share of finer points that a coarser one needs from now on, and returns the previous share.
    /// Changes these four bytes of the header and nothing else.
    ///
    /// # Errors
    /// [`AccessError::Write`].
    pub fn set_x_files_factor(
        &mut self,
        factor: XFilesFactor,
    ) -> Result<XFilesFactor, AccessError> {
        self.slots().write_at(&factor.get().to_be_bytes(), X_FILES_FACTOR_AT)?;
        Ok(std::mem::replace(&mut self.header.x_files_factor, factor))
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// [`AccessError::Write`].
    pub fn sync(&self) -> Result<(), AccessError> {
        let path = || self.path.clone();
        self.file.sync_all().map_err(|source| AccessError::Write { path: path(), source })
    }
}

/// Opens and locks the regular file that `path` refers to once the lock is held. A writer may replace the
/// file while we wait for its lock; the file that we opened is then no longer reachable by its path.
pub(crate) fn open_locked(
    path: &Path,
    mode: OpenMode,
    lock_limit: Duration,
) -> Result<File, OpenError> {
    let (flags, lock): (_, fn(&File, Duration) -> _) = match mode {
        OpenMode::Read => (OFlags::RDONLY, lock_shared),
        OpenMode::Update => (OFlags::RDWR, lock_exclusive),
    };
    for _ in 0..REPLACED_MAX {
        let file = open_regular(path, flags)?;
        lock(&file, lock_limit)
            .map_err(|source| OpenError::Lock { path: path.to_owned(), source })?;
        if is_at(&file, path)? {
            return Ok(file);
        }
    }
    Err(OpenError::Replaced { path: path.to_owned() })
}

/// Opens a regular file and nothing else: opening a pipe would wait for a process at its other end.
pub(crate) fn open_regular(path: &Path, flags: OFlags) -> Result<File, OpenError> {
    let open_error = |source| OpenError::Open { path: path.to_owned(), source };
    let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = match past_leases(|| rustix::fs::open(path, flags, Mode::empty())) {
        Ok(file) => File::from(file),
        // The errors that only folders and pipes give when they are opened for writing.
        Err(rustix::io::Errno::ISDIR | rustix::io::Errno::NXIO) => {
            return Err(OpenError::NotRegular { path: path.to_owned() });
        }
        Err(errno) => return Err(open_error(errno.into())),
    };
    if !file.metadata().map_err(open_error)?.is_file() {
        return Err(OpenError::NotRegular { path: path.to_owned() });
    }
    Ok(file)
}

fn is_at(file: &File, path: &Path) -> Result<bool, OpenError> {
    let open_error = |source| OpenError::Open { path: path.to_owned(), source };
    let ours = file.metadata().map_err(open_error)?;
    match path.metadata() {
        Ok(there) => Ok(same_file(&ours, &there)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(open_error(error)),
    }
}

/// Whether both are the same file, even under different names.
pub(crate) fn same_file(left: &Metadata, right: &Metadata) -> bool {
    (left.dev(), left.ino()) == (right.dev(), right.ino())
}

fn read_header(file: &File, path: &Path) -> Result<Header, OpenError> {
    let len_bytes = len_bytes(file, path)?;
    let head_bytes = usize::try_from(len_bytes.min(Header::SIZE_MAX_BYTES)).unwrap_or(0);
    let mut head = vec![0; head_bytes];
    FileSlots { file, path }.read_at(&mut head, 0)?;
    if is_compressed(&head) {
        return Err(OpenError::Compressed { path: path.to_owned() });
    }
    Header::parse(&head, len_bytes)
        .map_err(|source| OpenError::Damaged { path: path.to_owned(), source })
}

/// The image of a file's content, with errors that name the file.
pub(crate) fn parse_image<'a>(bytes: &'a [u8], path: &Path) -> Result<Image<'a>, OpenError> {
    Image::parse(bytes).map_err(|error| match error {
        ImageError::Compressed => OpenError::Compressed { path: path.to_owned() },
        ImageError::Header(source) => OpenError::Damaged { path: path.to_owned(), source },
    })
}

/// The whole content of a file. The memory is requested with a fallible call, since a sparse file may have
/// any size.
pub(crate) fn read_all(file: &File, path: &Path) -> Result<Vec<u8>, AccessError> {
    let too_large = || AccessError::Read {
        path: path.to_owned(),
        source: io::Error::from(io::ErrorKind::OutOfMemory),
    };
    let len_bytes = usize::try_from(len_bytes(file, path)?).map_err(|_| too_large())?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len_bytes).map_err(|_| too_large())?;
    bytes.resize(len_bytes, 0);
    FileSlots { file, path }.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn len_bytes(file: &File, path: &Path) -> Result<u64, AccessError> {
    let metadata = file.metadata();
    metadata
        .map(|metadata| metadata.len())
        .map_err(|source| AccessError::Read { path: path.to_owned(), source })
}
