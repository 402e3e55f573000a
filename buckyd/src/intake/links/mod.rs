//! The links to other daemons: which encoding archives use on each, if `bucky` leaves that to us.
//!
//! Measurements of an archive go to the [`Choice`] of its link. Nothing else is remembered about a peer.

mod choice;
mod idle;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bucky_api::client::ByteStream;
use bucky_api::{DaemonAddr, Encoding};
use futures_util::{StreamExt, stream};

use self::choice::{Choice, Transfer};
use self::idle::Moment;

/// The most links that are remembered. Without tokens any client can have us fetch from any host. Beyond this
/// number all links are forgotten and start again.
const LINKS_MOST: usize = 1024;

/// All known links.
#[derive(Debug, Default)]
pub(crate) struct Links {
    choices: Mutex<BTreeMap<DaemonAddr, Choice>>,
}

/// The measurement of an archive that is arriving.
#[derive(Debug)]
pub(crate) struct Measurement {
    peer: DaemonAddr,
    encoding: Encoding,
    begun: Instant,
    moment: Option<Moment>,
    counts: Arc<TransferCounts>,
}

/// The counts of a measurement.
#[derive(Debug, Default)]
struct TransferCounts {
    bytes: AtomicU64,
    starved_micros: AtomicU64,
}

impl Links {
    /// The encoding that the next archive from `peer` should have.
    pub(crate) fn encoding_from(&self, peer: &DaemonAddr) -> Encoding {
        self.with(peer, |choice| choice.next(Instant::now()))
    }

    /// Takes note of an archive that has arrived: the total length of its files, and how long its sender
    /// worked, if that is known.
    pub(crate) fn record(&self, measurement: &Measurement, bytes: u64, worked: Option<Duration>) {
        let Measurement { peer, encoding, begun, moment, counts } = measurement;
        let now = Instant::now();
        let transfer = Transfer {
            encoding: *encoding,
            bytes,
            wire_bytes: counts.bytes.load(Ordering::Relaxed),
            took: now.duration_since(*begun),
            starved: Duration::from_micros(counts.starved_micros.load(Ordering::Relaxed)),
            worked,
            idle: moment.zip(Moment::now()).and_then(|(then, now)| then.idle_until(now)),
        };
        tracing::debug!(%peer, ?transfer, "received an archive");
        if let Some(finding) = self.with(peer, |choice| choice.record(&transfer, now)) {
            tracing::info!(%peer, "the link to a peer is the bottleneck: {finding}");
        }
    }

    fn with<T>(&self, peer: &DaemonAddr, act: impl FnOnce(&mut Choice) -> T) -> T {
        let mut choices = self.choices.lock().unwrap_or_else(PoisonError::into_inner);
        if choices.len() >= LINKS_MOST && !choices.contains_key(peer) {
            choices.clear();
        }
        act(choices.entry(peer.clone()).or_default())
    }
}

impl Measurement {
    /// Measures `stream`, which `peer` sends in `encoding`, from now on.
    pub(crate) fn measured(
        peer: DaemonAddr,
        encoding: Encoding,
        stream: ByteStream,
    ) -> (Self, ByteStream) {
        let counts = Arc::new(TransferCounts::default());
        let measurement = Self {
            peer,
            encoding,
            begun: Instant::now(),
            moment: Moment::now(),
            counts: Arc::clone(&counts),
        };
        let pieces = stream::unfold((stream, counts), |(mut stream, counts)| async move {
            let begun = Instant::now();
            let piece = stream.next().await?;
            let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            counts.starved_micros.fetch_add(micros, Ordering::Relaxed);
            let bytes = piece.as_ref().map_or(0, |piece| piece.len() as u64);
            counts.bytes.fetch_add(bytes, Ordering::Relaxed);
            Some((piece, (stream, counts)))
        });
        (measurement, Box::pin(pieces))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn peer(number: usize) -> DaemonAddr {
        format!("graphite-{number}:4242").parse().unwrap()
    }

    #[tokio::test]
    async fn arriving_bytes_are_counted_and_so_is_the_time_without_any() {
        let pause = Duration::from_millis(30);
        let pieces = stream::iter([Bytes::from_static(b"abc"), Bytes::from_static(b"defg")]).then(
            move |piece| async move {
                tokio::time::sleep(pause).await;
                Ok(piece)
            },
        );
        let (measurement, measured) =
            Measurement::measured(peer(1), Encoding::Identity, Box::pin(pieces));
        // Time that the caller uses for the pieces does not count as waiting.
        let read: Vec<Bytes> = measured
            .then(|piece| async move {
                tokio::time::sleep(pause * 4).await;
                piece.unwrap()
            })
            .collect()
            .await;
        assert_eq!(read.concat(), b"abcdefg");
        assert_eq!(measurement.counts.bytes.load(Ordering::Relaxed), 7);
        let starved =
            Duration::from_micros(measurement.counts.starved_micros.load(Ordering::Relaxed));
        assert!(starved >= pause * 2, "{starved:?}");
        assert!(starved <= measurement.begun.elapsed() - pause * 8, "{starved:?}");
    }

    #[test]
    fn no_more_links_are_remembered_than_a_cluster_has() {
        let links = Links::default();
        for number in 0..LINKS_MOST * 2 + 5 {
            assert_eq!(links.encoding_from(&peer(number)), Encoding::Identity);
        }
        assert_eq!(links.choices.lock().unwrap().len(), 5);
    }
}
