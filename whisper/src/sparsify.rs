//! Frees the disk space of a file's zeros, while carbon may write to the file.
//!
//! It punches holes into the existing file. So the owner, mode, links and times stay, no process is left with
//! an open file that is no longer read, and a crash leaves nothing to clean up. A writer that comes between
//! the check of a block and the punch would lose its point, so writers are kept out for that moment: by a
//! [`Lease`], or by the file's lock if the kernel grants no lease and all writers lock.

use std::fs::{File, FileTimes, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::file::{OpenError, open_regular};
use crate::lease::{Lease, LeaseError};
use crate::lock::{LockError, lock_exclusive, unlock};
use crate::sparse::BLOCK_BYTES;

/// How many bytes are checked while writers are kept out: some milliseconds of work.
const WINDOW_BYTES: u64 = 4 * 1024 * 1024;

/// About how many extents of a file fit at least into one block of ext4's extent list: 340 fill a block, and
/// full blocks are split when extents are inserted.
const PIECES_A_BLOCK: u64 = 100;

/// How writers are kept out while a part of a file is checked and punched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepOut {
    /// By a lease, which keeps out all writers.
    Lease,
    /// By the file's exclusive lock, which keeps out writers that take it (carbon's WHISPER_LOCK_WRITES,
    /// go-carbon's `flock`). A point of a writer that does not may be lost.
    Lock,
}

/// Why no zeros, or not all, were freed. The file reads as before in any case.
#[derive(Debug, thiserror::Error)]
pub enum SparsifyError {
    /// The file cannot be opened, or is not a regular file.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Another process has it open, or the kernel grants no lease.
    #[error("cannot get a lease on {}", path.display())]
    Lease {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: LeaseError,
    },
    /// Its lock could not be taken.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: LockError,
    },
    /// Reading took so long that the kernel might have let others in.
    #[error("reading {} takes too long to keep writers out; try again", path.display())]
    Slow {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot make {} sparse", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// How much disk space the zeros of the file at `path` use, in bytes: whole blocks of 4 KiB, reserved or
/// written. If no zeros were written, one block plus one for each hundred others count as the file system's
/// own.
///
/// # Errors
/// [`SparsifyError::Open`] and [`SparsifyError::Io`].
pub fn zero_bytes(path: &Path) -> Result<u64, SparsifyError> {
    let file = open_regular(path, OFlags::RDONLY)?;
    zero_bytes_of(&file).map_err(|source| SparsifyError::Io { path: path.to_owned(), source })
}

/// Frees all blocks of 4 KiB that are zero, and returns how many bytes that were. The file's content, mode,
/// owner and modification time stay the same. A file without such blocks is not touched.
///
/// Waits at most `limit` each time that writers must be kept out.
///
/// # Errors
/// [`SparsifyError`].
pub fn sparsify(path: &Path, how: KeepOut, limit: Duration) -> Result<u64, SparsifyError> {
    let io_error = |source| SparsifyError::Io { path: path.to_owned(), source };
    let file = open_regular(path, OFlags::RDWR)?;
    if zero_bytes_of(&file).map_err(io_error)? == 0 {
        return Ok(0);
    }
    let before = file.metadata().map_err(io_error)?;
    let mut start = 0;
    while start < before.len() {
        let window = start..before.len().min(start + WINDOW_BYTES);
        start = window.end;
        match how {
            KeepOut::Lease => {
                let lease = Lease::take(&file, limit)
                    .map_err(|source| SparsifyError::Lease { path: path.to_owned(), source })?;
                let holds = || lease.is_reliable();
                if !punch_zeros(&file, window, holds).map_err(io_error)? {
                    return Err(SparsifyError::Slow { path: path.to_owned() });
                }
            }
            KeepOut::Lock => {
                let locked = |source| SparsifyError::Lock { path: path.to_owned(), source };
                lock_exclusive(&file, limit).map_err(locked)?;
                punch_zeros(&file, window, || true).map_err(io_error)?;
                unlock(&file).map_err(locked)?;
            }
        }
    }
    let after = file.metadata().map_err(io_error)?;
    Ok(space_bytes(&before).saturating_sub(space_bytes(&after)))
}

/// Punches the zeros of `window` while writers are kept out. Returns false if they no longer are.
fn punch_zeros(
    file: &File,
    window: Range<u64>,
    writers_are_kept_out: impl Fn() -> bool,
) -> io::Result<bool> {
    let modified = file.metadata()?.modified()?;
    let bytes = read(file, &window)?;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let mut is_punched = false;
    for run in zero_runs(&bytes) {
        if !writers_are_kept_out() {
            return Ok(false);
        }
        rustix::fs::fallocate(file, flags, window.start + run.start, run.end - run.start)?;
        is_punched = true;
    }
    if is_punched {
        file.set_times(FileTimes::new().set_modified(modified))?;
    }
    Ok(true)
}

/// The runs of whole blocks in `bytes` that are zero. The last block counts as whole even if the file ends in
/// it.
fn zero_runs(bytes: &[u8]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    let mut start = 0;
    for block in bytes.chunks(BLOCK_BYTES) {
        let end = start + BLOCK_BYTES as u64;
        if is_zero(block) {
            match runs.last_mut() {
                Some(run) if run.end == start => run.end = end,
                _ => runs.push(start..end),
            }
        }
        start = end;
    }
    runs
}

fn zero_bytes_of(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    let (mut used, mut has_written_zeros) = (0, false);
    let mut start = 0;
    while start < metadata.len() {
        let window = start..metadata.len().min(start + WINDOW_BYTES);
        start = window.end;
        // Read before asking what was written: ext4 reports reserved blocks as data once they were read.
        let bytes = read(file, &window)?;
        used += bytes.chunks(BLOCK_BYTES).filter(|block| !is_zero(block)).count() as u64;
        for run in zero_runs(&bytes) {
            let range = window.start + run.start..window.start + run.end;
            has_written_zeros = has_written_zeros || has_data(file, range)?;
        }
    }
    let block = BLOCK_BYTES as u64;
    let gain = space_bytes(&metadata).saturating_sub(used * block);
    // A file with many extents needs extra blocks for its extent list, which cannot be freed.
    let of_list = block * (1 + used / PIECES_A_BLOCK);
    Ok(if has_written_zeros || gain > of_list { gain } else { 0 })
}

/// Whether a part of the range was written and is not a hole. A file system that cannot report holes reports
/// all as data.
fn has_data(file: &File, range: Range<u64>) -> io::Result<bool> {
    match rustix::fs::seek(file, SeekFrom::Data(range.start)) {
        Ok(data) => Ok(data < range.end),
        // No data from there on.
        Err(Errno::NXIO) => Ok(false),
        Err(Errno::INVAL) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads the window; the result is shorter if the file was truncated.
fn read(file: &File, window: &Range<u64>) -> io::Result<Vec<u8>> {
    let len_bytes = usize::try_from(window.end - window.start).unwrap_or(0);
    let mut bytes = vec![0; len_bytes];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, window.start + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// The space that a file uses on its disk.
fn space_bytes(metadata: &Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_of_zeros_are_whole_blocks() {
        let mut bytes = vec![0; 6 * BLOCK_BYTES + 100];
        assert_eq!(zero_runs(&bytes).as_slice(), std::slice::from_ref(&(0..7 * 4096)));
        bytes[BLOCK_BYTES] = 1;
        bytes[4 * BLOCK_BYTES - 1] = 1;
        assert_eq!(zero_runs(&bytes), [0..4096, 8192..12_288, 16_384..28_672]);
        bytes[6 * BLOCK_BYTES + 99] = 1;
        assert_eq!(zero_runs(&bytes).last(), Some(&(16_384..24_576)));
        assert!(zero_runs(&[]).is_empty());
    }
}
