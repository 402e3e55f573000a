//! How idle this machine's processors are. If they are busy, they are the limit and not the link.

/// A moment, with the kernel's counts of what all processors have done since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    idle: u64,
    all: u64,
}

impl Moment {
    /// The present moment. `None` if the kernel does not report it.
    pub(crate) fn now() -> Option<Self> {
        std::fs::read_to_string("/proc/stat").ok().and_then(|stat| Self::of(&stat))
    }

    /// Parses `/proc/stat` (`proc(5)`): `cpu USER NICE SYSTEM IDLE IOWAIT IRQ SOFTIRQ STEAL …`. A processor
    /// that waits for a disk counts as idle.
    fn of(stat: &str) -> Option<Self> {
        let numbers = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let ticks: Vec<u64> = numbers.take(8).map_while(|number| number.parse().ok()).collect();
        let waiting = ticks.get(4).copied().unwrap_or_default();
        Some(Self {
            idle: ticks.get(3)?.saturating_add(waiting),
            all: ticks.iter().fold(0, |sum: u64, ticks| sum.saturating_add(*ticks)),
        })
    }

    /// The share of the time from `self` to `now` in which processors were idle. `None` if no time has
    /// passed.
    pub(crate) fn idle_until(self, now: Self) -> Option<f64> {
        let all = now.all.checked_sub(self.all).filter(|all| *all > 0)?;
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        let share = now.idle.saturating_sub(self.idle) as f64 / all as f64;
        Some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_that_wait_for_a_disk_are_idle_too() {
        let then = Moment::of("cpu  100 0 50 800 50 0 0 0 9 9\ncpu0 1 2 3\n").unwrap();
        assert_eq!(then, Moment { idle: 850, all: 1000 });
        let now = Moment::of("cpu  150 0 50 825 50 0 0 25 9 9\n").unwrap();
        assert_eq!(then.idle_until(now), Some(0.25));
        assert_eq!(then.idle_until(then), None);
        assert_eq!(now.idle_until(then), None);
        for stat in ["", "cpu", "cpu  1 2 3", "cpu0 1 2 3 4", "cpu  1 2 3 x"] {
            assert_eq!(Moment::of(stat), None, "{stat:?}");
        }
    }

    #[test]
    fn the_kernel_reports_idle_processors() {
        assert!(Moment::now().is_some());
    }
}
