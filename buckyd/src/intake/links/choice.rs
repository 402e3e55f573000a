//! Whether archives travel plain or compressed over one link.
//!
//! Pure: time is an argument. Archives travel plain while something else limits them: a disk or a processor.
//! If both ends wait for the link most of the time, and processors are idle, some archives travel compressed,
//! under the same conditions as the plain ones beside them. The faster encoding is kept for some minutes.
//! Then the comparison is repeated.

use std::fmt;
use std::time::{Duration, Instant};

use bucky_api::Encoding;

/// The encoding for compressed archives: it saves by far the most for its processor time
/// (`docs/internals/performance.md`).
pub(crate) const COMPRESSED: Encoding = Encoding::Zstd;
/// How long archives must take together before they count.
const ENOUGH: Duration = Duration::from_millis(500);
/// How many archives of each kind are compared at least.
const ENOUGH_ARCHIVES: u32 = 2;
/// The share of the time that both ends must wait for the link, before the link counts as the limit.
const LIMITS: f64 = 0.5;
/// The share of our processors that must be idle. Otherwise they may be the limit, and decompression would
/// use more of them.
const IDLE: f64 = 0.2;
/// Below this rate, in bytes per second, processors cannot be the limit, however busy they are: one
/// compresses thirty times as much.
const SLOW: f64 = 8e6;
/// How many times as fast compressed archives must be. A smaller gain is not worth the processor time, and
/// may be chance.
const GAIN: f64 = 1.2;
/// The most compressed archives that travel at once during a comparison.
const COMPARED_AT_ONCE: u32 = 2;
/// How long a result is used, and the longest time that a comparison takes.
const HOLDS: Duration = Duration::from_secs(600);

/// An archive that has arrived completely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Transfer {
    /// Its encoding.
    pub(crate) encoding: Encoding,
    /// The total length of its files.
    pub(crate) bytes: u64,
    /// How many bytes travelled.
    pub(crate) wire_bytes: u64,
    /// How long it took from its first byte.
    pub(crate) took: Duration,
    /// For how much of that time nothing was there to read.
    pub(crate) starved: Duration,
    /// How long the sender read and encoded. `None` if the sender does not report it.
    pub(crate) worked: Option<Duration>,
    /// The share of our processors that was idle. `None` if the kernel does not report it.
    pub(crate) idle: Option<f64>,
}

/// What was found about a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Finding {
    /// The encoding from now on.
    pub(crate) encoding: Encoding,
    /// Bytes of files per second and archive, plain.
    pub(crate) plain: f64,
    /// Bytes of files per second and archive, compressed.
    pub(crate) compressed: f64,
    /// How many bytes of files travelled as one byte.
    pub(crate) ratio: f64,
}

/// The choice of the encoding for one link.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    phase: Phase,
    plain: ArchiveSums,
    compressed: ArchiveSums,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Plain, while it is measured whether the link is the limit.
    #[default]
    Watching,
    /// Some compressed: `asked` so far.
    Comparing { requested: u32, is_compressed_next: bool, until: Instant },
    /// The result, used until then.
    Found { encoding: Encoding, until: Instant },
}

/// The sum of archives of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct ArchiveSums {
    archives: u32,
    bytes: u64,
    wire_bytes: u64,
    took: Duration,
    /// For how long both ends waited for the link.
    waited: Duration,
    /// The time that processors were idle, as a sum of each archive's time times its idle share.
    idle: Duration,
}

impl Choice {
    /// The encoding of the next archive.
    pub(crate) fn next(&mut self, now: Instant) -> Encoding {
        match &mut self.phase {
            Phase::Found { encoding, until } if now < *until => *encoding,
            Phase::Comparing { requested, is_compressed_next, until } if now < *until => {
                let under_way = requested.saturating_sub(self.compressed.archives);
                let is_compressed = *is_compressed_next && under_way < COMPARED_AT_ONCE;
                *is_compressed_next = !is_compressed;
                *requested += u32::from(is_compressed);
                if is_compressed { COMPRESSED } else { Encoding::Identity }
            }
            Phase::Watching => Encoding::Identity,
            // The result is old, or the archives to compare never arrived.
            Phase::Found { .. } | Phase::Comparing { .. } => {
                *self = Self::default();
                Encoding::Identity
            }
        }
    }

    /// Takes note of an archive that arrived. Returns a finding if there is one.
    pub(crate) fn record(&mut self, transfer: &Transfer, now: Instant) -> Option<Finding> {
        match self.phase {
            Phase::Found { .. } => None,
            Phase::Watching => {
                if transfer.encoding == Encoding::Identity {
                    self.plain.add(transfer);
                }
                if self.plain.took >= ENOUGH {
                    let seen = std::mem::take(&mut self.plain);
                    if seen.is_limited_by_the_link() {
                        self.phase = Phase::Comparing {
                            requested: 0,
                            is_compressed_next: true,
                            until: now + HOLDS,
                        };
                    }
                }
                None
            }
            Phase::Comparing { .. } => {
                match transfer.encoding {
                    Encoding::Identity => self.plain.add(transfer),
                    COMPRESSED => self.compressed.add(transfer),
                    Encoding::Gzip | Encoding::Snappy => {}
                }
                (self.plain.is_enough() && self.compressed.is_enough()).then(|| self.find(now))
            }
        }
    }

    fn find(&mut self, now: Instant) -> Finding {
        let (plain, compressed) =
            (std::mem::take(&mut self.plain), std::mem::take(&mut self.compressed));
        let is_faster = compressed.bytes_per_second() >= plain.bytes_per_second() * GAIN;
        let encoding = if is_faster { COMPRESSED } else { Encoding::Identity };
        self.phase = Phase::Found { encoding, until: now + HOLDS };
        Finding {
            encoding,
            plain: plain.bytes_per_second(),
            compressed: compressed.bytes_per_second(),
            ratio: float(compressed.bytes) / float(compressed.wire_bytes.max(1)),
        }
    }
}

impl ArchiveSums {
    fn add(&mut self, transfer: &Transfer) {
        // The sender may have worked while we waited. Only the rest can be the link's.
        let waited = transfer.worked.map(|worked| transfer.starved.saturating_sub(worked));
        self.archives += 1;
        self.bytes += transfer.bytes;
        self.wire_bytes += transfer.wire_bytes;
        self.took += transfer.took;
        self.waited += waited.unwrap_or_default();
        self.idle += transfer.took.mul_f64(transfer.idle.unwrap_or(1.0).clamp(0.0, 1.0));
    }

    fn is_enough(&self) -> bool {
        self.archives >= ENOUGH_ARCHIVES && self.took >= ENOUGH
    }

    fn is_limited_by_the_link(&self) -> bool {
        let share = |part: Duration| part.as_secs_f64() / self.took.as_secs_f64();
        let has_power = share(self.idle) >= IDLE || self.bytes_per_second() < SLOW;
        share(self.waited) >= LIMITS && has_power
    }

    fn bytes_per_second(&self) -> f64 {
        float(self.bytes) / self.took.as_secs_f64()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { encoding, plain, compressed, ratio } = self;
        let minutes = HOLDS.as_secs() / 60;
        let (plain, compressed) = (plain / 1e6, compressed / 1e6);
        write!(
            f,
            "for {minutes} minutes its archives are received in {encoding}: {plain:.1} MB/s each plain, \
             {compressed:.1} MB/s in {COMPRESSED}, {ratio:.1} times smaller"
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;
    const SECOND: Duration = Duration::from_secs(1);

    /// 32 MB in one second, of which the receiver waited `starved` and the sender worked `worked`
    /// milliseconds.
    fn plain(starved: u64, worked: Option<u64>) -> Transfer {
        Transfer {
            encoding: Encoding::Identity,
            bytes: 32 * MB,
            wire_bytes: 32 * MB,
            took: SECOND,
            starved: Duration::from_millis(starved),
            worked: worked.map(Duration::from_millis),
            idle: Some(0.5),
        }
    }

    fn limited() -> Transfer {
        plain(900, Some(100))
    }

    fn compressed(took: Duration) -> Transfer {
        Transfer { encoding: COMPRESSED, wire_bytes: 16 * MB, took, ..limited() }
    }

    /// A choice that compares, and the encoding it asks for next.
    fn comparing(now: Instant) -> Choice {
        let mut choice = Choice::default();
        assert_eq!(choice.next(now), Encoding::Identity);
        assert_eq!(choice.record(&limited(), now), None);
        choice
    }

    #[test]
    fn archives_come_plain_where_something_else_than_the_link_limits() {
        let now = Instant::now();
        let slow_disk_here = plain(100, Some(100));
        let slow_sender = plain(900, Some(880));
        let half_and_half = plain(700, Some(210));
        let older_sender = plain(1000, None);
        let busy_processors = Transfer { idle: Some(0.19), ..limited() };
        for transfer in [slow_disk_here, slow_sender, half_and_half, older_sender, busy_processors]
        {
            let mut choice = Choice::default();
            for _ in 0..20 {
                assert_eq!(choice.next(now), Encoding::Identity, "{transfer:?}");
                assert_eq!(choice.record(&transfer, now), None);
            }
        }
    }

    #[test]
    fn where_the_link_limits_both_ways_are_compared_in_turn_and_the_faster_is_kept() {
        let now = Instant::now();
        for (took, found) in [(500, COMPRESSED), (830, COMPRESSED), (840, Encoding::Identity)] {
            let mut choice = comparing(now);
            let requested = [(); 6].map(|()| choice.next(now) == COMPRESSED);
            assert_eq!(
                requested,
                [true, false, true, false, false, false],
                "no more than two at once"
            );
            let compressed = compressed(Duration::from_millis(took));
            for transfer in [compressed, limited(), compressed] {
                assert_eq!(choice.record(&transfer, now), None, "one of a kind may be chance");
            }
            let finding = choice.record(&limited(), now).unwrap();
            assert_eq!((finding.encoding, finding.ratio), (found, 2.0), "{took}");
            assert_eq!(choice.next(now + HOLDS - SECOND), found);
            assert_eq!(choice.record(&limited(), now), None);
        }
    }

    #[test]
    fn a_finding_holds_for_some_minutes_and_is_then_measured_again() {
        let now = Instant::now();
        let mut choice = comparing(now);
        let half = compressed(SECOND / 2);
        for transfer in [limited(), limited(), half, half] {
            choice.record(&transfer, now);
        }
        assert_eq!(choice.next(now), COMPRESSED);
        let later = now + HOLDS;
        assert_eq!(choice.next(later), Encoding::Identity);
        // A plain archive that was requested before arrives late. It says nothing about the plain link.
        assert_eq!(choice.record(&compressed(SECOND * 9), later), None);
        assert_eq!(choice.next(later), Encoding::Identity);
        choice.record(&limited(), later);
        assert_eq!(choice.next(later), COMPRESSED, "compared again");
    }

    #[test]
    fn over_a_slow_link_busy_processors_do_not_count() {
        let now = Instant::now();
        for (bytes, encoding) in [(7_999_999, COMPRESSED), (8_000_001, Encoding::Identity)] {
            let mut choice = Choice::default();
            choice.record(&Transfer { idle: Some(0.0), bytes, ..limited() }, now);
            assert_eq!(choice.next(now), encoding, "{bytes}");
        }
    }

    #[test]
    fn if_the_compared_archives_never_arrive_it_begins_again() {
        let now = Instant::now();
        let mut choice = comparing(now);
        let requested = |choice: &mut Choice, now| [(); 9].map(|()| choice.next(now) == COMPRESSED);
        assert_eq!(requested(&mut choice, now).iter().filter(|requested| **requested).count(), 2);
        assert_eq!(requested(&mut choice, now + HOLDS - SECOND), [false; 9]);
        assert_eq!(requested(&mut choice, now + HOLDS), [false; 9]);
        choice.record(&limited(), now + HOLDS);
        assert_eq!(choice.next(now + HOLDS), COMPRESSED);
    }

    #[test]
    fn short_archives_count_together() {
        let now = Instant::now();
        let mut choice = Choice::default();
        let short = Transfer {
            took: SECOND / 10,
            starved: SECOND / 12,
            worked: Some(SECOND / 100),
            ..limited()
        };
        for _ in 0..4 {
            choice.record(&short, now);
            assert_eq!(choice.next(now), Encoding::Identity);
        }
        choice.record(&short, now);
        assert_eq!(choice.next(now), COMPRESSED);
    }

    #[test]
    fn a_finding_says_what_was_measured() {
        let finding =
            Finding { encoding: COMPRESSED, plain: 15.2e6, compressed: 28e6, ratio: 1.83 };
        assert_eq!(
            finding.to_string(),
            "for 10 minutes its archives are received in zstd: 15.2 MB/s each plain, 28.0 MB/s in zstd, 1.8 times smaller"
        );
    }
}
