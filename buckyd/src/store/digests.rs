//! Reads files to compare them. Each goes through a buffer piece by piece, and only figures are kept.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bucky_whisper::{Header, MetricName, Summarizer, Summary, Window};

use super::error::StoreError;
use super::folder_cache::FolderCache;
use super::{LockBudget, Volumes};

/// How much is read at once. It fits into the processor's cache, and has room for the longest header.
const PIECE_BYTES: usize = 64 * 1024;
const _: () = assert!(PIECE_BYTES as u64 >= Header::SIZE_MAX_BYTES);

/// Reads many files of any length, one after the other, with one buffer.
pub(crate) struct DigestReader<'s> {
    volumes: &'s Volumes,
    locks: LockBudget,
    folders: FolderCache,
    piece: Vec<u8>,
}

impl<'s> DigestReader<'s> {
    /// A reader that has read nothing yet.
    pub(crate) fn new(volumes: &'s Volumes) -> Self {
        let (locks, folders) = (volumes.lock_budget(), FolderCache::default());
        Self { volumes, locks, folders, piece: vec![0; PIECE_BYTES] }
    }

    /// The figures of the file of `metric`, which is read to its end under a shared lock. `between` is called
    /// between two pieces.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn read(
        &mut self,
        metric: &MetricName,
        window: Window,
        between: impl FnMut(),
    ) -> Result<Summary, StoreError> {
        let (path, volume) = (metric.relative_path(), self.volumes.of(metric));
        let (file, _) = self.folders.open_file(&volume.tree, &path)?;
        volume.lock_shared(&file, &path, &self.locks)?;
        let stat =
            rustix::fs::fstat(&file).map_err(|errno| StoreError::io("stat", &path, errno))?;
        let len_bytes = u64::try_from(stat.st_size).unwrap_or(0);
        summarize(&file, &path, len_bytes, window, &mut self.piece, between)
    }
}

/// Reads the first `len_bytes` of a file, or fewer if it is shorter.
fn summarize(
    file: &File,
    path: &Path,
    len_bytes: u64,
    window: Window,
    piece: &mut [u8],
    mut between: impl FnMut(),
) -> Result<Summary, StoreError> {
    let read = |piece: &mut [u8], left: u64| -> Result<usize, StoreError> {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        let filled = fill(file, &mut piece[..most]);
        filled.map_err(|source| StoreError::io("read", path, source))
    };
    let mut arrived = read(piece, len_bytes)?;
    let mut left = len_bytes - arrived as u64;
    let mut summarizer = Summarizer::new(&piece[..arrived], len_bytes, window);
    while arrived > 0 {
        summarizer.add(&piece[..arrived]);
        if left == 0 {
            break;
        }
        between();
        arrived = read(piece, left)?;
        left -= arrived as u64;
    }
    Ok(summarizer.finish())
}

/// Reads until `piece` is full or the file ends.
fn fill(mut file: &File, piece: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match file.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
