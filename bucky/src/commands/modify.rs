//! `bucky modify`: changes the retention of one archive of a local file, or its aggregation method.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bucky_api::clock::whisper_now;
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
    about = "Change the retention of an archive or the aggregation method of a local file",
    long_about = "Give one archive of FILE another retention, or give FILE another aggregation method. \
                  Everything is checked before anything is changed. The new file replaces the old one in one \
                  step, and the old one is kept as FILE.bak (an older FILE.bak becomes FILE.bak.1, and so on). \
                  Carbon may write meanwhile: those points are carried over.\n\n\
                  Between average and sum, the values of coarser archives are converted by the number of \
                  finest points that each stands for. This is exact if all of these points were known. With \
                  any other change, coarser values stay as they are. If an archive gets a longer retention, it \
                  would hide the next coarser one, so its older slots take the values of that one (for sum, in \
                  equal parts), unless --leave-empty is given.",
    after_help = "Examples:\n\
        \x20 bucky modify -f app.wsp --index 0 --retention 1m:30d --dry-run\n\
        \x20     show what would change\n\
        \x20 bucky modify -f app.wsp --agg sum"
)]
pub(crate) struct Args {
    /// The file to modify
    #[arg(short = 'f', long, value_name = "FILE")]
    file: PathBuf,
    /// Number of the archive to resize, counted from 0 (see `bucky info`)
    #[arg(long, value_name = "NUMBER", value_parser = bucky_flags::integer::<i64>(-1..=1_023), default_value_t = -1, hide_default_value = true)]
    index: i64,
    /// New retention of that archive, such as 1m:30d
    #[arg(long, value_name = "PRECISION:TIME")]
    retention: Option<Retention>,
    /// New aggregation method: average, sum, last, max, min, avg_zero, absmax or absmin
    #[arg(long, value_name = "METHOD")]
    agg: Option<Aggregation>,
    /// Older slots begin at the old retention, counted from now, instead of at the oldest point
    #[arg(long)]
    now: bool,
    /// Leave the older slots of an archive empty when its retention grows
    #[arg(long, conflicts_with = "now")]
    leave_empty: bool,
    /// Only show what the file would become
    #[arg(long, visible_alias = "no-op")]
    dry_run: bool,
    /// Seconds to wait for the lock of the file, and for other processes to close it
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = bucky_flags::integer::<u64>(0..=86_400))]
    lock_timeout: u64,
    #[command(flatten)]
    unused: Unused,
}

/// Arguments that all commands of the Go tool take and this one does not use.
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

/// Runs the command.
pub(crate) fn run(args: &Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let modification = modification(args)?;
    let now = whisper_now()?;
    let limit = Duration::from_secs(args.lock_timeout);
    let before = info(&args.file)?;
    if args.dry_run {
        return print_plan(args, &modification, now, limit, output);
    }
    let patience = Patience { lock: limit, writers: limit };
    match modify_file(&args.file, &modification, now, patience) {
        Ok(outcome) => Ok(print_outcome(args, &modification, &before, &outcome, output)),
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
            return Err(UsageError::because("--index needs --retention, such as 1m:30d"));
        }
        (None, Some(_)) => {
            return Err(UsageError::because(
                "--retention needs --index, the number of the archive (from 0)",
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

fn print_outcome(
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
            "bucky: {file}: points that were already rolled up by {} stay as they are; new ones are rolled up \
             by {to}",
            before.aggregation
        ));
    }
    if *points_left_out > 0 {
        output.say(format_args!(
            "bucky: {file}: {points_left_out} points are older than the new retention, and are now only in {backup}"
        ));
    }
    if *still_open {
        output.say(format_args!(
            "bucky: another process still has {backup} open; if it writes to it, run `bucky fill {backup} \
             {file}` after it has ended"
        ));
        return Outcome::SomeFailed;
    }
    Outcome::Done
}

/// Whether coarser archives keep values that the new method would not have computed.
fn keeps_roll_ups(before: &Header, to: Aggregation) -> bool {
    let corrected = [Aggregation::Average, Aggregation::Sum];
    let is_corrected = corrected.contains(&before.aggregation) && corrected.contains(&to);
    before.archives.len() > 1 && before.aggregation != to && !is_corrected
}

/// Prints what the file would become; checked as the run itself would.
fn print_plan(
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
            "cannot modify {} like this: {}",
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
