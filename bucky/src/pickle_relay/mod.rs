//! `bucky pickle-relay`: pickles in from carbon's senders, lines out to one upstream, for what speaks no
//! pickle.
//!
//! - `pickle` reads pickles without running anything; `datapoint` makes lines of what is in them
//! - `receiver` serves a connection, `queue` holds what waits, `upstream` sends it, over one connection after
//!   another
//! - `figures` are the relay's own
//!
//! Nothing is dropped but what is malformed: where the upstream is away or slow the queue fills up, and then
//! senders are read no further, which carbon answers with its own queue.

mod datapoint;
mod figures;
mod pickle;
mod queue;
mod receiver;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use self::figures::{Counts, memory_bytes};
use self::queue::{Block, Intake, queue};
use self::receiver::{Receiver, WORK_BYTES};
use self::upstream::Upstream;
use crate::counted::counted;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::run::stop::Stop;

/// The most connections; further ones wait until one ends. Each may hold a pickle.
const CONNECTIONS_MOST: usize = 256;
/// How often it is told that there are so many.
const FULL_TOLD: Duration = Duration::from_secs(60);
/// How long what has come may take to be sent once an end was asked for.
const DRAIN: Duration = Duration::from_secs(10);
/// How long after a connection that could not be taken the next is tried.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a relay is told.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `HOST:PORT` of the upstream.
    pub(crate) upstream: String,
    /// What its own figures begin with.
    pub(crate) prefix: String,
    /// Whether connections are told.
    pub(crate) verbose: bool,
    /// How long a sender may say nothing.
    pub(crate) idle: Duration,
    /// The longest pickle.
    pub(crate) frame_bytes: u32,
    /// How many metrics may wait.
    pub(crate) queue: u32,
    /// How often its own figures are sent; none for never.
    pub(crate) interval: Option<Duration>,
}

/// Relays until the operator wants an end, and then sends what is left.
///
/// # Errors
/// Where signals cannot be listened for.
pub(crate) async fn run(
    listener: TcpListener,
    settings: Settings,
    output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    let stop = Stop::told_on_signals(output)?;
    let (intake, outlet) = queue(settings.queue);
    let counts = Arc::new(Counts::default());
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
    // The queue ends once nobody can put anything in any more.
    let drained = async move {
        connections.join_all().await;
        let _ = own.await;
        drop(intake);
        sending.await
    };
    let drained = tokio::select! {
        drained = timeout(DRAIN, drained) => drained.is_ok_and(|sent| sent.is_ok()),
        () = stop.insisted() => false,
    };
    Ok(tell_end(drained, gauge.metrics(), &settings, output))
}

fn tell_end(drained: bool, left: u64, settings: &Settings, output: &Output) -> Outcome {
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

/// Takes connections until an end is asked for; gives those that still run.
async fn accept(
    listener: TcpListener,
    receiver: Receiver,
    stop: &Stop,
    output: &Output,
) -> JoinSet<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MOST));
    let mut connections = JoinSet::new();
    let mut told: Option<Instant> = None;
    loop {
        // Who waits sees nothing but an upstream that takes nothing.
        if places.available_permits() == 0 && told.is_none_or(|at| at.elapsed() >= FULL_TOLD) {
            told = Some(Instant::now());
            output.say(format_args!(
                "bucky: {CONNECTIONS_MOST} senders are connected, which is the limit; others wait until one \
                 disconnects"
            ));
        }
        let accepted = tokio::select! {
            accepted = next(&listener, &places) => accepted,
            () = stop.asked() => return connections,
        };
        let (stream, peer, place) = match accepted {
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
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

/// Sends the relay's own figures from time to time. Where there is no room for them they are left out.
async fn report(settings: Settings, intake: Intake, counts: Arc<Counts>) {
    let Some(period) = settings.interval else { return };
    let mut turns = interval(period);
    turns.tick().await;
    loop {
        turns.tick().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let lines = counts.lines(&settings.prefix, intake.gauge().metrics(), memory_bytes(), now);
        let metrics = u32::try_from(lines.lines().count()).unwrap_or(u32::MAX);
        intake.try_push(Block { lines: lines.into_bytes(), metrics });
    }
}
