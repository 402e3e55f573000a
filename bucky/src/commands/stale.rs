//! `bucky stale`: prints those metrics of a list whose local files get no more writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bucky_api::clock::whisper_now;
use bucky_flags::integer;
use bucky_whisper::{OpenMode, WhisperFile};

use crate::chain;
use crate::metric_path::{STORAGE_DIR, to_path};
use crate::name_stream::ListArgs;
use crate::outcome::Outcome;
use crate::output::Output;

/// How long to wait for a file's lock.
const LOCK_LIMIT: Duration = Duration::from_secs(5);
/// Seconds in an hour.
const HOUR: u32 = 3600;
/// The most hours that can be asked for: some hundred years.
const HOURS_MOST: i64 = 1_000_000;

/// Arguments of `bucky stale`.
#[derive(clap::Args)]
#[command(
    about = "From a list of metrics, print those whose local files are no longer written to",
    long_about = "From a list of metrics, print those whose local files had no write for some hours: by the \
                  modification time or, with -w, by the points in the file. A file that is missing or cannot \
                  be read is reported on standard error and never printed.",
    after_help = "Examples:\n\
        \x20 bucky list -h localhost -s | bucky stale -o 48"
)]
pub(crate) struct Args {
    /// Print the metrics that are not stale
    #[arg(short = 'r', long)]
    reverse: bool,
    /// Folder of the files
    #[arg(short = 'd', long, value_name = "FOLDER", default_value = STORAGE_DIR)]
    storage_dir: PathBuf,
    /// Hours without a write after which a metric is stale
    #[arg(short = 'l', long, value_name = "HOURS", default_value_t = 24, value_parser = integer::<u32>(1..=HOURS_MOST))]
    limit: u32,
    /// Check only points that are at least this many hours old (implies -w)
    #[arg(short = 'o', long, value_name = "HOURS", default_value_t = 0, value_parser = integer::<u32>(0..=HOURS_MOST))]
    offset: u32,
    /// Check the points in the file instead of its modification time
    #[arg(short = 'w', long)]
    whisper: bool,
    /// Print paths instead of names
    #[arg(short = 'p', long)]
    paths: bool,
    #[command(flatten)]
    list: ListArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let now = Duration::from_secs(u64::from(whisper_now()?));
    let mut outcome = Outcome::Done;
    for line in args.list.open()? {
        let looked = match line {
            Ok(name) => look(&name, args, now),
            Err(error) if error.is_of_that_line() => Err(chain(&error)),
            Err(error) => return Err(error.into()),
        };
        match looked {
            Ok(Some(text)) => output.data_line(text)?,
            Ok(None) => {}
            Err(reason) => {
                output.say(format_args!("bucky: {reason}"));
                outcome = Outcome::SomeFailed;
            }
        }
    }
    Ok(outcome)
}

/// What is printed for a metric, if anything.
fn look(name: &str, args: &Args, now: Duration) -> Result<Option<String>, String> {
    let path = to_path(name, Some(&args.storage_dir))?;
    let is_stale = if args.whisper || args.offset > 0 {
        has_no_points(&path, args.limit, args.offset, now)?
    } else {
        is_unchanged(&path, args.limit, now)?
    };
    let text = || if args.paths { path.display().to_string() } else { name.to_owned() };
    Ok((is_stale != args.reverse).then(text))
}

/// Whether the file was last changed longer ago than `hours`.
fn is_unchanged(path: &Path, hours: u32, now: Duration) -> Result<bool, String> {
    let in_context = |error: std::io::Error| format!("{}: {error}", path.display());
    // For a link, the file that it points to counts: carbon writes to that.
    let metadata = std::fs::metadata(path).map_err(in_context)?;
    if !metadata.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    let modified = metadata.modified().map_err(in_context)?;
    // A time before 1970 is long ago, too.
    let modified = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(modified + Duration::from_secs(u64::from(hours) * u64::from(HOUR)) < now)
}

/// Whether the file has no point in the `hours` until `offset` hours ago, in the archive that a reader would
/// get.
fn has_no_points(path: &Path, hours: u32, offset: u32, now: Duration) -> Result<bool, String> {
    let seconds = |hours: u32| hours.saturating_mul(HOUR);
    let now = u32::try_from(now.as_secs()).map_err(|error| error.to_string())?;
    let until = now.saturating_sub(seconds(offset));
    let from = until.saturating_sub(seconds(hours));
    let file =
        WhisperFile::open(path, OpenMode::Read, LOCK_LIMIT).map_err(|error| chain(&error))?;
    let fetched = file.fetch(from, until, now).map_err(|error| chain(&error))?;
    // There are no points before the oldest retention either.
    Ok(fetched.is_none_or(|fetched| fetched.values.iter().all(Option::is_none)))
}
