//! The long form of the tests that prove that no point is lost.
//!
//! A test with random parts asks this module how many times to run, and reports what it has checked.
//! `scripts/test` runs the short form. `scripts/soak` sets `BUCKY_SOAK`, runs the long form, and makes a
//! table of the report.

use std::fs::File;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Set, and not empty, for the long form.
const LONG: &str = "BUCKY_SOAK";
/// The file that gets a line for each test that has passed.
const REPORT: &str = "BUCKY_SOAK_REPORT";
/// Repeats a failed run by its seed, which the run has printed.
const SEED: &str = "BUCKY_SEED";

/// How many times a test runs: `short` under `scripts/test`, `long` under `scripts/soak`.
pub fn rounds(short: usize, long: usize) -> usize {
    if std::env::var_os(LONG).is_some_and(|value| !value.is_empty()) { long } else { short }
}

/// The seed of a test's random numbers. It is printed, so that a failed run can be repeated with
/// `BUCKY_SEED`.
///
/// # Panics
/// If `BUCKY_SEED` is not a number.
pub fn seed(story: &str) -> u64 {
    let given = std::env::var(SEED).ok().map(|text| text.parse().expect("BUCKY_SEED is a number"));
    let seed = given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) ^ now.as_secs()
    });
    print(&format!("{story}: {SEED}={seed}"));
    seed
}

/// Adds a passed test to the report: how many times it ran, the events in it (named, such as kills), and how
/// many points were checked and found.
///
/// # Panics
/// If the report cannot be written.
pub fn record(story: &str, runs: usize, events: &str, points: u64) {
    let line = format!("{story}\t{runs}\t{events}\t{points}\t0");
    print(&line);
    let Some(path) = std::env::var_os(REPORT) else { return };
    let mut report = File::options().create(true).append(true).open(path).unwrap();
    writeln!(report, "{line}").unwrap();
}

#[expect(clippy::print_stderr, reason = "the test harness shows it where the story fails")]
fn print(line: &str) {
    eprintln!("{line}");
}
