//! Reads one node's archive stream. Copies are handed on as they come; those that are too long for memory, in
//! temporary files.

use std::io;

use bucky_api::archive::{
    LargeMember, Limits, Member as Sent, NoRoom, ReadArchiveError, Receiver, receive_archive,
};
use bucky_api::client::ByteStream;
use bucky_api::{ArchiveReport, DaemonAddr, Encoding};
use bucky_whisper::{Digest, MetricName};
use futures_util::TryStreamExt;
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{Length, NodeCopy, ReadError, StreamPiece};
use crate::spool::{Content, HELD_FILE_BYTES, SpoolWriter};

/// Sends the copies of an archive stream; returns its end.
pub(super) fn read_stream(
    addr: &DaemonAddr,
    (encoding, length): (Encoding, Length),
    stream: ByteStream,
    sender: &mpsc::Sender<Result<StreamPiece, ReadError>>,
) -> Result<StreamPiece, ReadError> {
    let reader = SyncIoBridge::new(StreamReader::new(stream.map_err(io::Error::other)));
    let failed = |source| ReadError::Archive { addr: addr.clone(), source };
    let reader = encoding
        .decoder(reader)
        .map_err(|source| failed(ReadArchiveError::Read { members: 0, source }))?;
    let limits = match length {
        Length::Held => Limits::default(),
        Length::Any => Limits { member_bytes: HELD_FILE_BYTES, ..Limits::default() },
    };
    let mut copy_sender =
        CopySender { addr, sender, length, spooling: None, unconfirmed: None, failure: None };
    let report = receive_archive(reader, limits, &mut copy_sender);
    if let Some(failure) = copy_sender.failure {
        return Err(failure);
    }
    let report = report.map_err(failed)?;
    match copy_sender.unconfirmed {
        Some((metric, digest)) if !confirms(&report, &metric, digest) => {
            Err(ReadError::Damaged { addr: addr.clone(), metric })
        }
        _ => Ok(StreamPiece::End(report.left_out)),
    }
}

/// Whether the report at the end of the stream confirms a content with this digest.
fn confirms(report: &ArchiveReport, metric: &MetricName, digest: Digest) -> bool {
    report.digests.iter().any(|recorded| recorded.metric == *metric && recorded.digest == digest)
}

/// Sends copies as they come.
struct CopySender<'s> {
    addr: &'s DaemonAddr,
    sender: &'s mpsc::Sender<Result<StreamPiece, ReadError>>,
    length: Length,
    /// The long file that is arriving.
    spooling: Option<(LargeMember, SpoolWriter)>,
    /// A file has arrived with this digest, which the end of the stream must confirm.
    unconfirmed: Option<(MetricName, Digest)>,
    /// A failure on this side, not of the stream.
    failure: Option<ReadError>,
}

impl Receiver for &mut CopySender<'_> {
    fn reserve(&mut self, _bytes: u64) -> Result<(), NoRoom> {
        self.is_wanted(!self.sender.is_closed())
    }

    fn take(&mut self, member: Sent) -> Result<(), NoRoom> {
        if !member.is_intact() {
            let (addr, metric) = (self.addr.clone(), member.metric);
            return self.send(Err(ReadError::Damaged { addr, metric }));
        }
        if self.length == Length::Any && member.announced.is_none() {
            self.unconfirmed = Some((member.metric.clone(), member.digest));
        }
        let Sent { metric, meta, content, .. } = member;
        let content = Content::Held(content);
        self.send(Ok(StreamPiece::Copy { metric, copy: NodeCopy { meta, content } }))
    }

    fn begin_large(&mut self, member: &LargeMember) -> bool {
        if self.length == Length::Held {
            return false;
        }
        match SpoolWriter::begin() {
            Ok(writer) => self.spooling = Some((member.clone(), writer)),
            Err(error) => {
                let _ = self.fail(member.metric.clone(), error);
            }
        }
        self.failure.is_none()
    }

    fn take_large_piece(&mut self, piece: &[u8]) -> Result<(), NoRoom> {
        self.is_wanted(!self.sender.is_closed())?;
        let Some((member, writer)) = &mut self.spooling else { return Ok(()) };
        let metric = member.metric.clone();
        writer.write(piece).map_err(|error| self.fail(metric, error))
    }

    fn end_large(&mut self) -> Result<(), NoRoom> {
        let Some((member, writer)) = self.spooling.take() else { return Ok(()) };
        let LargeMember { metric, meta, announced, .. } = member;
        let spool = writer.finish().map_err(|error| self.fail(metric.clone(), error))?;
        match announced {
            Some(announced) if announced != spool.digest() => {
                return self.send(Err(ReadError::Damaged { addr: self.addr.clone(), metric }));
            }
            Some(_) => {}
            None => self.unconfirmed = Some((metric.clone(), spool.digest())),
        }
        let content = Content::Spooled(spool);
        self.send(Ok(StreamPiece::Copy { metric, copy: NodeCopy { meta, content } }))
    }
}

impl CopySender<'_> {
    fn send(&self, piece: Result<StreamPiece, ReadError>) -> Result<(), NoRoom> {
        self.is_wanted(self.sender.blocking_send(piece).is_ok())
    }

    /// Notes why a copy cannot be stored; the reading ends.
    fn fail(&mut self, metric: MetricName, source: io::Error) -> NoRoom {
        let ended = NoRoom(source.to_string());
        self.failure = Some(ReadError::Spool { addr: self.addr.clone(), metric, source });
        ended
    }

    /// If the receiver is gone, the rest is not read.
    fn is_wanted(&self, is_wanted: bool) -> Result<(), NoRoom> {
        if is_wanted { Ok(()) } else { Err(NoRoom("nobody reads it any more".into())) }
    }
}

#[cfg(test)]
mod tests;
