//! Exchanges with owners: within a time limit, and with answers that match the request.

use std::future::Future;
use std::time::Duration;

use bucky_api::clock::unix_now;
use bucky_api::counted::{self, counted};
use bucky_api::{ClientError, Daemon, chain};
use bucky_whisper::Clocks;

use super::round::ReadTombstone;
use crate::auth::NoDaemon;

/// How long one exchange with an owner may take. It is limited because a daemon can send signs of life
/// forever.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(180);
/// The least speed at which long files are read and sent.
const LARGE_BYTES_A_SECOND: u64 = 1024 * 1024;

/// Why an exchange has no result.
pub(super) struct Trouble {
    pub(super) reason: String,
    /// Whether the owner did not answer at all. Then it is not asked for a while.
    pub(super) silent: bool,
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        let silent = matches!(
            error,
            ClientError::Unreachable { .. }
                | ClientError::TimedOut { .. }
                | ClientError::Broken { .. }
        );
        Self { reason: chain(&error), silent }
    }
}

impl From<NoDaemon> for Trouble {
    fn from(error: NoDaemon) -> Self {
        chain(&error).into()
    }
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Self { reason, silent: false }
    }
}

/// Our clock and that of an owner: a point that has not expired by either of them must be there.
pub(super) fn clocks_with(daemon: &Daemon) -> Clocks {
    let now = unix_now();
    Clocks::new(now, daemon.clock_offset().map_or(now, |offset| offset.seconds_at(now)))
}

/// Checks that an answer has a line for each of `asked`, in their order. So nothing counts as confirmed that
/// the owner did not mention, and two tombstones of one metric are not mixed up.
///
/// # Errors
/// [`Trouble`] if it does not.
pub(super) fn check_lines<L>(
    daemon: &Daemon,
    asked: &[&ReadTombstone],
    lines: &[L],
    metric: impl Fn(&L) -> &str,
) -> Result<(), Trouble> {
    let metrics = asked.iter().map(|body| body.tombstone.metric.as_str());
    if metrics.eq(lines.iter().map(metric)) {
        return Ok(());
    }
    let found = format!(
        "{} was asked for {} and answered {} that do not match",
        daemon.addr(),
        counted::metrics(asked.len() as u64),
        counted(lines.len() as u64, "line", "lines")
    );
    Err(found.into())
}

/// Runs an exchange within the default time limit.
pub(super) async fn within<T>(
    daemon: &Daemon,
    exchange: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, Trouble> {
    within_longer(daemon, Duration::ZERO, exchange).await
}

/// Runs an exchange that gets `more` time than others.
pub(super) async fn within_longer<T>(
    daemon: &Daemon,
    more: Duration,
    exchange: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, Trouble> {
    let limit = EXCHANGE_LIMIT + more;
    match tokio::time::timeout(limit, exchange).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Trouble {
            reason: format!("{} did not finish within {} s", daemon.addr(), limit.as_secs()),
            silent: true,
        }),
    }
}

/// How much more time an exchange gets for long files.
pub(super) fn time_for(large_bytes: u64) -> Duration {
    Duration::from_secs(large_bytes / LARGE_BYTES_A_SECOND)
}
