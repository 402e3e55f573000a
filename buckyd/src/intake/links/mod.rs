//! The links to other daemons: how archives come over each, where `bucky` leaves that to us.
//!
//! What is measured of an archive goes to its link's [`Choice`], which is all that is remembered of a peer.

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

/// The most links that are remembered. Without tokens anybody may have us fetch from anywhere; where there would be more,
/// all begin anew.
const LINKS_MOST: usize = 1024;

/// All links of which something is known.
#[derive(Debug, Default)]
pub(crate) struct Links {
    choices: Mutex<BTreeMap<DaemonAddr, Choice>>,
}

/// An archive that is coming, and is measured.
#[derive(Debug)]
pub(crate) struct Coming {
    peer: DaemonAddr,
    encoding: Encoding,
    begun: Instant,
    moment: Option<Moment>,
    counted: Arc<Counted>,
}

/// What is counted while it comes.
#[derive(Debug, Default)]
struct Counted {
    bytes: AtomicU64,
    starved_micros: AtomicU64,
}

impl Links {
    /// How the next archive from `peer` should come.
    pub(crate) fn encoding_from(&self, peer: &DaemonAddr) -> Encoding {
        self.with(peer, |choice| choice.next(Instant::now()))
    }

    /// Takes in that an archive came whole: how long its files are, and for how long its sender worked at it, where that tells.
    pub(crate) fn came(&self, coming: &Coming, bytes: u64, worked: Option<Duration>) {
        let Coming { peer, encoding, begun, moment, counted } = coming;
        let now = Instant::now();
        let transfer = Transfer {
            encoding: *encoding,
            bytes,
            wire_bytes: counted.bytes.load(Ordering::Relaxed),
            took: now.duration_since(*begun),
            starved: Duration::from_micros(counted.starved_micros.load(Ordering::Relaxed)),
            worked,
            idle: moment.zip(Moment::now()).and_then(|(then, now)| then.idle_until(now)),
        };
        tracing::debug!(%peer, ?transfer, "received an archive");
        if let Some(finding) = self.with(peer, |choice| choice.came(&transfer, now)) {
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

impl Coming {
    /// Measures `stream`, which `peer` sends in `encoding`, from now on.
    pub(crate) fn measured(
        peer: DaemonAddr,
        encoding: Encoding,
        stream: ByteStream,
    ) -> (Self, ByteStream) {
        let counted = Arc::new(Counted::default());
        let coming = Self {
            peer,
            encoding,
            begun: Instant::now(),
            moment: Moment::now(),
            counted: Arc::clone(&counted),
        };
        let pieces = stream::unfold((stream, counted), |(mut stream, counted)| async move {
            let begun = Instant::now();
            let piece = stream.next().await?;
            let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            counted.starved_micros.fetch_add(micros, Ordering::Relaxed);
            let bytes = piece.as_ref().map_or(0, |piece| piece.len() as u64);
            counted.bytes.fetch_add(bytes, Ordering::Relaxed);
            Some((piece, (stream, counted)))
        });
        (coming, Box::pin(pieces))
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
    async fn what_comes_is_counted_and_so_is_the_time_in_which_nothing_does() {
        let pause = Duration::from_millis(30);
        let pieces = stream::iter([Bytes::from_static(b"abc"), Bytes::from_static(b"defg")]).then(
            move |piece| async move {
                tokio::time::sleep(pause).await;
                Ok(piece)
            },
        );
        let (coming, measured) = Coming::measured(peer(1), Encoding::Identity, Box::pin(pieces));
        // What is done with the pieces is not waiting for them.
        let read: Vec<Bytes> = measured
            .then(|piece| async move {
                tokio::time::sleep(pause * 4).await;
                piece.unwrap()
            })
            .collect()
            .await;
        assert_eq!(read.concat(), b"abcdefg");
        assert_eq!(coming.counted.bytes.load(Ordering::Relaxed), 7);
        let starved = Duration::from_micros(coming.counted.starved_micros.load(Ordering::Relaxed));
        assert!(starved >= pause * 2, "{starved:?}");
        assert!(starved <= coming.begun.elapsed() - pause * 8, "{starved:?}");
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
