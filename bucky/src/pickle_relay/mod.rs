//! `bucky pickle-relay`: receives pickles from carbon's senders and sends lines to one upstream that cannot
//! read pickles.
//!
//! - `pickle` reads pickles without executing anything; `datapoint` turns their contents into lines
//! - `receiver` serves a connection, `queue` holds what waits, `upstream` sends it, and connects again if
//!   needed
//! - `figures` are the relay's own statistics
//!
//! Only malformed entries are dropped. If the upstream is down or slow, the queue fills up. Then senders are
//! not read any further, and carbon's own queues fill up.

mod datapoint;
mod figures;
mod pickle;
mod queue;
mod receiver;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bucky_api::clock::unix_now;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use self::figures::{RelayCounts, memory_bytes};
use self::queue::{Block, Intake, queue};
use self::receiver::{Receiver, WORK_BYTES};
use self::upstream::Upstream;
use crate::counted::counted;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::run::stop::Stop;

/// The most connections; further ones wait until one ends. Each may hold one pickle.
const CONNECTIONS_MOST: usize = 256;
/// How often the log says that there are too many connections.
const FULL_REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// How long the relay may take, after a stop was asked for, to send what it has received.
const DRAIN: Duration = Duration::from_secs(10);
/// How long to wait after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The settings of a relay.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `HOST:PORT` of the upstream.
    pub(crate) upstream: String,
    /// The prefix of its own statistics.
    pub(crate) prefix: String,
    /// Whether connections are logged.
    pub(crate) verbose: bool,
    /// How long a sender may be silent.
    pub(crate) idle: Duration,
    /// The longest pickle, in bytes.
    pub(crate) frame_bytes: u32,
    /// How many metrics may wait.
    pub(crate) queue: u32,
    /// How often its own statistics are sent, or `None` for never.
    pub(crate) interval: Option<Duration>,
}

/// Relays until the operator stops it, and then sends what is left.
///
/// # Errors
/// If the process cannot listen for signals.
pub(crate) async fn run(
    listener: TcpListener,
    settings: Settings,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let stop = Stop::announced_on_signals(output)?;
    let (intake, outlet) = queue(settings.queue);
    let counts = Arc::new(RelayCounts::default());
    let upstream =
        Upstream::new(settings.upstream.clone(), outlet, Arc::clone(&counts), Arc::clone(output));
    let sending = tokio::spawn(upstream.run());
    let own = tokio::spawn(report(settings.clone(), intake.clone(), Arc::clone(&counts)));
    let receiver = Receiver {
        intake: intake.clone(),
        counts,
        output: Arc::clone(output),
        stop: stop.clone(),
        work: Arc::new(Semaphore::new(usize::try_from(WORK_BYTES)?)),
        idle: settings.idle,
        frame_bytes: settings.frame_bytes,
        verbose: settings.verbose,
    };
    let connections = accept(listener, receiver, &stop, output).await;
    own.abort();
    let gauge = intake.gauge();
    // The queue ends when all intakes are dropped.
    let drained = async move {
        connections.join_all().await;
        let _ = own.await;
        drop(intake);
        sending.await
    };
    let drained = tokio::select! {
        drained = timeout(DRAIN, drained) => drained.is_ok_and(|sent| sent.is_ok()),
        () = stop.asked_twice() => false,
    };
    Ok(report_end(drained, gauge.metrics(), &settings, output))
}

fn report_end(drained: bool, left: u64, settings: &Settings, output: &Output) -> Outcome {
    if drained {
        return Outcome::Done;
    }
    output.say(format_args!(
        "bucky: {} not sent to {}, and what was sent last may not have arrived",
        counted(left, "metric was", "metrics were"),
        settings.upstream
    ));
    Outcome::SomeFailed
}

/// Accepts connections until a stop is asked for; returns those that still run.
async fn accept(
    listener: TcpListener,
    receiver: Receiver,
    stop: &Stop,
    output: &Output,
) -> JoinSet<()> {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MOST));
    let mut connections = JoinSet::new();
    let mut reported_at: Option<Instant> = None;
    loop {
        // Senders that wait for a connection only see an upstream that accepts nothing.
        if permits.available_permits() == 0
            && reported_at.is_none_or(|at| at.elapsed() >= FULL_REPORT_INTERVAL)
        {
            reported_at = Some(Instant::now());
            output.say(format_args!(
                "bucky: {CONNECTIONS_MOST} senders are connected, which is the limit; others wait until one \
                 disconnects"
            ));
        }
        let accepted = tokio::select! {
            accepted = next(&listener, &permits) => accepted,
            () = stop.asked() => return connections,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                output.say(format_args!("bucky: cannot accept a connection: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let receiver = receiver.clone();
        connections.spawn(async move {
            receiver.serve(stream, peer).await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn next(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

/// Sends the relay's own statistics from time to time. They are left out if the queue is full.
async fn report(settings: Settings, intake: Intake, counts: Arc<RelayCounts>) {
    let Some(period) = settings.interval else { return };
    let mut turns = interval(period);
    turns.tick().await;
    loop {
        turns.tick().await;
        let now = u64::from(unix_now());
        let lines = counts.lines(&settings.prefix, intake.gauge().metrics(), memory_bytes(), now);
        let metrics = u32::try_from(lines.lines().count()).unwrap_or(u32::MAX);
        intake.try_push(Block { lines: lines.into_bytes(), metrics });
    }
}
