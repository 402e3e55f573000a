//! This host's clock, the peer's clock, and how far they are apart.
//!
//! Which points of a file are valid depends on the clock. So each request and each answer carries its
//! sender's time in [`TIME_HEADER`], and code that deletes something asks [`may_trust`] first.
//!
//! Only [`unix_now`] and [`ClockReading::now`] read this host's clock. All else is pure: readings are
//! arguments. A header that cannot be read counts as missing: the peer's time is then unknown.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The header with the sender's Unix time at the moment the head of the message was made, such as
/// `1796067712.345`.
pub const TIME_HEADER: &str = "bucky-time";
/// How far two clocks may differ before nothing is deleted (`--max-clock-difference`).
pub const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(30);

/// 2001-09-09 01:46:40. Before it, Unix time has fewer than ten digits. A clock that shows such a time was
/// never set.
const FIRST_SECOND: i64 = 1_000_000_000;
/// 2106-02-07 06:28:15: the last second that fits into the 32 bits of a Whisper file.
const LAST_SECOND: i64 = u32::MAX as i64;

/// The time by this host's clock in Unix seconds, as Whisper files have them. 0 if the clock is before 1970.
pub fn unix_now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

/// This host's clock shows a time that no Whisper file can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this host's clock is before 1970 or after 2106, which Whisper files cannot hold; set it")]
pub struct ClockOutOfRange;

/// As [`unix_now`], for work on files that must not be done with a wrong time.
///
/// # Errors
/// [`ClockOutOfRange`].
pub fn whisper_now() -> Result<u32, ClockOutOfRange> {
    whisper_time(SystemTime::now())
}

fn whisper_time(time: SystemTime) -> Result<u32, ClockOutOfRange> {
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| ClockOutOfRange)?;
    u32::try_from(since.as_secs()).map_err(|_| ClockOutOfRange)
}

/// The time that a clock shows, in Unix time to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClockReading {
    unix_millis: i64,
}

impl ClockReading {
    /// The time by this host's clock.
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// The time `unix_millis` milliseconds after 1970 began.
    pub const fn from_unix_millis(unix_millis: i64) -> Self {
        Self { unix_millis }
    }

    /// Milliseconds since 1970.
    pub fn unix_millis(self) -> i64 {
        self.unix_millis
    }

    /// The value of a [`TIME_HEADER`]. `None` if it is not a number of seconds with three digits after the
    /// point.
    pub fn parse_header(text: &str) -> Option<Self> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text),
        };
        let (seconds, millis) = digits.split_once('.')?;
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let fits = (1..=12).contains(&seconds.len()) && millis.len() == 3;
        if !fits || !are_digits(seconds) || !are_digits(millis) {
            return None;
        }
        let (seconds, millis): (i64, i64) = (seconds.parse().ok()?, millis.parse().ok()?);
        Some(Self { unix_millis: sign * (seconds * 1000 + millis) })
    }

    /// Whether a Whisper file can hold points of this time: from 2001-09-09 to 2106-02-07.
    pub fn is_expressible(self) -> bool {
        (FIRST_SECOND..=LAST_SECOND).contains(&self.unix_millis.div_euclid(1000))
    }
}

impl From<SystemTime> for ClockReading {
    fn from(time: SystemTime) -> Self {
        let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let unix_millis = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => millis(since),
            Err(before) => -millis(before.duration()),
        };
        Self { unix_millis }
    }
}

/// The form in a [`TIME_HEADER`].
impl fmt::Display for ClockReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.unix_millis < 0 { "-" } else { "" };
        let millis = self.unix_millis.unsigned_abs();
        write!(f, "{sign}{}.{:03}", millis / 1000, millis % 1000)
    }
}

/// How far the peer's clock is ahead of ours, and how exact that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    ahead_millis: i64,
    error_millis: i64,
}

impl ClockOffset {
    /// The offset of a clock that showed `peer` at some moment of an exchange. The exchange took `round_trip`
    /// and ended at `received` by our clock.
    pub fn in_answer(peer: ClockReading, received: ClockReading, round_trip: Duration) -> Self {
        let error_millis = i64::try_from(round_trip.as_millis() / 2).unwrap_or(i64::MAX / 4);
        let middle = received.unix_millis.saturating_sub(error_millis);
        // The division above rounds down, and both clocks are read to the millisecond.
        let error_millis = error_millis.saturating_add(1);
        Self { ahead_millis: peer.unix_millis.saturating_sub(middle), error_millis }
    }

    /// The offset of a clock that was read to the second only, as in a `Date` header.
    pub fn in_dated_answer(date: SystemTime, received: ClockReading, round_trip: Duration) -> Self {
        let half_past = ClockReading::from(date).unix_millis.saturating_add(500);
        let peer = ClockReading::from_unix_millis(half_past);
        let offset = Self::in_answer(peer, received, round_trip);
        Self { error_millis: offset.error_millis.saturating_add(500), ..offset }
    }

    /// The offset of the sender of a request that arrived at `arrived` by our clock. How long the request
    /// travelled is unknown. A clock that seems to be behind may be a request that was late.
    pub fn of_sender(sender: ClockReading, arrived: ClockReading) -> Self {
        let ahead_millis = sender.unix_millis.saturating_sub(arrived.unix_millis);
        Self { ahead_millis, error_millis: 0 }
    }

    /// The offset of our own clock.
    pub const OWN: Self = Self { ahead_millis: 0, error_millis: 0 };

    /// How far this clock is ahead of the clock of `other`.
    #[must_use]
    pub fn relative_to(self, other: Self) -> Self {
        Self {
            ahead_millis: self.ahead_millis.saturating_sub(other.ahead_millis),
            error_millis: self.error_millis.saturating_add(other.error_millis),
        }
    }

    /// How far the other clock is ahead, in milliseconds; negative if it is behind.
    pub fn ahead_millis(self) -> i64 {
        self.ahead_millis
    }

    /// The largest error of [`Self::ahead_millis`] in either direction.
    pub fn error(self) -> Duration {
        Duration::from_millis(self.error_millis.unsigned_abs())
    }

    /// What the other clock shows when ours shows `now`.
    pub fn reading_at(self, now: ClockReading) -> ClockReading {
        ClockReading::from_unix_millis(now.unix_millis.saturating_add(self.ahead_millis))
    }

    /// What the other clock shows when ours shows `now`, in the seconds of a Whisper file.
    pub fn seconds_at(self, now: u32) -> u32 {
        let seconds = i64::from(now).saturating_add(self.ahead_millis.div_euclid(1000));
        u32::try_from(seconds.clamp(0, LAST_SECOND)).unwrap_or(u32::MAX)
    }

    /// Whether the clocks certainly differ by more than `limit`, however long the answer travelled.
    pub fn exceeds(self, limit: Duration) -> bool {
        let least =
            self.ahead_millis.unsigned_abs().saturating_sub(self.error_millis.unsigned_abs());
        u128::from(least) > limit.as_millis()
    }

    /// What is known after `newer` was measured: the more exact of the two. If they contradict each other, a
    /// clock was set in between, and `newer` counts.
    #[must_use]
    pub fn refined_by(self, newer: Self) -> Self {
        let apart = self.ahead_millis.abs_diff(newer.ahead_millis);
        let errors = self.error_millis.saturating_add(newer.error_millis).unsigned_abs();
        if newer.error_millis <= self.error_millis || apart > errors { newer } else { self }
    }
}

/// `2 h 10 min ahead`, `45 s behind`.
impl fmt::Display for ClockOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.ahead_millis.unsigned_abs().saturating_add(500) / 1000;
        let direction = if self.ahead_millis < 0 { "behind" } else { "ahead" };
        write!(f, "{} {direction}", Span(seconds))
    }
}

/// Seconds for people, in at most two units.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 5] =
            [(31_557_600, "years"), (86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
        let Some(at) = UNITS.iter().position(|(size, _)| self.0 >= *size) else {
            return f.write_str("0 s");
        };
        let (size, name) = UNITS[at];
        write!(f, "{} {name}", self.0 / size)?;
        let finer = UNITS.get(at + 1).map(|(finer, name)| (self.0 % size / finer, name));
        match finer {
            Some((count, name)) if count > 0 => write!(f, " {count} {name}"),
            _ => Ok(()),
        }
    }
}

/// The reason why nothing is deleted because of what a peer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its clock is {offset} (--max-clock-difference is {} s)", limit.as_secs())]
pub struct ClockDoubt {
    offset: ClockOffset,
    limit: Duration,
}

impl ClockDoubt {
    /// How far the clock is off.
    pub fn offset(&self) -> ClockOffset {
        self.offset
    }
}

/// Whether something may be deleted because of what a peer says, given its clock. A point that is expired for
/// a wrong clock may be valid here. A peer that sends no time is trusted: both kinds of daemon send theirs.
///
/// # Errors
/// [`ClockDoubt`] if the clocks differ by more than `limit`.
pub fn may_trust(offset: Option<ClockOffset>, limit: Duration) -> Result<(), ClockDoubt> {
    match offset {
        Some(offset) if offset.exceeds(limit) => Err(ClockDoubt { offset, limit }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
