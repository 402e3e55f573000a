//! The archive stream of the files of a batch, produced while it is sent.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bucky_api::archive::{ArchiveWriter, Content, FileMeta};
use bucky_whisper::{Digest, MetricName};
use bytes::Bytes;
use futures_util::{Stream, stream};

/// A file that is sent.
pub(super) struct BatchFile {
    pub(super) metric: MetricName,
    pub(super) meta: FileMeta,
    pub(super) digest: Digest,
    pub(super) is_sparse: bool,
    pub(super) content: Bytes,
}

/// The archive stream of `files`, produced while it is sent: at most one of the files is held twice.
pub(super) fn batch_body(
    files: Vec<BatchFile>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let pieces = BodyBuffer::default();
    let writer = ArchiveWriter::new(pieces.clone());
    stream::try_unfold(Some((writer, files.into_iter())), move |state| {
        let pieces = pieces.clone();
        async move {
            let Some((mut writer, mut files)) = state else { return Ok(None) };
            match files.next() {
                Some(file) => {
                    let BatchFile { metric, meta, digest, is_sparse, content } = file;
                    let len_bytes = content.len() as u64;
                    let of = Content { digest: Some(digest), len_bytes, is_sparse };
                    writer.append_as(&metric, meta, of, &content)?;
                    Ok(Some((pieces.take(), Some((writer, files)))))
                }
                None => {
                    writer.finish()?;
                    Ok(Some((pieces.take(), None)))
                }
            }
        }
    })
}

/// Bytes that were written and not yet taken.
#[derive(Clone, Default)]
struct BodyBuffer(Arc<Mutex<Vec<u8>>>);

impl BodyBuffer {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for BodyBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
