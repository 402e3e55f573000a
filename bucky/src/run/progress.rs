//! Progress for people: a bar on a terminal, and otherwise a line now and then.
//!
//! It counts metrics that are finished, never those that were only started.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::tally::Tally;
use crate::output::{Output, human_bytes, human_count, human_duration};

/// How often a line is printed.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// How often the bar is drawn.
const BAR_INTERVAL: Duration = Duration::from_millis(250);

/// The numbers that are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Metrics that are finished.
    pub(crate) finished: u64,
    /// Metrics that were planned.
    pub(crate) planned: u64,
    /// Bytes that travelled.
    pub(crate) bytes: u64,
    /// Metrics that failed.
    pub(crate) failed: u64,
    /// Time since the start.
    pub(crate) elapsed: Duration,
}

impl Snapshot {
    /// The text of these numbers.
    fn line(&self) -> String {
        let percent =
            (self.finished.min(self.planned) * 100).checked_div(self.planned).unwrap_or(100);
        let left = self.eta().map_or_else(|| "?".to_owned(), human_duration);
        let failed = match self.failed {
            0 => String::new(),
            count => format!(", {} failed", human_count(count)),
        };
        format!(
            "Progress {} / {}: {percent}%{failed}, {}, {}/s, {} left",
            human_count(self.finished),
            human_count(self.planned),
            human_bytes(self.bytes),
            human_bytes(self.bytes_per_second()),
            left,
        )
    }

    fn bytes_per_second(&self) -> u64 {
        let millis = self.elapsed.as_millis().max(1);
        u64::try_from(u128::from(self.bytes) * 1000 / millis).unwrap_or(u64::MAX)
    }

    /// How long the rest will take at the rate so far.
    fn eta(&self) -> Option<Duration> {
        let left = self.planned.saturating_sub(self.finished);
        let millis = self.elapsed.as_millis() * u128::from(left) / u128::from(self.finished.max(1));
        (self.finished > 0)
            .then(|| Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
    }
}

/// Shows how far a run is.
pub(crate) trait Progress: Send {
    /// How often it is called.
    fn interval(&self) -> Duration;
    /// Shows these numbers.
    fn show(&mut self, snapshot: &Snapshot);
    /// Removes what would be in the way of the summary.
    fn end(&mut self);
}

/// The kind of progress that suits `output`.
pub(crate) fn for_output(output: &Arc<Output>) -> Box<dyn Progress> {
    if output.is_terminal() {
        Box::new(Bar::new(output))
    } else {
        Box::new(ProgressLines { output: Arc::clone(output) })
    }
}

/// Shows the progress of `tally` from time to time. It never returns; abort it.
pub(crate) async fn watch(progress: &mut dyn Progress, tally: &Tally, planned: u64) {
    let mut interval = tokio::time::interval(progress.interval());
    interval.tick().await;
    loop {
        interval.tick().await;
        progress.show(&snapshot(tally, planned));
    }
}

/// The line that says how far `tally` is, of `planned` metrics.
pub(crate) fn line(tally: &Tally, planned: u64) -> String {
    snapshot(tally, planned).line()
}

fn snapshot(tally: &Tally, planned: u64) -> Snapshot {
    let counts = tally.counts();
    Snapshot {
        finished: counts.finished,
        planned,
        bytes: counts.bytes,
        failed: counts.failures(),
        elapsed: tally.elapsed(),
    }
}

/// Prints a line now and then.
struct ProgressLines {
    output: Arc<Output>,
}

impl Progress for ProgressLines {
    fn interval(&self) -> Duration {
        LINE_INTERVAL
    }

    fn show(&mut self, snapshot: &Snapshot) {
        self.output.say(snapshot.line());
    }

    fn end(&mut self) {}
}

/// Draws a bar.
struct Bar {
    bar: ProgressBar,
}

impl Bar {
    fn new(output: &Output) -> Self {
        let bar = output.bars().add(ProgressBar::new(0));
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }
}

impl Progress for Bar {
    fn interval(&self) -> Duration {
        BAR_INTERVAL
    }

    fn show(&mut self, snapshot: &Snapshot) {
        self.bar.set_length(snapshot.planned.max(snapshot.finished));
        self.bar.set_position(snapshot.finished);
        self.bar.set_message(snapshot.line());
    }

    fn end(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::failure_files::FailureFiles;

    fn shown(finished: u64, failed: u64) -> String {
        let elapsed = Duration::from_secs(10);
        Snapshot { finished, planned: 3_000, bytes: finished * 4096, failed, elapsed }.line()
    }

    #[test]
    fn a_line_shows_how_far_how_fast_and_how_long() {
        assert_eq!(shown(1_000, 0), "Progress 1,000 / 3,000: 33%, 3.9 MiB, 400.0 KiB/s, 20s left");
        assert_eq!(
            shown(3_000, 7),
            "Progress 3,000 / 3,000: 100%, 7 failed, 11.7 MiB, 1.1 MiB/s, 0.0s left"
        );
    }

    #[test]
    fn nothing_finished_is_nothing_known() {
        assert_eq!(shown(0, 0), "Progress 0 / 3,000: 0%, 0 B, 0 B/s, ? left");
        let none =
            Snapshot { finished: 0, planned: 0, bytes: 0, failed: 0, elapsed: Duration::ZERO };
        assert_eq!(none.line(), "Progress 0 / 0: 100%, 0 B, 0 B/s, ? left");
    }

    /// D35: the Go tool counts what was started, and shows 100 % with nothing done.
    #[test]
    fn progress_shows_finished_metrics_only() {
        let output = Output::to_writers(Box::new(std::io::sink()), Box::new(std::io::sink()));
        let tally = Tally::begin(FailureFiles::default(), Arc::new(output));
        assert_eq!(snapshot(&tally, 2).finished, 0);
        tally.gone();
        tally.skipped();
        assert_eq!(snapshot(&tally, 2).finished, 2);
    }
}
