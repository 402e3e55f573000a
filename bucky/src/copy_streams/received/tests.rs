use bucky_api::archive::{ArchiveWriter, Content as Member, FileMeta};
use bucky_api::client::BodyError;

use super::*;

const META: FileMeta = FileMeta { mode: 0o644, mtime: 7 };

/// The result of an archive stream that was asked for without a limit on lengths.
async fn read(stream: Vec<u8>) -> Vec<Result<StreamPiece, ReadError>> {
    let addr: DaemonAddr = "a:1".parse().unwrap();
    let pieces = stream.chunks(1 << 20).map(bytes::Bytes::copy_from_slice);
    let pieces: Vec<Result<bytes::Bytes, BodyError>> = pieces.map(Ok).collect();
    let stream: ByteStream = Box::pin(futures_util::stream::iter(pieces));
    let (sender, mut receiver) = mpsc::channel(8);
    tokio::task::spawn_blocking(move || {
        let end = read_stream(&addr, (Encoding::Identity, Length::Any), stream, &sender);
        let _ = sender.blocking_send(end);
    });
    let mut all = Vec::new();
    while let Some(piece) = receiver.recv().await {
        all.push(piece);
    }
    all
}

/// A stream with a file whose digest comes at its end; `change` may flip a bit on the way.
fn sent(len_bytes: usize, change: impl FnOnce(&mut Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
    let mut content = vec![0; len_bytes];
    content[len_bytes / 2] = 7;
    let mut writer = ArchiveWriter::new(Vec::new());
    let of = Member { digest: None, len_bytes: len_bytes as u64, is_sparse: false };
    writer.add(&"a".parse().unwrap(), META, of, content.as_slice()).unwrap();
    let mut stream = writer.finish().unwrap();
    change(&mut stream);
    (content, stream)
}

#[tokio::test]
async fn a_long_copy_comes_into_a_temporary_file_and_a_shorter_one_into_memory() {
    let long = usize::try_from(HELD_FILE_BYTES).unwrap() + 1;
    for (len_bytes, is_held) in [(long, false), (1 << 20, true)] {
        let (content, stream) = sent(len_bytes, |_| ());
        let pieces: [_; 2] = read(stream).await.try_into().map_err(|_| "other pieces").unwrap();
        let [Ok(StreamPiece::Copy { metric, copy }), Ok(StreamPiece::End(left_out))] = pieces
        else {
            panic!()
        };
        assert!(metric.as_str() == "a" && copy.meta == META && left_out.is_empty());
        assert_eq!(matches!(copy.content, Content::Held(_)), is_held);
        assert!(copy.content.into_spool().unwrap().content().unwrap() == content);
    }
}

#[tokio::test]
async fn a_copy_that_was_damaged_on_the_way_is_noticed_at_the_end() {
    let long = usize::try_from(HELD_FILE_BYTES).unwrap() + 1;
    for len_bytes in [long, 1 << 20] {
        let (_, stream) = sent(len_bytes, |stream| stream[len_bytes / 3] ^= 1);
        let pieces = read(stream).await;
        assert!(
            matches!(pieces.last(), Some(Err(ReadError::Damaged { metric, .. })) if metric.as_str() == "a")
        );
        // Without its end it is not accepted either.
        let (_, stream) = sent(len_bytes, |stream| stream.truncate(stream.len() - 3000));
        let pieces = read(stream).await;
        assert!(matches!(pieces.last(), Some(Err(ReadError::Archive { .. }))));
    }
}
