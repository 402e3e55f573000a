//! The long form of the stories that prove that nothing is lost.
//!
//! A story that has chance in it asks here how often to run, and tells here what it has looked at. `scripts/test` runs the
//! short form; `scripts/soak` sets `BUCKY_SOAK` and runs the long one, and makes a table of the report.

use std::fs::File;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Set, and not empty, for the long form.
const LONG: &str = "BUCKY_SOAK";
/// The file to which a line is added for each story that ended well.
const REPORT: &str = "BUCKY_SOAK_REPORT";
/// Repeats a run that failed: its number, as the run has printed it.
const SEED: &str = "BUCKY_SEED";

/// How often a story runs: `short` under `scripts/test`, `long` under `scripts/soak`.
pub fn rounds(short: usize, long: usize) -> usize {
    if std::env::var_os(LONG).is_some_and(|value| !value.is_empty()) { long } else { short }
}

/// The number that a story's chance begins with. It is printed, so that a run that fails can be repeated with
/// `BUCKY_SEED`.
///
/// # Panics
/// Where `BUCKY_SEED` is no number.
pub fn seed(story: &str) -> u64 {
    let given = std::env::var(SEED).ok().map(|text| text.parse().expect("BUCKY_SEED is a number"));
    let seed = given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) ^ now.as_secs()
    });
    tell(&format!("{story}: {SEED}={seed}"));
    seed
}

/// Adds a story that ended well to the report: how many times it ran, how many events it went through (kills, say;
/// name them), and how many points were looked for and found.
///
/// # Panics
/// Where the report cannot be written.
pub fn record(story: &str, runs: usize, events: &str, points: u64) {
    let line = format!("{story}\t{runs}\t{events}\t{points}\t0");
    tell(&line);
    let Some(path) = std::env::var_os(REPORT) else { return };
    let mut report = File::options().create(true).append(true).open(path).unwrap();
    writeln!(report, "{line}").unwrap();
}

#[expect(clippy::print_stderr, reason = "the test harness shows it where the story fails")]
fn tell(line: &str) {
    eprintln!("{line}");
}
