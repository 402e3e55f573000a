//! Creating Whisper files, as strictly as whisper.py does and with the same bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::aggregation::Aggregation;
use crate::header::Header;
use crate::new_file::{NewFile, Placed};
use crate::retention::{Retention, RetentionError, XFilesFactor};

/// How many zeros are written at once.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// How a new file's points, which are all zero, take up space on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileLayout {
    /// All zeros are written.
    #[default]
    Dense,
    /// Space is taken only when points are written (carbon's WHISPER_SPARSE_CREATE). The disk may then run
    /// full in the middle of a file.
    Sparse,
    /// Space is reserved without being written (carbon's WHISPER_FALLOCATE_CREATE). If the file system cannot
    /// reserve space, the file is written as [`FileLayout::Dense`].
    Fallocate,
}

/// What a new file keeps, and how.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Its archives, in any order; the file stores the finest first.
    pub retentions: Vec<Retention>,
    /// The share of finer points that a coarser point needs.
    pub x_files_factor: XFilesFactor,
    /// How finer points become a coarser one.
    pub aggregation: Aggregation,
    /// How its points take up space on the disk.
    pub layout: FileLayout,
}

/// Why a file was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The retentions cannot be the archives of one file.
    #[error("cannot create {} with these retentions", path.display())]
    Retentions {
        /// The file.
        path: PathBuf,
        /// The rule that was violated.
        source: RetentionError,
    },
    /// A file exists already.
    #[error("{} already exists", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Writing failed; nothing is left behind.
    #[error("cannot create {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Creates the file at `path`, without any points, with the mode that the umask leaves.
///
/// The file appears complete or not at all, even through a crash. After a crash right after this call, it
/// depends on the file system whether the file is there: its folder is not synced, because the file has no
/// points yet.
///
/// # Errors
/// [`CreateError`]. An existing file of any kind is never touched.
pub fn create(path: &Path, options: &CreateOptions) -> Result<(), CreateError> {
    let header =
        Header::for_retentions(&options.retentions, options.aggregation, options.x_files_factor)
            .map_err(|source| CreateError::Retentions { path: path.to_owned(), source })?;
    if path.symlink_metadata().is_ok() {
        return Err(CreateError::Exists { path: path.to_owned() });
    }
    match write_new(path, &header, options.layout) {
        Ok(Placed::New) => Ok(()),
        Ok(Placed::AlreadyThere) => Err(CreateError::Exists { path: path.to_owned() }),
        Err(source) => Err(CreateError::Write { path: path.to_owned(), source }),
    }
}

fn write_new(path: &Path, header: &Header, layout: FileLayout) -> io::Result<Placed> {
    let new = NewFile::beside(path)?;
    new.file().write_all_at(&header.encode(), 0)?;
    let (start, end) = (header.size_bytes(), header.file_size_bytes());
    match layout {
        FileLayout::Dense => write_zeros(new.file(), start, end)?,
        FileLayout::Sparse => new.file().set_len(end)?,
        FileLayout::Fallocate => reserve(new.file(), start, end)?,
    }
    new.place(path)
}

fn write_zeros(file: &File, start: u64, end: u64) -> io::Result<()> {
    let mut offset = start;
    while offset < end {
        let len_bytes = usize::try_from(end - offset).unwrap_or(usize::MAX).min(ZEROS.len());
        let (zeros, _) = ZEROS.split_at(len_bytes);
        file.write_all_at(zeros, offset)?;
        offset += len_bytes as u64;
    }
    Ok(())
}

fn reserve(file: &File, start: u64, end: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), start, end - start) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, start, end),
        reserved => Ok(reserved?),
    }
}
