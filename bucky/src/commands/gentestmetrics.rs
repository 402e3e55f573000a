//! `bucky gentestmetrics`: made-up points in carbon's line protocol, to test a cluster.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use bucky_api::clock::whisper_now;

use crate::outcome::{Outcome, UsageError};
use crate::output::Output;

/// Arguments of `bucky gentestmetrics`.
#[derive(clap::Args)]
#[command(
    about = "Print test points in carbon's plaintext format",
    long_about = "Print lines `NAME VALUE TIMESTAMP`, as carbon's plaintext port expects them. Rounds follow \
                  each other, oldest first. The last round has the time of -s, rounded down to a multiple of \
                  -i.\n\n\
                  Also available as `gentestmetrics`, a link to `bucky`, with the flags of the Go program of \
                  that name.",
    after_help = "Examples:\n\
        \x20 bucky gentestmetrics -c 1000 | nc graphite-1 2003"
)]
pub(crate) struct Args {
    /// First part of each name
    #[arg(short = 'p', long, value_name = "TEXT", default_value = "test.")]
    prefix: String,
    /// Number of names, counted from 000000
    #[arg(short = 'c', long, value_name = "NUMBER", default_value_t = 1000, value_parser = bucky_flags::integer::<u64>(0..=i64::MAX))]
    count: u64,
    /// Number of points for each name
    #[arg(short = 'x', long, value_name = "NUMBER", default_value_t = 1, value_parser = bucky_flags::integer::<u32>(0..=i64::from(u32::MAX)))]
    iterations: u32,
    /// Seconds between two points of a name
    #[arg(short = 'i', long, value_name = "SECONDS", default_value_t = 60, value_parser = bucky_flags::integer::<u32>(1..=i64::from(u32::MAX)))]
    interval: u32,
    /// Values are whole numbers from 0 up to, but not including, this
    #[arg(short = 'l', long, value_name = "NUMBER", default_value_t = 100, value_parser = bucky_flags::integer::<i64>(1..=i64::MAX))]
    limit: i64,
    /// Use this value everywhere
    #[arg(short = 'v', long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = bucky_flags::integer::<i64>(i64::MIN..=i64::MAX))]
    value: Option<i64>,
    /// Use the names in this file, one a line, and ignore -c
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Time of the last point, in Unix seconds [default: now]
    #[arg(short = 's', long, value_name = "TIMESTAMP", value_parser = bucky_flags::integer::<i64>(i64::MIN..=i64::MAX))]
    start: Option<i64>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let start = match args.start {
        Some(start) => start,
        None => i64::from(whisper_now()?),
    };
    let listed = match &args.file {
        None => None,
        Some(path) => Some(
            std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the names in {}", path.display()))?,
        ),
    };
    let mut chance = fastrand::Rng::new();
    for timestamp in timestamps(start, args.interval, args.iterations)? {
        let mut point = |name: &dyn std::fmt::Display| {
            let value = args.value.unwrap_or_else(|| chance.i64(0..args.limit));
            output.data_line(format_args!("{}{name} {value} {timestamp}", args.prefix))
        };
        match &listed {
            Some(text) => text
                .lines()
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .try_for_each(|name| point(&name))?,
            None => (0..args.count).try_for_each(|number| point(&format_args!("{number:06}")))?,
        }
    }
    Ok(Outcome::Done)
}

/// The times of all rounds, oldest first; the last is `start`, rounded down.
///
/// # Errors
/// [`UsageError`] if the first time would be too small for an integer.
fn timestamps(
    start: i64,
    interval: u32,
    iterations: u32,
) -> anyhow::Result<impl Iterator<Item = i64>> {
    let interval = i64::from(interval);
    let last = start - start.rem_euclid(interval);
    let first = interval
        .checked_mul(i64::from(iterations) - 1)
        .and_then(|span| last.checked_sub(span))
        .ok_or_else(|| UsageError::because("this many points would begin before 1970"))?;
    Ok((0..i64::from(iterations)).map(move |round| first + round * interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_come_oldest_first_and_end_at_the_start_rounded_down() {
        let times = |start, interval, rounds| -> Vec<i64> {
            timestamps(start, interval, rounds).unwrap().collect()
        };
        assert_eq!(times(1_700_000_059, 60, 1), [1_700_000_040]);
        assert_eq!(times(1_700_000_040, 60, 3), [1_699_999_920, 1_699_999_980, 1_700_000_040]);
        assert_eq!(times(5, 10, 2), [-10, 0]);
        assert_eq!(times(100, 7, 0), [0; 0]);
        assert!(timestamps(i64::MIN + 10, 10, 100).is_err());
    }
}
