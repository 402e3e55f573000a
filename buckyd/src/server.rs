//! Listening, serving, and stopping in order.
//!
//! After SIGTERM or SIGINT, no new connection is accepted and no new transfer begins. Running requests are
//! finished within a limit, and the daemon exits with 0.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use crate::config::LogFormat;

/// How long a client may take to send the head of a request, and how long an idle connection is kept.
const HEAD_LIMIT: Duration = Duration::from_secs(60);
/// How long running requests may take to end after a stop signal.
const STOP_LIMIT: Duration = Duration::from_secs(120);
/// How long a client may be unreachable, or read nothing, before its connection is closed. It is longer than
/// the writer of an answer waits, so it applies only to answers that have ended.
const DEAD_LIMIT: Duration = Duration::from_secs(120);
/// The largest head of a request, as in the Go daemon.
const HEAD_LIMIT_BYTES: usize = 1024 * 1024;
/// With this many open connections, the heads of further ones get less memory and time: a head that never
/// ends would waste memory.
const CROWD: usize = 128;
/// The largest head of a request on such a connection.
const CROWDED_HEAD_LIMIT_BYTES: usize = 64 * 1024;
/// How long a client may take for the head on such a connection, and how long an idle one is kept.
const CROWDED_HEAD_LIMIT: Duration = Duration::from_secs(15);
/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener`, on at most `most` connections, until `stopping` is true and running
/// requests have ended.
pub(crate) async fn serve(
    listener: TcpListener,
    most: usize,
    router: Router,
    log_format: LogFormat,
    mut stopping: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(most));
    let mut is_reported = false;
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most likely out of descriptors. Other connections return theirs.
                if !std::mem::replace(&mut is_reported, true) {
                    tracing::warn!(%error, "cannot accept a connection; trying again until it can");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        is_reported = false;
        let is_crowded = most - permits.available_permits() > CROWD.min(most / 2);
        let (head_limit_bytes, head_limit) = match is_crowded {
            true => (CROWDED_HEAD_LIMIT_BYTES, CROWDED_HEAD_LIMIT),
            false => (HEAD_LIMIT_BYTES, HEAD_LIMIT),
        };
        if let Err(error) = set_limits(&stream) {
            tracing::debug!(%error, %peer, "cannot set the limits of a connection");
        }
        let service =
            TowerToHyperService::new(crate::access_log::layered(router.clone(), peer, log_format));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_limit)
            .max_buf_size(head_limit_bytes)
            // As in the Go daemon: people and scripts look for `X-Metric-Stat` in this spelling.
            .title_case_headers(true)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = connection.await {
                tracing::debug!(%error, %peer, "a connection ended with an error");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(STOP_LIMIT, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            "some requests were still running {} s after the stop",
            STOP_LIMIT.as_secs()
        );
    }
}

/// Accepts the next connection once there is a permit for it.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

/// Without these options, a client that vanished or stopped reading would keep its connection forever.
fn set_limits(stream: &TcpStream) -> std::io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, DEAD_LIMIT / 2)?;
    let millis = u32::try_from(DEAD_LIMIT.as_millis()).unwrap_or(u32::MAX);
    Ok(sockopt::set_tcp_user_timeout(stream, millis)?)
}

/// Two values: the first becomes true with the first SIGTERM or SIGINT; the second is notified of each SIGHUP,
/// if `hup_reloads`. Otherwise SIGHUP stops the daemon too, as it stops the Go daemon. SIGUSR1 is ignored.
///
/// # Errors
/// If the signals cannot be handled.
pub(crate) fn signals(
    hup_reloads: bool,
) -> std::io::Result<(Arc<watch::Sender<bool>>, Arc<Notify>)> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let mut hup = signal(SignalKind::hangup())?;
    // Once handled, the signal no longer ends the process. The Go daemon ignores it, too.
    drop(signal(SignalKind::user_defined1())?);
    let sender = Arc::new(watch::channel(false).0);
    let reload = Arc::new(Notify::new());
    let (stop, hung_up) = (Arc::clone(&sender), Arc::clone(&reload));
    tokio::spawn(async move {
        let name = loop {
            tokio::select! {
                _ = term.recv() => break "SIGTERM",
                _ = int.recv() => break "SIGINT",
                _ = hup.recv() => {
                    if !hup_reloads {
                        break "SIGHUP";
                    }
                    hung_up.notify_one();
                }
            }
        };
        tracing::info!(
            signal = name,
            "stopping: finishing the requests that run, taking no new ones"
        );
        stop.send_replace(true);
    });
    Ok((sender, reload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt;

    #[tokio::test]
    async fn a_connection_has_limits() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, _client) = tokio::join!(listener.accept(), connecting);
        let (stream, _) = accepted.unwrap();
        set_limits(&stream).unwrap();
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 120_000);
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), Duration::from_secs(60));
    }
}
