//! An open Whisper file: the one door through which local files are opened, locked and looked into.
//!
//! A file is locked as long as it is open: shared to read it, exclusively to change it. The locks are those that
//! whisper.py and go-carbon take, so a writer that locks is never met halfway. Nothing here reads the clock.

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
use crate::slots::{AccessError, Slots};

/// How often a path may come to mean another file while its lock is waited for.
const REPLACED_MAX: u32 = 10;

/// What a file is opened for.
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
    /// The system refused, or there is no such file.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a folder, a pipe or the like.
    #[error("{} is not a regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// Its lock was not to be had.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: LockError,
    },
    /// Whenever its lock was taken, the path had come to mean another file.
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
    /// Its header is damaged, or it is another kind of file.
    #[error("{} is corrupt or not a Whisper file; move it aside, or restore it from another copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: HeaderError,
    },
}

impl OpenError {
    /// Whether there simply is no such file.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Open { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The header of the file at `path`, read without waiting for any lock.
///
/// # Errors
/// [`OpenError`], never for a lock.
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
    /// [`OpenError`]; nothing has been changed then.
    pub fn open(path: &Path, mode: OpenMode, lock_limit: Duration) -> Result<Self, OpenError> {
        let file = open_locked(path, mode, lock_limit)?;
        let header = read_header(&file, path)?;
        let aggregation_six = AggregationSix::default();
        Ok(Self { file, path: path.to_owned(), header, aggregation_six })
    }

    /// A file that is open for reading and writing, and whose exclusive lock the caller holds. `path` is for messages.
    ///
    /// # Errors
    /// [`OpenError`] where its header cannot be read, or is damaged.
    pub fn of_locked(file: File, path: &Path) -> Result<Self, OpenError> {
        let header = read_header(&file, path)?;
        let aggregation_six = AggregationSix::default();
        Ok(Self { file, path: path.to_owned(), header, aggregation_six })
    }

    /// The same file, whose aggregation 6 means `six`. Without this it means what it means to whisper.py.
    #[must_use]
    pub fn with_aggregation_six(mut self, six: AggregationSix) -> Self {
        self.aggregation_six = six;
        self
    }

    /// The open file itself, once more: no second opening, so that it counts as the same for leases.
    pub(crate) fn descriptor(&self) -> Result<File, AccessError> {
        let again = self.file.try_clone();
        again.map_err(|source| AccessError::Read { path: self.path.clone(), source })
    }

    /// The path it was opened by.
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

    pub(crate) fn slots(&self) -> Slots<'_> {
        Slots { file: &self.file, path: &self.path }
    }

    /// The whole content, from which [`Image::parse`] makes an image.
    ///
    /// # Errors
    /// [`AccessError::Read`].
    pub fn read(&self) -> Result<Vec<u8>, AccessError> {
        read_all(&self.file, &self.path)
    }

    /// The newest valid point at `now`, in whichever archive. Source: [`Image::last_point`].
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
    /// As [`Self::last_point`].
    pub fn is_empty(&self, now: u32) -> Result<bool, OpenError> {
        let bytes = self.read()?;
        Ok(parse_image(&bytes, &self.path)?.is_empty(now))
    }

    /// Sets how finer points become coarser ones from now on, and returns how they did. Changes these four bytes
    /// of the header and nothing else: what has been rolled up stays as it is. In a file from before whisper 0.9.9 they
    /// held a time.
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

    /// Sets how many finer points a coarser one needs from now on, and returns how many it did. Changes these
    /// four bytes of the header and nothing else.
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

/// Opens and locks the regular file that `path` means once the lock is held: a writer may replace a file while its
/// lock is waited for, and what would be read or written then is a file that nobody finds any more.
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

/// Opens a regular file, and nothing else: a pipe would keep us waiting for somebody at its other end.
pub(crate) fn open_regular(path: &Path, flags: OFlags) -> Result<File, OpenError> {
    let open_error = |source| OpenError::Open { path: path.to_owned(), source };
    let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = match past_leases(|| rustix::fs::open(path, flags, Mode::empty())) {
        Ok(file) => File::from(file),
        // What only folders and pipes answer to an attempt to write.
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

/// Whether both are the same file, under whatever names.
pub(crate) fn same_file(left: &Metadata, right: &Metadata) -> bool {
    (left.dev(), left.ino()) == (right.dev(), right.ino())
}

fn read_header(file: &File, path: &Path) -> Result<Header, OpenError> {
    let len_bytes = len_bytes(file, path)?;
    let head_bytes = usize::try_from(len_bytes.min(Header::SIZE_MAX_BYTES)).unwrap_or(0);
    let mut head = vec![0; head_bytes];
    Slots { file, path }.read_at(&mut head, 0)?;
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

/// The whole content of a file. Memory is asked for, not assumed: a sparse file may claim any size.
pub(crate) fn read_all(file: &File, path: &Path) -> Result<Vec<u8>, AccessError> {
    let too_large = || AccessError::Read {
        path: path.to_owned(),
        source: io::Error::from(io::ErrorKind::OutOfMemory),
    };
    let len_bytes = usize::try_from(len_bytes(file, path)?).map_err(|_| too_large())?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len_bytes).map_err(|_| too_large())?;
    bytes.resize(len_bytes, 0);
    Slots { file, path }.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn len_bytes(file: &File, path: &Path) -> Result<u64, AccessError> {
    let metadata = file.metadata();
    metadata
        .map(|metadata| metadata.len())
        .map_err(|source| AccessError::Read { path: path.to_owned(), source })
}
