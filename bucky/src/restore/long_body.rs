//! The archive stream of one file that is too long for memory, produced while it is sent. A thread reads the
//! temporary file, a few pieces ahead.

use std::io::{self, Write};

use bucky_api::archive::{ArchiveWriter, Content, FileMeta};
use bucky_whisper::MetricName;
use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::mpsc;

use crate::spool::Spool;

/// How many pieces are read ahead.
const PIECES_AHEAD: usize = 4;
/// The length of a piece.
const PIECE_BYTES: usize = 256 * 1024;

/// The stream of `spool`, which is the file of `metric`. If it `is_sparse`, its owner gets a sparse file.
/// When the stream is dropped, nothing more is read.
pub(super) fn long_body(
    metric: MetricName,
    meta: FileMeta,
    is_sparse: bool,
    spool: Spool,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || {
        let of = Content { digest: Some(spool.digest()), len_bytes: spool.len_bytes(), is_sparse };
        if let Err(error) = write(&metric, meta, of, &spool, BodySender(sender.clone())) {
            // If the receiver is gone, nothing needs the error.
            let _ = sender.blocking_send(Err(error));
        }
    });
    stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    })
}

/// Writes the stream piece by piece.
fn write(
    metric: &MetricName,
    meta: FileMeta,
    of: Content,
    spool: &Spool,
    pieces: BodySender,
) -> io::Result<()> {
    let buffered = io::BufWriter::with_capacity(PIECE_BYTES, pieces);
    let mut writer = ArchiveWriter::new(buffered);
    writer.add(metric, meta, of, spool.reader())?;
    writer.finish()?.flush()
}

/// Sends what is written.
struct BodySender(mpsc::Sender<io::Result<Bytes>>);

impl Write for BodySender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucky_api::archive::{Limits, read_archive};
    use futures_util::TryStreamExt;

    #[tokio::test]
    async fn a_long_body_is_a_complete_stream_with_the_file_in_it() {
        let content: Vec<u8> = (0..900_000_u32).map(|number| number.to_be_bytes()[2]).collect();
        let spool = crate::spool::Content::Held(content.clone()).into_spool().unwrap();
        let meta = FileMeta { mode: 0o640, mtime: 7 };
        let pieces: Vec<Bytes> =
            long_body("a.b".parse().unwrap(), meta, true, spool).try_collect().await.unwrap();
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE_BYTES));
        let mut members = Vec::new();
        let whole = pieces.concat();
        read_archive(whole.as_slice(), Limits::default(), |member| members.push(member)).unwrap();
        let [member] = members.as_slice() else { panic!() };
        assert!(member.is_intact() && member.announced.is_some() && member.meta == meta);
        assert!(member.content == content && member.metric.as_str() == "a.b" && member.is_sparse);
    }
}
