//! The stream of tombstones that heals an owner again.

use std::io;

use bucky_api::archive::{ArchiveWriter, Content};
use bucky_api::chain;
use bucky_whisper::MetricName;

use crate::blocking::BodyWriter;
use crate::store::{BatchId, FileReader, StoreError, Volumes};

/// How many bytes of files are sent in one stream.
const STREAM_BYTES: usize = 32 * 1024 * 1024;

/// Why a stream was not written completely.
pub(super) enum NotWritten {
    /// A tombstone cannot be read.
    Read(String),
    /// The receiver takes no more.
    Send(String),
}

impl From<io::Error> for NotWritten {
    fn from(error: io::Error) -> Self {
        Self::Send(error.to_string())
    }
}

/// Writes the first of the tombstones to `writer`, as many as fit into one stream, and returns how many those
/// are (at least one). Only one file at a time is in memory, and its share is taken.
///
/// # Errors
/// [`NotWritten`].
pub(super) fn write_stream(
    store: &Volumes,
    batch: &BatchId,
    wanted: Vec<(usize, MetricName)>,
    writer: BodyWriter,
) -> Result<usize, NotWritten> {
    let mut archive = ArchiveWriter::new(writer);
    let mut files = FileReader::new(store);
    let (mut bytes, mut taken) = (0, 0);
    for (seq, metric) in wanted {
        if bytes >= STREAM_BYTES {
            break;
        }
        let read = |error: StoreError| NotWritten::Read(chain(&error));
        let file = match store.read_tombstone(batch, seq, &mut files) {
            Err(StoreError::TooLarge { .. }) => {
                let mut file = store.open_large_tombstone(batch, seq).map_err(read)?;
                let (len_bytes, is_sparse) = (file.len_bytes(), file.is_sparse());
                let content = Content { digest: None, len_bytes, is_sparse };
                archive.add(&metric, file.meta(), content, &mut file)?;
                bytes = bytes.saturating_add(usize::try_from(len_bytes).unwrap_or(usize::MAX));
                taken += 1;
                continue;
            }
            file => file.map_err(read)?,
        };
        bytes += file.content.len();
        taken += 1;
        let len_bytes = file.content.len() as u64;
        let digest = Some(file.digest());
        let content = Content { digest, len_bytes, is_sparse: file.is_sparse };
        archive.append_as(&metric, file.meta, content, &file.content)?;
        files.give_back(file);
    }
    archive.finish()?.finish()?;
    Ok(taken)
}
