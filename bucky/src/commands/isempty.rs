//! `bucky isempty`: which local files hold no point that carbon would still serve.
//!
//! A point counts as long as it is inside the retention of its archive, counted from now, as for carbon
//! itself. A file that has only older points reads as empty, and is listed. `--never-written` lists only
//! files that never had a point (D49).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bucky_api::clock::whisper_now;
use bucky_whisper::{Image, OpenError, OpenMode, Point, WhisperFile};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use walkdir::WalkDir;

use crate::outcome::Outcome;
use crate::output::Output;

/// How long to wait for a file's lock.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// Arguments of `bucky isempty`.
#[derive(clap::Args)]
#[command(
    about = "List local files that have no point inside their retention",
    long_about = "Print the path of each file whose points are all older than their retention, counted from now, \
                  or that has none: carbon would return no data from it. Without arguments, all files below the prefix are \
                  checked.\n\n\
                  Also available as `bucky-isempty`, a link to `bucky`, with the flags of the Go program of \
                  that name.",
    after_help = "Examples:\n\
        \x20 bucky isempty -p /opt/graphite/storage/whisper\n\
        \x20 bucky isempty app.wsp"
)]
pub(crate) struct Args {
    /// Print metric names instead of paths
    #[arg(short = 'm', long = "metricname")]
    metric_name: bool,
    /// Print the newest point of each file
    #[arg(short = 'l', long)]
    last: bool,
    /// Print the number of points in each file
    #[arg(short = 'd', long)]
    debug: bool,
    /// List only files that never got a point; a file whose points are all too old is not listed
    #[arg(long)]
    never_written: bool,
    /// Folder to search when no file is given; names are relative to it
    #[arg(
        short = 'p',
        long,
        value_name = "FOLDER",
        default_value = "/opt/graphite/storage/whisper"
    )]
    prefix: PathBuf,
    /// Accepted for compatibility with the Go tool; it has no effect there either
    #[arg(long, value_name = "SECONDS", hide = true)]
    timeout: Option<String>,
    /// Accepted for compatibility with the Go tool; it has no effect there either
    #[arg(long = "cache_path", value_name = "FILE", hide = true)]
    cache_path: Option<String>,
    /// Local files, which must end in .wsp
    #[arg(value_name = "FILE.wsp")]
    files: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let now = whisper_now()?;
    let look = |path: &Path| match examine_file(path, now) {
        Ok(examined) => print_result(path, &examined, args, output),
        // If a file was moved or removed during a walk, the walk has not failed.
        Err(error) if args.files.is_empty() && is_gone(&error) => Ok(Outcome::Done),
        Err(error) => {
            output.say(format_args!("bucky: {error:#}"));
            Ok(Outcome::SomeFailed)
        }
    };
    if args.files.is_empty() {
        return walk(&args.prefix, output, look);
    }
    let mut outcome = Outcome::Done;
    for path in &args.files {
        outcome = outcome.and(look(path)?);
    }
    Ok(outcome)
}

/// Examines every metric below `prefix`, also in folders whose names begin with a dot. Files that cannot be
/// read are reported, and the rest is examined (D42, D49).
fn walk(
    prefix: &Path,
    output: &Output,
    look: impl Fn(&Path) -> anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Done;
    for entry in WalkDir::new(prefix).sort_by_file_name() {
        match entry {
            Ok(entry) if entry.file_type().is_file() && is_metric(entry.path()) => {
                outcome = outcome.and(look(entry.path())?);
            }
            Ok(_) => {}
            Err(error) => {
                output.say(format_args!("bucky: {error}"));
                outcome = Outcome::SomeFailed;
            }
        }
    }
    Ok(outcome)
}

fn is_metric(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "wsp")
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct PointUsage {
    /// Whether no archive has a point inside its retention.
    is_empty: bool,
    /// Whether no archive was ever written to.
    is_never_written: bool,
    /// The newest point inside its retention.
    newest: Option<Point>,
    /// The number of points. Each time in the past counts in the finest archive that reaches back to it.
    used: u64,
    /// The largest possible number of points.
    slots: u64,
}

impl PointUsage {
    fn of(image: &Image<'_>, now: u32) -> Self {
        let (mut used, mut slots, mut until) = (0, 0, u64::from(now));
        for view in image.archives() {
            let step = u64::from(view.archive().seconds_per_point);
            let from = u64::from(now).saturating_sub(view.archive().retention());
            slots += (until / step).saturating_sub(from / step);
            let inside = |point: &Point| (from + 1..=until).contains(&point.timestamp.into());
            used += view.points_valid(now).filter(inside).count() as u64;
            until = until.min(from);
        }
        let is_never_written = image.archives().all(|view| {
            let mut positions = 0..view.archive().points;
            positions.all(|position| view.stored(position).is_none_or(|slot| slot.timestamp == 0))
        });
        let (is_empty, newest) = (image.is_empty(now), image.last_point(now));
        Self { is_empty, is_never_written, newest, used, slots }
    }
}

fn examine_file(path: &Path, now: u32) -> anyhow::Result<PointUsage> {
    if !is_metric(path) {
        anyhow::bail!("{}: not a .wsp file", path.display());
    }
    let file = WhisperFile::open(path, OpenMode::Read, LOCK_LIMIT)?;
    let bytes = file.read()?;
    let image = Image::parse(&bytes).with_context(|| path.display().to_string())?;
    Ok(PointUsage::of(&image, now))
}

fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<OpenError>().is_some_and(OpenError::is_not_found)
}

fn print_result(
    path: &Path,
    examined: &PointUsage,
    args: &Args,
    output: &Output,
) -> anyhow::Result<Outcome> {
    let shown = path.display();
    if args.last {
        match examined.newest {
            Some(newest) => output.data_line(format_args!("{shown}: {}", newest_text(newest)))?,
            None => output.data_line(format_args!("{shown}: No valid data points"))?,
        }
    }
    if args.debug {
        let first = args.files.first().map(|first| first.display().to_string()).unwrap_or_default();
        output.data_line(format_args!(
            "{shown}: {} data points used out of {} in {first}",
            examined.used, examined.slots
        ))?;
    }
    let is_listed = if args.never_written { examined.is_never_written } else { examined.is_empty };
    if is_listed && !args.last && !args.debug {
        if args.metric_name {
            output.data_line(metric_name(path, &args.prefix))?;
        } else {
            output.data_line(shown)?;
        }
    }
    Ok(Outcome::Done)
}

fn newest_text(newest: Point) -> String {
    let time = OffsetDateTime::from_unix_timestamp(newest.timestamp.into()).ok();
    let time = time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default();
    let value = match newest.value {
        value if value.is_finite() => format!("{value:.2}"),
        value if value.is_sign_negative() => "-Inf".to_owned(),
        _ => "+Inf".to_owned(),
    };
    format!("Most recent DP: {} or {time}\t{value}", newest.timestamp)
}

/// The name of the metric with the file at `path`: the part after the prefix, with dots.
fn metric_name(path: &Path, prefix: &Path) -> String {
    let relative = path.strip_prefix(prefix).or_else(|_| path.strip_prefix(".")).unwrap_or(path);
    let text = relative.with_extension("").to_string_lossy().replace('/', ".");
    text.trim_start_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucky_whisper::{Aggregation, Header, Retention, XFilesFactor};

    const NOW: u32 = 1_800_000_059;

    /// A file of 60 s for an hour and 300 s for a day, with these points; each is in the first slot.
    fn file(points: [Option<u32>; 2]) -> Vec<u8> {
        let retentions: Vec<Retention> =
            ["60s:1h", "300s:1d"].iter().map(|text| text.parse().unwrap()).collect();
        let factor = XFilesFactor::default();
        let header = Header::for_retentions(&retentions, Aggregation::Average, factor).unwrap();
        let mut bytes = header.encode();
        bytes.resize(usize::try_from(header.file_size_bytes()).unwrap(), 0);
        for (archive, timestamp) in header.archives.iter().zip(points) {
            if let Some(timestamp) = timestamp {
                let point = Point { timestamp, value: 1.0 }.encode();
                let start = usize::try_from(archive.offset).unwrap();
                bytes[start..start + point.len()].copy_from_slice(&point);
            }
        }
        bytes
    }

    fn examine(points: [Option<u32>; 2]) -> PointUsage {
        let bytes = file(points);
        PointUsage::of(&Image::parse(&bytes).unwrap(), NOW)
    }

    /// D49: the Go tool cannot distinguish an old file from one that was never written to.
    #[test]
    fn a_file_whose_points_are_all_too_old_is_empty_but_was_written_to() {
        let old = NOW / 300 * 300 - 90_000;
        for (points, is_empty, is_never_written) in [
            ([None, None], true, true),
            ([Some(old), Some(old)], true, false),
            ([None, Some(old + 3_900)], false, false),
            ([Some(NOW / 60 * 60), None], false, false),
        ] {
            let examined = examine(points);
            assert_eq!(
                (examined.is_empty, examined.is_never_written),
                (is_empty, is_never_written),
                "{points:?}"
            );
        }
    }

    #[test]
    fn points_and_slots_are_counted_in_the_finest_archive_that_reaches_back() {
        let examined = examine([Some(NOW / 60 * 60), Some(NOW / 300 * 300)]);
        // 60 slots of the last hour, then 23 hours by 300 s; the second point is in the first hour.
        assert_eq!((examined.used, examined.slots), (1, 60 + 23 * 12));
        let examined = examine([Some(NOW / 60 * 60), Some(NOW / 300 * 300 - 7_200)]);
        assert_eq!(examined.used, 2);
    }

    #[test]
    fn the_newest_point_is_written_as_the_go_tool_does() {
        let text = |value| newest_text(Point { timestamp: 1_795_354_380, value });
        assert_eq!(text(1.0), "Most recent DP: 1795354380 or 2026-11-22T13:33:00Z\t1.00");
        assert!(text(f64::INFINITY).ends_with("\t+Inf"));
    }

    #[test]
    fn a_name_is_what_follows_the_prefix() {
        let name = |path: &str, prefix: &str| metric_name(Path::new(path), Path::new(prefix));
        assert_eq!(name("/w/a/b.wsp", "/w"), "a.b");
        assert_eq!(name("/w/a/b.wsp", "/w/"), "a.b");
        assert_eq!(name("./a/b.wsp", "."), "a.b");
        assert_eq!(name("a/b.c.wsp", "/w"), "a.b.c");
        assert_eq!(name("/elsewhere/b.wsp", "/w"), "elsewhere.b");
    }
}
