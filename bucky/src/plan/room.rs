//! How much of a destination's room a run may use: its free bytes and its free inodes, less a reserve for
//! carbon.
//!
//! Pure.

use std::fmt;
use std::str::FromStr;

use bucky_api::DiskStatus;

use super::Load;
use crate::output::{human_bytes, human_count};

/// The percentage of inodes that stays free if the reserve is given in bytes.
const INODES_PERCENT: f64 = 5.0;

/// What stays free for carbon at each destination (`--reserve`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reserve {
    /// This share of a file system's bytes, and of its inodes.
    Percent(f64),
    /// This many bytes.
    Bytes(u64),
}

impl Reserve {
    /// No reserve.
    pub(crate) const NONE: Self = Self::Bytes(0);

    /// The reserve on this file system: bytes and inodes.
    fn of(self, disk: &DiskStatus) -> (u64, u64) {
        let total_inodes = disk.total_inodes.unwrap_or(0);
        match self {
            Self::Percent(percent) => {
                (share(disk.total_bytes, percent), share(total_inodes, percent))
            }
            Self::Bytes(0) => (0, 0),
            Self::Bytes(bytes) => (bytes, share(total_inodes, INODES_PERCENT)),
        }
    }
}

/// `percent` of `total`, rounded down.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of 0 to 100 percent, to a few bytes"
)]
fn share(total: u64, percent: f64) -> u64 {
    ((total as f64) * percent / 100.0) as u64
}

impl FromStr for Reserve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("not a valid reserve: {text:?} (try 5% or 50G)");
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.parse().map_err(|_| bad())?;
            return (0.0..=100.0)
                .contains(&percent)
                .then_some(Self::Percent(percent))
                .ok_or_else(bad);
        }
        let (digits, factor) = match text.as_bytes() {
            [.., b'k' | b'K'] => (&text[..text.len() - 1], 1 << 10),
            [.., b'm' | b'M'] => (&text[..text.len() - 1], 1 << 20),
            [.., b'g' | b'G'] => (&text[..text.len() - 1], 1 << 30),
            [.., b't' | b'T'] => (&text[..text.len() - 1], 1 << 40),
            _ => (text, 1),
        };
        let number: u64 = digits.parse().map_err(|_| bad())?;
        number.checked_mul(factor).map(Self::Bytes).ok_or_else(bad)
    }
}

/// What a destination lacks for its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    load: Load,
    bytes: Option<Shortfall>,
    inodes: Option<Shortfall>,
}

/// What is free and what is reserved of it; the load needs more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shortfall {
    free: u64,
    reserved: u64,
}

impl Shortfall {
    fn of(wanted: u64, free: u64, reserved: u64) -> Option<Self> {
        let is_short = wanted > 0 && free.saturating_sub(reserved) < wanted;
        is_short.then_some(Self { free, reserved })
    }
}

impl Shortage {
    /// What `disk` lacks for `load`, or `None` if it has the room. Each metric counts as a file to be
    /// created.
    pub(crate) fn of(load: Load, disk: &DiskStatus, reserve: Reserve) -> Option<Self> {
        let (bytes, inodes) = reserve.of(disk);
        let shortage = Self {
            load,
            bytes: Shortfall::of(load.bytes, disk.free_bytes, bytes),
            inodes: disk.free_inodes.and_then(|free| Shortfall::of(load.metrics, free, inodes)),
        };
        (shortage.bytes.is_some() || shortage.inodes.is_some()).then_some(shortage)
    }

    /// A word for the table of the plan.
    pub(crate) fn word(&self) -> &'static str {
        match (self.bytes, self.inodes) {
            (Some(_), Some(_)) => "NO: bytes, inodes",
            (None, _) => "NO: inodes",
            (_, None) => "NO: bytes",
        }
    }

    /// A sentence for bytes and one for inodes, if the destination called `addr` lacks them.
    pub(crate) fn sentences(&self, addr: &str) -> Vec<String> {
        let bytes = self.bytes.map(|lack| {
            let (wanted, free) = (human_bytes(self.load.bytes), human_bytes(lack.free));
            let reserved = Reserved(lack.reserved, human_bytes(lack.reserved));
            format!("{addr} would get {wanted} and has {free} free{reserved}")
        });
        let inodes = self.inodes.map(|lack| {
            let (wanted, free) = (human_count(self.load.metrics), human_count(lack.free));
            let reserved = Reserved(lack.reserved, human_count(lack.reserved));
            format!("{addr} would get {wanted} files and has {free} inodes free{reserved}")
        });
        bytes.into_iter().chain(inodes).collect()
    }
}

struct Reserved(u64, String);

impl fmt::Display for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return Ok(());
        }
        write!(f, ", {} reserved for carbon (--reserve)", self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn disk(free_bytes: u64, free_inodes: u64) -> DiskStatus {
        DiskStatus {
            total_bytes: 100 * GIB,
            free_bytes,
            total_inodes: Some(1_000_000),
            free_inodes: Some(free_inodes),
        }
    }

    fn load(metrics: u64, bytes: u64) -> Load {
        Load { metrics, bytes, unknown: 0 }
    }

    #[test]
    fn a_reserve_is_a_share_or_a_number_of_bytes() {
        for (text, reserve) in [
            ("5%", Reserve::Percent(5.0)),
            ("2.5%", Reserve::Percent(2.5)),
            ("0%", Reserve::Percent(0.0)),
            ("100%", Reserve::Percent(100.0)),
            ("0", Reserve::NONE),
            ("4096", Reserve::Bytes(4096)),
            ("50G", Reserve::Bytes(50 * GIB)),
            ("1t", Reserve::Bytes(1 << 40)),
        ] {
            assert_eq!(text.parse(), Ok(reserve), "{text}");
        }
        for text in
            ["", "%", "5 %", "-1%", "101%", "NaN%", "inf%", "x", "5Q", "-5", "99999999999T", "é"]
        {
            let error = text.parse::<Reserve>().unwrap_err();
            assert!(error.contains("try 5% or 50G"), "{text}: {error}");
        }
    }

    #[test]
    fn a_shortage_of_bytes_or_inodes_or_both_is_reported() {
        let reserve = Reserve::Percent(5.0);
        let of = |load, disk: &DiskStatus| Shortage::of(load, disk, reserve);
        assert_eq!(of(load(10, 5 * GIB), &disk(10 * GIB, 60_000)), None);
        let bytes = of(load(10, 6 * GIB), &disk(10 * GIB, 60_000)).unwrap();
        assert_eq!(bytes.word(), "NO: bytes");
        let addr = "graphite-4:4242";
        assert_eq!(
            bytes.sentences(addr),
            [
                "graphite-4:4242 would get 6.0 GiB and has 10.0 GiB free, 5.0 GiB reserved for carbon (--reserve)"
            ]
        );
        let inodes = of(load(10_001, GIB), &disk(10 * GIB, 60_000)).unwrap();
        assert_eq!(inodes.word(), "NO: inodes");
        assert_eq!(
            inodes.sentences(addr),
            [
                "graphite-4:4242 would get 10,001 files and has 60,000 inodes free, 50,000 reserved for carbon \
                 (--reserve)"
            ]
        );
        let both = of(load(1, 1), &disk(GIB, 7)).unwrap();
        assert_eq!((both.word(), both.sentences(addr).len()), ("NO: bytes, inodes", 2));
    }

    #[test]
    fn a_daemon_or_file_system_that_counts_no_inodes_lacks_none() {
        let disk = DiskStatus { total_inodes: None, free_inodes: None, ..disk(10 * GIB, 0) };
        assert_eq!(Shortage::of(load(1_000_000, GIB), &disk, Reserve::Percent(5.0)), None);
    }

    #[test]
    fn without_a_reserve_everything_may_be_used_and_no_reserve_is_shown() {
        let full = load(100, 10 * GIB);
        assert_eq!(Shortage::of(full, &disk(10 * GIB, 100), Reserve::NONE), None);
        let short =
            Shortage::of(load(100, 10 * GIB + 1), &disk(10 * GIB, 100), Reserve::NONE).unwrap();
        let sentences = short.sentences("a:4242");
        assert_eq!(sentences, ["a:4242 would get 10.0 GiB and has 10.0 GiB free"]);
        let nothing = load(0, 0);
        assert_eq!(Shortage::of(nothing, &disk(0, 0), Reserve::Percent(5.0)), None);
    }
}
