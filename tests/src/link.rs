//! A slow link with a long round trip between the nodes of a cluster: every byte takes half a round trip, and
//! the link carries a limited number of bytes a second.
//!
//! A [`Link`] is a proxy before all daemons. Their answers share one wire, and the requests to them share
//! another. If all nodes send to one node, this models that node's own link. As on a real network, a
//! connection takes a round trip to open and sends slowly at first: its window doubles with every round trip,
//! and shrinks again after idle time. Nothing is ever lost. The link counts the bytes that TCP carries,
//! without the headers of packets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

/// The amount that is put on the wire at once, as transmission time; and its smallest and greatest number of
/// bytes.
const CHUNK: Duration = Duration::from_millis(2);
const CHUNK_BYTES: (usize, usize) = (1460, 256 * 1024);
/// How much may wait for the wire, as transmission time. Further senders wait.
const QUEUE: Duration = Duration::from_millis(20);
/// What a connection may send before the first acknowledgement: ten segments, as in Linux.
const FIRST_WINDOW_BYTES: usize = 14_600;
/// The most bytes of a connection that may be in flight.
const LAST_WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// The idle time after which a connection starts slowly again, as Linux does after a retransmission timeout.
const IDLE: Duration = Duration::from_millis(220);
/// The most chunks of a connection that are in flight: more than a full window and a queue have.
const CHUNKS: usize = 4096;

/// The properties of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSpec {
    /// How long a byte and its answer take together.
    pub round_trip: Duration,
    /// How many bytes a second it carries in each direction.
    pub bytes_per_second: u64,
}

/// A link that runs until it is dropped.
#[derive(Debug)]
pub struct Link {
    spec: LinkSpec,
    requests: Arc<Wire>,
    answers: Arc<Wire>,
    runtime: Runtime,
}

/// One direction of the link.
#[derive(Debug)]
struct Wire {
    bytes_per_second: f64,
    /// When everything on it will have been sent.
    free: Mutex<Instant>,
    bytes: AtomicU64,
}

/// The window of a connection in one direction.
struct Window {
    round_trip: Duration,
    size: usize,
    on_the_way: usize,
    /// The sizes of what was sent, and when each acknowledgement arrives.
    sent: VecDeque<(Instant, usize)>,
    last: Instant,
}

impl Link {
    /// A link that nothing uses yet.
    ///
    /// # Panics
    /// If no thread can be started.
    pub fn new(spec: LinkSpec) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("link").enable_all().build().unwrap();
        let wire = || Arc::new(Wire::new(spec.bytes_per_second));
        Self { spec, requests: wire(), answers: wire(), runtime }
    }

    /// Sends everything that goes to `addr` over the link to `target`.
    ///
    /// # Panics
    /// If `addr` is in use.
    pub fn stand_before(&self, addr: SocketAddr, target: SocketAddr) {
        let listener = self.runtime.block_on(TcpListener::bind(addr)).unwrap();
        let (requests, answers) = (Arc::clone(&self.requests), Arc::clone(&self.answers));
        let round_trip = self.spec.round_trip;
        self.runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (requests, answers) = (Arc::clone(&requests), Arc::clone(&answers));
                // If a connection fails, its client reports it.
                tokio::spawn(async move {
                    let Ok(daemon) = TcpStream::connect(target).await else { return };
                    let _ = (client.set_nodelay(true), daemon.set_nodelay(true));
                    let (from_client, to_client) = client.into_split();
                    let (from_daemon, to_daemon) = daemon.into_split();
                    let greeted = Instant::now() + round_trip;
                    tokio::spawn(carry(requests, round_trip, greeted, from_client, to_daemon));
                    tokio::spawn(carry(answers, round_trip, greeted, from_daemon, to_client));
                });
            }
        });
    }

    /// Its properties.
    pub fn spec(&self) -> LinkSpec {
        self.spec
    }

    /// How many bytes of answers have been put on the wire.
    pub fn answered_bytes(&self) -> u64 {
        self.answers.bytes.load(Ordering::Relaxed)
    }

    /// How many bytes of requests have been put on the wire.
    pub fn asked_bytes(&self) -> u64 {
        self.requests.bytes.load(Ordering::Relaxed)
    }
}

/// Carries one direction of a connection, which is open from `greeted` on.
async fn carry(
    wire: Arc<Wire>,
    round_trip: Duration,
    greeted: Instant,
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
) {
    let (sender, chunks) = mpsc::channel(CHUNKS);
    tokio::spawn(deliver(chunks, to));
    send(&wire, Window::new(round_trip, greeted), from, sender).await;
}

/// Puts the data that is read on the wire, as fast as the wire and the window allow.
async fn send(
    wire: &Wire,
    mut window: Window,
    mut from: OwnedReadHalf,
    sender: mpsc::Sender<(Instant, Vec<u8>)>,
) {
    sleep_until(window.last.into()).await;
    loop {
        if from.readable().await.is_err() {
            return;
        }
        let room = loop {
            match window.room(Instant::now()) {
                Ok(room) => break room,
                Err(until) => sleep_until(until.into()).await,
            }
        };
        sleep_until(wire.free_within(QUEUE).into()).await;
        let mut chunk = Vec::with_capacity(room.min(wire.chunk_bytes()));
        let limit = chunk.capacity() as u64;
        match (&mut from).take(limit).read_buf(&mut chunk).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        let leaves = wire.put(chunk.len(), Instant::now());
        window.sent(chunk.len(), leaves);
        if sender.send((leaves + window.round_trip / 2, chunk)).await.is_err() {
            return;
        }
    }
}

async fn deliver(mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>, mut to: OwnedWriteHalf) {
    while let Some((arrives, chunk)) = chunks.recv().await {
        sleep_until(arrives.into()).await;
        if to.write_all(&chunk).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

impl Wire {
    fn new(bytes_per_second: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        let bytes_per_second = bytes_per_second as f64;
        Self { bytes_per_second, free: Mutex::new(Instant::now()), bytes: AtomicU64::new(0) }
    }

    /// How many bytes are put on it at once.
    fn chunk_bytes(&self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is positive, and a chunk is small"
        )]
        let bytes = (self.bytes_per_second * CHUNK.as_secs_f64()) as usize;
        bytes.clamp(CHUNK_BYTES.0, CHUNK_BYTES.1)
    }

    /// When at most `queue` waits for it.
    fn free_within(&self, queue: Duration) -> Instant {
        let free = *self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.checked_sub(queue).unwrap_or(free)
    }

    /// Puts `bytes` on it, and returns when the last of them is sent.
    fn put(&self, bytes: usize, now: Instant) -> Instant {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a chunk is small")]
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = (*free).max(now) + takes;
        *free
    }
}

impl Window {
    fn new(round_trip: Duration, begins: Instant) -> Self {
        let sent = VecDeque::new();
        Self { round_trip, size: FIRST_WINDOW_BYTES, on_the_way: 0, sent, last: begins }
    }

    /// How many bytes may be sent now, or when to ask again.
    fn room(&mut self, now: Instant) -> Result<usize, Instant> {
        while let Some((acknowledged, bytes)) = self.sent.front().copied()
            && acknowledged <= now
        {
            self.sent.pop_front();
            self.on_the_way -= bytes;
            self.size = (self.size + bytes).min(LAST_WINDOW_BYTES);
        }
        if self.sent.is_empty() && now.saturating_duration_since(self.last) > IDLE {
            self.size = FIRST_WINDOW_BYTES;
        }
        match (self.size.checked_sub(self.on_the_way), self.sent.front()) {
            (Some(room @ 1..), _) => Ok(room),
            (_, Some((acknowledged, _))) => Err(*acknowledged),
            (_, None) => Ok(self.size),
        }
    }

    fn sent(&mut self, bytes: usize, leaves: Instant) {
        self.on_the_way += bytes;
        self.last = leaves + self.round_trip;
        self.sent.push_back((self.last, bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn a_wire_carries_no_more_than_its_rate() {
        let (wire, now) = (Wire::new(1_000_000), Instant::now() + Duration::from_secs(1));
        assert_eq!(wire.put(10_000, now), now + 10 * MILLISECOND);
        assert_eq!(
            wire.put(5_000, now),
            now + 15 * MILLISECOND,
            "behind what was put there before"
        );
        assert_eq!(wire.free_within(5 * MILLISECOND), now + 10 * MILLISECOND);
        let later = now + Duration::from_secs(1);
        assert_eq!(wire.put(1_000, later), later + MILLISECOND, "what was not used is gone");
        assert_eq!(wire.bytes.load(Ordering::Relaxed), 16_000);
        assert_eq!(
            [1_000, 2_000_000, 1 << 40].map(|rate| Wire::new(rate).chunk_bytes()),
            [1460, 4000, 1 << 18]
        );
    }

    #[test]
    fn a_window_doubles_with_each_round_trip_and_shrinks_when_idle() {
        let (begins, round_trip) = (Instant::now(), 20 * MILLISECOND);
        let mut window = Window::new(round_trip, begins);
        let mut now = begins;
        for doubled in [1, 2, 4, 8] {
            let room = window.room(now);
            assert_eq!(room, Ok(FIRST_WINDOW_BYTES * doubled));
            window.sent(room.unwrap(), now);
            assert_eq!(window.room(now), Err(now + round_trip), "full until it is acknowledged");
            now += round_trip;
        }
        assert_eq!(window.room(now + IDLE), Ok(FIRST_WINDOW_BYTES * 16));
        assert_eq!(window.room(now + IDLE + MILLISECOND), Ok(FIRST_WINDOW_BYTES));
        for _ in 0..20 {
            let room = window.room(now).unwrap();
            window.sent(room, now);
            now += round_trip;
        }
        assert_eq!(window.room(now), Ok(LAST_WINDOW_BYTES));
    }
}
