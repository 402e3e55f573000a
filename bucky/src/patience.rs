//! How often something is tried again, and how long to wait in between.
//!
//! There are four kinds of trouble. A busy node is waited for, and that is not a failure. A node that is down
//! is waited for as long as a restart takes. Trouble that may pass is tried a few times. Lasting trouble is
//! not tried again. Every kind has a limit, so that nothing waits for ever.

use std::future::Future;
use std::time::Duration;

use bucky_api::{ClientError, Daemon, ErrorCode};

/// How often something that may pass is tried, the first time included.
const ATTEMPTS: u32 = 4;
/// How often half of what failed together is tried.
const HALF_ATTEMPTS: u32 = 2;
/// The wait after the first failure; it doubles after each further one.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest single wait.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long to wait for a busy node in all, without any progress. The first scan of a large store takes
/// minutes.
const BUSY_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The node asks to come again later.
    Busy,
    /// Nothing answers at the address: the node may be restarting.
    Away,
    /// The next attempt may succeed.
    Passing,
    /// No further attempt will succeed.
    Lasting,
}

impl Trouble {
    /// The kind of trouble behind `error`.
    pub(crate) fn of(error: &ClientError) -> Self {
        if error.status().is_some_and(|status| status.as_u16() == 202) {
            return Self::Busy;
        }
        match (error.code(), error) {
            (Some(ErrorCode::Busy | ErrorCode::Stopping | ErrorCode::NotReady), _) => Self::Busy,
            (_, ClientError::Unreachable { .. }) => Self::Away,
            _ if error.may_pass() => Self::Passing,
            _ => Self::Lasting,
        }
    }
}

/// What to do after trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// Try again after this long.
    Wait(Duration),
    /// Do not try again.
    GiveUp,
}

/// The attempts and waits that are left for one piece of work.
#[derive(Debug)]
pub(crate) struct Patience {
    attempts: u32,
    failures: u32,
    busy: Waits,
    away: Waits,
    /// How long to wait in all for a node that is down, without any progress.
    away_limit: Duration,
}

/// The waits of one kind.
#[derive(Debug, Default)]
struct Waits {
    count: u32,
    total: Duration,
}

impl Waits {
    /// The number of the next wait, or `None` if all waits together have reached `limit`.
    fn next(&mut self, limit: Duration) -> Option<u32> {
        (self.total < limit).then(|| {
            self.count += 1;
            self.count
        })
    }
}

/// The two halves of items that failed together, so that one bad item does not fail the others. The half that
/// comes first is the last, on top of a stack.
pub(crate) fn halves<T>(mut items: Vec<T>) -> [Vec<T>; 2] {
    let second = items.split_off(items.len() / 2);
    [second, items]
}

impl Patience {
    /// Patience with `daemon`.
    pub(crate) fn with(daemon: &Daemon) -> Self {
        Self::of(ATTEMPTS, daemon.timeouts().away)
    }

    /// Patience with `daemon` for one of two [`halves`].
    pub(crate) fn with_half(daemon: &Daemon) -> Self {
        Self::of(HALF_ATTEMPTS, daemon.timeouts().away)
    }

    /// Patience with several daemons at once, each of which may be down for `away_limit`.
    pub(crate) fn with_all(away_limit: Duration) -> Self {
        Self::of(ATTEMPTS, away_limit)
    }

    fn of(attempts: u32, away_limit: Duration) -> Self {
        let (busy, away) = (Waits::default(), Waits::default());
        Self { attempts, failures: 0, busy, away, away_limit }
    }

    /// What to do after `trouble`. `jitter`, from 0 to 1, keeps many clients from coming back at one moment.
    pub(crate) fn after(&mut self, trouble: Trouble, jitter: f64) -> NextStep {
        let round = match trouble {
            Trouble::Lasting => None,
            Trouble::Passing => {
                self.failures += 1;
                (self.failures < self.attempts).then_some(self.failures)
            }
            Trouble::Busy => self.busy.next(BUSY_LIMIT),
            Trouble::Away => self.away.next(self.away_limit),
        };
        let Some(round) = round else { return NextStep::GiveUp };
        let full = FIRST_WAIT.saturating_mul(1 << (round - 1).min(10)).min(LONGEST_WAIT);
        let wait = full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
        match trouble {
            Trouble::Busy => self.busy.total += wait,
            Trouble::Away => self.away.total += wait,
            Trouble::Passing | Trouble::Lasting => {}
        }
        NextStep::Wait(wait)
    }

    /// Notes that some of the work was done: all waits start again from zero.
    pub(crate) fn progress(&mut self) {
        *self = Self::of(self.attempts, self.away_limit);
    }
}

/// A number from 0 to 1 that differs from call to call.
pub(crate) fn jitter() -> f64 {
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    // The low 32 bits of a version 4 UUID are all random.
    f64::from((low & 0xffff_ffff) as u32) / f64::from(u32::MAX)
}

/// Asks `daemon` until it answers, or until patience runs out; the error is the last one.
///
/// `on_wait` is called at the first wait for a node that is busy or down.
///
/// # Errors
/// [`ClientError`].
pub(crate) async fn ask<T, F>(
    daemon: &Daemon,
    mut question: impl FnMut() -> F,
    mut on_wait: impl FnMut(&ClientError),
) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut patience = Patience::with(daemon);
    let mut is_reported = false;
    loop {
        let error = match question().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let trouble = Trouble::of(&error);
        let NextStep::Wait(wait) = patience.after(trouble, jitter()) else { return Err(error) };
        if matches!(trouble, Trouble::Busy | Trouble::Away) && !is_reported {
            on_wait(&error);
            is_reported = true;
        }
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWAY_LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn a_passing_trouble_is_tried_four_times_with_growing_waits() {
        let mut patience = Patience::of(ATTEMPTS, AWAY_LIMIT);
        let waits: Vec<NextStep> = (0..4).map(|_| patience.after(Trouble::Passing, 1.0)).collect();
        let wait = |millis| NextStep::Wait(Duration::from_millis(millis));
        assert_eq!(waits, [wait(500), wait(1000), wait(2000), NextStep::GiveUp]);
    }

    #[test]
    fn jitter_takes_off_up_to_half() {
        let wait = Patience::of(ATTEMPTS, AWAY_LIMIT).after(Trouble::Passing, 0.0);
        assert_eq!(wait, NextStep::Wait(Duration::from_millis(250)));
        assert!((0.0..=1.0).contains(&jitter()));
    }

    /// D37: the Go tool waits for ever for a daemon that never gets ready.
    #[test]
    fn a_busy_node_is_waited_for_long_but_not_for_ever() {
        let mut patience = Patience::of(ATTEMPTS, AWAY_LIMIT);
        let mut waited = Duration::ZERO;
        while let NextStep::Wait(wait) = patience.after(Trouble::Busy, 1.0) {
            waited += wait;
        }
        assert!(waited >= BUSY_LIMIT && waited < BUSY_LIMIT + 2 * LONGEST_WAIT, "{waited:?}");
        assert_eq!(
            patience.after(Trouble::Passing, 1.0),
            NextStep::Wait(FIRST_WAIT),
            "busy is no failure"
        );
    }

    #[test]
    fn a_node_that_is_away_is_waited_for_as_long_as_a_restart_takes() {
        for jitter in [0.0, 1.0] {
            let mut patience = Patience::of(ATTEMPTS, AWAY_LIMIT);
            let mut waited = Duration::ZERO;
            while let NextStep::Wait(wait) = patience.after(Trouble::Away, jitter) {
                waited += wait;
            }
            assert!(waited >= AWAY_LIMIT && waited < AWAY_LIMIT + LONGEST_WAIT, "{waited:?}");
        }
    }

    /// A proxy between a daemon and its client may answer 503 for good; that must not cost 15 minutes.
    #[test]
    fn only_the_daemons_own_word_makes_it_busy() {
        let refusal = |status: u16, code| ClientError::Status {
            addr: "a".parse().unwrap(),
            route: "/v1/pull",
            status: status.try_into().unwrap(),
            code,
            body: String::new(),
        };
        for (status, code, trouble) in [
            (202, None, Trouble::Busy),
            (503, Some(ErrorCode::Busy), Trouble::Busy),
            (503, Some(ErrorCode::Stopping), Trouble::Busy),
            (503, Some(ErrorCode::NotReady), Trouble::Busy),
            (503, Some(ErrorCode::Internal), Trouble::Passing),
            (503, None, Trouble::Passing),
            (500, Some(ErrorCode::Storage), Trouble::Passing),
            (400, Some(ErrorCode::BadRequest), Trouble::Lasting),
        ] {
            assert_eq!(Trouble::of(&refusal(status, code)), trouble, "{status} {code:?}");
        }
    }

    #[test]
    fn progress_makes_patience_whole_and_a_lasting_trouble_ends_it() {
        let mut patience = Patience::of(ATTEMPTS, AWAY_LIMIT);
        for _ in 0..10 {
            assert_eq!(patience.after(Trouble::Passing, 1.0), NextStep::Wait(FIRST_WAIT));
            patience.progress();
        }
        assert_eq!(patience.after(Trouble::Lasting, 1.0), NextStep::GiveUp);
    }
}
