//! `POST` and `PUT /metrics/NAME` of a file that is too long to hold in memory. It is written to a new file
//! as it arrives. Once that is complete, it is put in place, or the old file is filled from it, or replaced
//! by it. No other file is changed before.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bucky_api::archive::{FileMeta, LargeMember};
use bucky_api::{Encoding, chain};
use bucky_whisper::{Header, MetricName, is_compressed};
use futures_util::TryStreamExt;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::answer::PlainAnswer;
use super::upload_file::{
    Announced, OnExisting, Timings, conclude, malformed, malformed_because, meta_of, nanoseconds,
    outcome_of,
};
use crate::app::App;
use crate::blocking::blocking;
use crate::http::body::{self, BodyError};
use crate::store::{HealBatch, IncomingFile, Replacement};

/// How much is read at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// A long file that is being received.
pub(super) struct LongUpload {
    pub(super) metric: MetricName,
    /// Its announced length.
    pub(super) len_bytes: u64,
    /// When it was written at its source, in Unix seconds; 0 if that is unknown.
    pub(super) mod_time: i64,
}

/// Why a long file was not stored.
pub(super) enum LongUploadError {
    /// It could not be read.
    Broken(io::Error),
    /// It is shorter or longer than announced.
    OtherLength,
    /// The store refused it.
    Answer(PlainAnswer),
}

impl From<PlainAnswer> for LongUploadError {
    fn from(answer: PlainAnswer) -> Self {
        Self::Answer(answer)
    }
}

pub(super) async fn receive(
    app: Arc<App>,
    how: OnExisting,
    metric: MetricName,
    announced: Announced,
    body: Body,
) -> Result<Response, PlainAnswer> {
    let started = Instant::now();
    let permit = app.transfers.receive_file().await?;
    let stream = body::pieces(body).map_err(io::Error::from);
    let reader = SyncIoBridge::new(StreamReader::new(Box::pin(stream)));
    let Announced { size, mod_time, encoding } = announced;
    let upload = LongUpload { metric, len_bytes: size as u64, mod_time };
    let stored = blocking(move || {
        let _permit = permit;
        let reader = encoding.decoder(reader).map_err(LongUploadError::Broken)?;
        store(&app, how, upload, reader, Timings::default(), started)
    });
    match stored.await? {
        Ok(timings) => Ok(timings.into_response()),
        Err(LongUploadError::Broken(error)) => Err(broken(error, encoding)),
        Err(LongUploadError::OtherLength) => Err(malformed()),
        Err(LongUploadError::Answer(answer)) => Err(answer),
    }
}

/// The answer if the body does not arrive completely.
fn broken(error: io::Error, encoding: Encoding) -> PlainAnswer {
    match error.downcast::<BodyError>() {
        Ok(BodyError::Broken(_)) => PlainAnswer::internal("Error writing whisper data"),
        Ok(error) => error.into(),
        Err(_) if encoding == Encoding::Snappy => PlainAnswer::internal("snappy: corrupt input"),
        Err(error) => PlainAnswer::internal(error),
    }
}

/// Takes the file from `reader`, and stores it durably. `timings` has the parts that were done before
/// `started`.
pub(super) fn store(
    app: &App,
    how: OnExisting,
    upload: LongUpload,
    mut reader: impl Read,
    timings: Timings,
    started: Instant,
) -> Result<Timings, LongUploadError> {
    let head = head(&mut reader, upload.len_bytes)?;
    let time = app.set_mtime.then_some(upload.mod_time).filter(|time| *time > 0);
    let mut incoming = LongDestination::begin(app, how, &upload, time)?;
    let taken = incoming.take(&head, reader, upload.len_bytes);
    if let Err(untaken) = taken {
        incoming.discard(&upload.metric);
        return Err(untaken);
    }
    let timings = Timings { dump: nanoseconds(started.elapsed()), ..timings };
    let began = Instant::now();
    let created = incoming.finish(app, upload.metric, time)?;
    Ok(conclude(timings, began, created))
}

/// The first bytes of the file, with its header. They are checked before any file is changed.
fn head(reader: &mut impl Read, len_bytes: u64) -> Result<Vec<u8>, LongUploadError> {
    let bytes = len_bytes.min(Header::SIZE_MAX_BYTES);
    let mut head = Vec::new();
    reader.take(bytes).read_to_end(&mut head).map_err(LongUploadError::Broken)?;
    if (head.len() as u64) < bytes {
        return Err(LongUploadError::OtherLength);
    }
    match Header::parse(&head, len_bytes) {
        Err(error) if !is_compressed(&head) => Err(malformed_because(chain(&error)).into()),
        _ => Ok(head),
    }
}

/// A long file that will fill the metric's file, or become it.
struct Healing<'a> {
    batch: HealBatch<'a>,
    incoming: IncomingFile,
    /// The time of the existing file.
    before: Option<i64>,
}

/// Where a long file is stored.
enum LongDestination<'a> {
    Heal(Box<Healing<'a>>),
    Replace { replacement: Replacement<'a>, meta: FileMeta },
}

impl<'a> LongDestination<'a> {
    fn begin(
        app: &'a App,
        how: OnExisting,
        upload: &LongUpload,
        time: Option<i64>,
    ) -> Result<Self, PlainAnswer> {
        let meta = meta_of(app, time);
        let metric = &upload.metric;
        match how {
            OnExisting::Replace => {
                let replacement = app.store.begin_replace(metric)?;
                Ok(Self::Replace { replacement, meta })
            }
            OnExisting::Heal => {
                let before = app.store.stat(metric).ok().map(|stat| stat.mtime);
                let mut batch = HealBatch::new(&app.store);
                let member = LargeMember {
                    metric: metric.clone(),
                    meta,
                    len_bytes: upload.len_bytes,
                    is_sparse: false,
                    announced: None,
                };
                let incoming = batch.begin_large(&member, metric);
                Ok(Self::Heal(Box::new(Healing { batch, incoming, before })))
            }
        }
    }

    /// Takes the complete file: `head`, and the rest from `reader`, which must end there.
    fn take(
        &mut self,
        head: &[u8],
        mut reader: impl Read,
        len_bytes: u64,
    ) -> Result<(), LongUploadError> {
        self.write(head)?;
        let mut left = len_bytes - head.len() as u64;
        let mut piece = vec![0; PIECE_BYTES];
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let Some(piece) = piece.get_mut(..wanted) else { break };
            reader.read_exact(piece).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => LongUploadError::OtherLength,
                _ => LongUploadError::Broken(error),
            })?;
            self.write(piece)?;
            left -= wanted as u64;
        }
        // One byte more shows that it is too long.
        let mut behind = Vec::new();
        reader.take(1).read_to_end(&mut behind).map_err(LongUploadError::Broken)?;
        if behind.is_empty() { Ok(()) } else { Err(LongUploadError::OtherLength) }
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), PlainAnswer> {
        match self {
            // An error is reported at the end.
            Self::Heal(healing) => healing.incoming.write(piece),
            Self::Replace { replacement, .. } => replacement.write(piece)?,
        }
        Ok(())
    }

    fn discard(self, metric: &MetricName) {
        if let Self::Heal(healing) = self {
            let Healing { batch, incoming, .. } = *healing;
            batch.discard_large(incoming, metric);
        }
    }

    /// Stores the file. Returns whether it is a new one.
    fn finish(self, app: &App, metric: MetricName, time: Option<i64>) -> Result<bool, PlainAnswer> {
        match self {
            Self::Heal(healing) => {
                let Healing { mut batch, incoming, before } = *healing;
                batch.end_large_without_digest(incoming, metric.clone());
                let (lines, _) = batch.finish();
                outcome_of(app, &metric, lines, time.zip(before))
            }
            Self::Replace { replacement, meta } => {
                replacement.finish(meta)?;
                Ok(true)
            }
        }
    }
}
