//! Whether a source on a Go daemon was not written to for as long as `--rest` wants.
//!
//! Such a daemon only reports the second of the last write. If that is in the future of its clock, nothing
//! was written since the clock was last wrong: a write would have set the time back. So a source with such a
//! time rests for as long as the clock was seen to be right. That is waited for once for each run and node.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bucky_api::go::MetricStat;

use super::GoMove;
use super::setback::{GoSetback, client, lasting, not_deleted};
use crate::run::failure_kind::FailureKind;
use crate::transfer::delete::in_use;

/// The stat of a file, and the time of the answer by the daemon's clock.
type Dated = (MetricStat, Option<SystemTime>);

impl GoMove<'_> {
    /// The source's stat of `name` now, or `None` if it is gone. If the time of its last write is in the
    /// future, that is reported and waited for once.
    pub(super) async fn stat_at_rest(&self, name: &str) -> Result<Option<Dated>, GoSetback> {
        let Some(found) = self.stat(name).await? else { return Ok(None) };
        let rest = self.mover.sources.rest;
        let Some(ahead) = ahead(found.0.mod_time, found.1).filter(|_| !rest.is_zero()) else {
            return Ok(Some(found));
        };
        let source = self.source;
        if source.is_first_future_time() {
            self.mover.output.say(format_args!(
                "bucky: {}: {name}: its last write is {} s in the future by the clock of that node; such \
                 sources are deleted after {} s without a write",
                source.addr(),
                ahead.as_secs(),
                rest.as_secs()
            ));
        }
        let left = rest.saturating_sub(source.seen_for(Instant::now()));
        if left.is_zero() {
            return Ok(Some(found));
        }
        if self.mover.stop.asked_within(left).await {
            let reason = "the run was stopped before its --rest had passed".to_owned();
            return Err(lasting(source, FailureKind::StillWrittenTo, reason));
        }
        self.stat(name).await
    }

    async fn stat(&self, name: &str) -> Result<Option<Dated>, GoSetback> {
        let found = self.source.daemon.go_stat_dated(name).await;
        found.map_err(|error| not_deleted(client(self.source, &error)))
    }

    /// Refuses a source that was not at rest when the daemon answered.
    ///
    /// # Errors
    /// A [`GoSetback`] if something may still write to the file.
    pub(super) fn require_rest(
        &self,
        stat: &MetricStat,
        at: Option<SystemTime>,
    ) -> Result<(), GoSetback> {
        let watched = self.source.seen_for(Instant::now());
        let Some(seconds) = lacks_rest(stat.mod_time, at, self.mover.sources.rest, watched) else {
            return Ok(());
        };
        let failure = in_use(self.source, &format!("it was written to {seconds} s ago"));
        Err(GoSetback { trouble: crate::patience::Trouble::Lasting, failure })
    }
}

/// How many seconds before its daemon answered a file was written to, if that is less than `rest`. A file
/// with a time in the future rests for as long as the daemon's clock was `watched`.
fn lacks_rest(
    mod_time: i64,
    answered_at: Option<SystemTime>,
    rest: Duration,
    watched: Duration,
) -> Option<u64> {
    let age = self::rest(mod_time, answered_at.or_else(|| Some(SystemTime::now())));
    let age = age.unwrap_or(watched);
    (age < rest).then_some(age.as_secs())
}

/// How far the time of a file's last write is in the future of its daemon's clock.
fn ahead(mod_time: i64, answered_at: Option<SystemTime>) -> Option<Duration> {
    let now = answered_at.unwrap_or_else(SystemTime::now).duration_since(UNIX_EPOCH).ok()?;
    let mod_time = Duration::from_secs(u64::try_from(mod_time).ok()?);
    mod_time.checked_sub(now).filter(|ahead| ahead.as_secs() > 0)
}

/// How long a file that was last written at `mod_time`, in Unix seconds, had rested when its daemon answered.
/// Both times are by the daemon's clock, because ours may differ. `None` if the daemon sent no time, or if
/// `mod_time` is in the future.
pub(super) fn rest(mod_time: i64, answered_at: Option<SystemTime>) -> Option<Duration> {
    let at = answered_at?.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let rest = i64::try_from(at).ok()?.checked_sub(mod_time)?;
    u64::try_from(rest).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_still_to_come_rests_for_as_long_as_the_clock_was_watched() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let rest = Duration::from_secs(120);
        let watched = Duration::from_secs(50);
        let not = |mod_time, watched| lacks_rest(mod_time, Some(now), rest, watched);
        assert_eq!(not(990, watched), Some(10));
        assert_eq!(not(880, watched), None);
        assert_eq!(not(5000, watched), Some(50));
        assert_eq!(not(5000, rest), None);
        assert_eq!(not(990, rest), Some(10), "it was written to while the clock was right");
        assert_eq!(lacks_rest(5000, Some(now), Duration::ZERO, Duration::ZERO), None);
    }

    #[test]
    fn a_time_in_the_future_is_measured_by_the_daemons_clock() {
        let now = Some(UNIX_EPOCH + Duration::from_secs(1000));
        assert_eq!(ahead(5000, now), Some(Duration::from_secs(4000)));
        assert_eq!(ahead(1000, now), None);
        assert_eq!(ahead(-7, now), None);
    }
}
