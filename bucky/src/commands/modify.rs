//! `bucky modify`: another size for one archive of a local file, or another aggregation method.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use bucky_whisper::{
    Aggregation, Header, Modification, ModifyError, ModifyFileError, ModifyOutcome, OlderSlots,
    OpenMode, Patience, Resize, Retention, WhisperFile, info, modify_file,
};

use crate::chain;
use crate::outcome::{Outcome, UsageError};
use crate::output::Output;

/// Arguments of `bucky modify`.
#[derive(clap::Args)]
#[command(
    about = "Resize an archive of a local file, or change its aggregation method",
    long_about = "Give one archive of FILE another retention, or FILE another aggregation method. All is checked before \
                  anything is touched; the new file is put in place whole, and the file as it was is kept as FILE.bak (an \
                  older FILE.bak becomes FILE.bak.1 and so on). Carbon may write meanwhile: what comes into the old file \
                  is carried over.\n\n\
                  Between average and sum the values of coarser archives are corrected by how many of the finest points \
                  they stand for, which is exact where all of those were known; with any other change they stay as they \
                  were rolled up. An archive that comes to reach farther back would hide the next coarser one, so its \
                  older slots take that one's values (a sum in equal parts), unless --leave-empty is given."
)]
pub(crate) struct Args {
    /// The file
    #[arg(short = 'f', long, value_name = "FILE")]
    file: PathBuf,
    /// The number of the archive to resize, from 0 (`bucky info` shows them)
    #[arg(long, value_name = "NUMBER", value_parser = bucky_flags::integer::<i64>(-1..=1_023), default_value_t = -1, hide_default_value = true)]
    index: i64,
    /// Its new retention, such as 1m:30d
    #[arg(long, value_name = "PRECISION:TIME")]
    retention: Option<Retention>,
    /// The new aggregation method: average, sum, last, max, min, avg_zero, absmax or absmin
    #[arg(long, value_name = "METHOD")]
    agg: Option<Aggregation>,
    /// Slots count as older by the archive's old retention, counted from now, and not by its oldest point
    #[arg(long)]
    now: bool,
    /// Leave the older slots of a grown archive empty
    #[arg(long, conflicts_with = "now")]
    leave_empty: bool,
    /// Only tell what the file would become
    #[arg(long, visible_alias = "no-op")]
    dry_run: bool,
    /// Seconds to wait for the file's lock, and for those who have it open
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = bucky_flags::integer::<u64>(0..=86_400))]
    lock_timeout: u64,
    #[command(flatten)]
    unused: Unused,
}

/// What all commands of the Go tool take, and this one has no use for.
#[derive(clap::Args)]
struct Unused {
    #[arg(short = 'h', long = "host", hide = true)]
    _host: Option<String>,
    #[arg(short = 's', long = "single", hide = true)]
    _single: bool,
    #[arg(short = 't', long = "timeout", hide = true)]
    _timeout: Option<String>,
    #[arg(short = 'v', long = "verbose", hide = true)]
    _verbose: bool,
    #[arg(long = "no-encoding", hide = true)]
    _no_encoding: bool,
    #[arg(long = "api-token-file", hide = true)]
    _api_token_file: Option<String>,
}

/// Runs it.
pub(crate) fn run(args: &Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let modification = modification(args)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let now = u32::try_from(now.as_secs())?;
    let limit = Duration::from_secs(args.lock_timeout);
    let before = info(&args.file)?;
    if args.dry_run {
        return tell_plan(args, &modification, now, limit, output);
    }
    let patience = Patience { lock: limit, writers: limit };
    match modify_file(&args.file, &modification, now, patience) {
        Ok(outcome) => Ok(tell(args, &modification, &before, &outcome, output)),
        Err(error @ ModifyFileError::Modification { .. }) => {
            Err(UsageError::because(chain(&error)))
        }
        Err(error) => Err(error.into()),
    }
}

fn modification(args: &Args) -> anyhow::Result<Modification> {
    let older_slots = match (args.leave_empty, args.now) {
        (true, _) => OlderSlots::StayEmpty,
        (false, true) => OlderSlots::BeforeOldWindow,
        (false, false) => OlderSlots::BeforeOldestPoint,
    };
    let resize = match (usize::try_from(args.index).ok(), args.retention) {
        (Some(archive), Some(retention)) => Some(Resize { archive, retention, older_slots }),
        (None, None) => None,
        (Some(_), None) => {
            return Err(UsageError::because("--index needs the new --retention, such as 1m:30d"));
        }
        (None, Some(_)) => {
            return Err(UsageError::because(
                "--retention needs the --index of the archive, from 0",
            ));
        }
    };
    if resize.is_none() && args.agg.is_none() {
        return Err(UsageError::because(
            "nothing to do; give --index and --retention, or --agg, or all three",
        ));
    }
    Ok(Modification { aggregation: args.agg, resize })
}

fn tell(
    args: &Args,
    modification: &Modification,
    before: &Header,
    outcome: &ModifyOutcome,
    output: &Output,
) -> Outcome {
    let ModifyOutcome::Done { backup, points_left_out, points_late: _, still_open } = outcome
    else {
        return Outcome::Done;
    };
    let (file, backup) = (args.file.display(), backup.display());
    if let Some(to) = modification.aggregation
        && keeps_roll_ups(before, to)
    {
        output.say(format_args!(
            "bucky: {file}: what was rolled up by {} until now stays as it is; from now on it is {to}",
            before.aggregation
        ));
    }
    if *points_left_out > 0 {
        output.say(format_args!(
            "bucky: {file}: {points_left_out} points are older than the new retention, and now only in {backup}"
        ));
    }
    if *still_open {
        output.say(format_args!(
            "bucky: {backup} is still open to another process; if that writes, run `bucky fill {backup} {file}` once it has ended"
        ));
        return Outcome::SomeFailed;
    }
    Outcome::Done
}

/// Whether coarser archives keep values that the new method would not have made.
fn keeps_roll_ups(before: &Header, to: Aggregation) -> bool {
    let corrected = [Aggregation::Average, Aggregation::Sum];
    let is_corrected = corrected.contains(&before.aggregation) && corrected.contains(&to);
    before.archives.len() > 1 && before.aggregation != to && !is_corrected
}

/// What the file would become: checked as the run itself would.
fn tell_plan(
    args: &Args,
    modification: &Modification,
    now: u32,
    limit: Duration,
    output: &Output,
) -> anyhow::Result<Outcome> {
    let file = WhisperFile::open(&args.file, OpenMode::Read, limit)?;
    let bytes = file.read()?;
    let image =
        bucky_whisper::Image::parse(&bytes).with_context(|| args.file.display().to_string())?;
    let not_so = |error: ModifyError| {
        UsageError::because(format!(
            "{} cannot be modified so: {}",
            args.file.display(),
            chain(&error)
        ))
    };
    let modified = bucky_whisper::modify(&image, modification, now).map_err(not_so)?;
    let after = bucky_whisper::Image::parse(&modified.bytes)
        .with_context(|| format!("what {} would become", args.file.display()))?;
    for (label, image) in [("now", &image), ("then", &after)] {
        let retentions: Vec<String> = image.archives().map(|view| retention_text(&view)).collect();
        let points: usize = image.archives().map(|view| view.points_valid(now).count()).sum();
        output.data_line(format_args!(
            "{label}: {} {}, {} bytes, {points} points",
            image.header().aggregation,
            retentions.join(","),
            image.bytes().len()
        ))?;
    }
    Ok(Outcome::Done)
}

fn retention_text(view: &bucky_whisper::ArchiveView<'_>) -> String {
    let archive = view.archive();
    Retention::new(archive.seconds_per_point, archive.points)
        .map_or_else(|_| String::new(), |retention| retention.to_string())
}
