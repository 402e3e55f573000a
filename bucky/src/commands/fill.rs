//! `bucky fill`: fills the gaps of a local file from another, or of a whole tree.

mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use bucky_whisper::{AggregationSix, FillOptions, FillOutcome, fill_file};
use walkdir::{DirEntry, WalkDir};

use self::source::{Deletion, delete_unchanged, digest_of};
use crate::outcome::{Outcome, UsageError};
use crate::output::Output;

/// How often a source that changes meanwhile is filled from before it is left where it is.
const ROUNDS: usize = 5;

/// Arguments of `bucky fill`.
#[derive(clap::Args)]
#[command(
    about = "Fill a local file's (or a tree's) gaps from another",
    long_about = "Fill the gaps of DST from SRC: every point that SRC has and DST lacks. What DST has it keeps. Where \
                  there is no DST it becomes a copy of SRC.\n\n\
                  Also as `bucky-fill`, a link to `bucky`, with the flags of the Go tool's program of that name."
)]
pub(crate) struct Args {
    /// SRC and DST are folders: fill every file below SRC
    #[arg(short = 'r', long)]
    recursive: bool,
    /// Delete each source once its points are durably in place
    #[arg(short = 'd', long = "delete")]
    delete: bool,
    /// With -r: print a line for each file, `[ OK ] [SRC] -> [DST]` or `[FAIL] [WHY] [SRC] -> [DST]`
    #[arg(short = 'l', long = "log")]
    log: bool,
    /// Tell what was done with each file
    #[arg(short = 'v', long)]
    verbose: bool,
    /// What aggregation method 6 means: avg_zero (whisper.py) or first (go-carbon)
    #[arg(long, value_name = "METHOD", default_value = "avg_zero")]
    aggregation_6: AggregationSix,
    /// Seconds to wait for the lock of a file
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = bucky_flags::integer::<u64>(0..=86_400))]
    lock_timeout: u64,
    /// The file (or folder) to take points from
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// The file (or folder) to fill
    #[arg(value_name = "DST")]
    destination: PathBuf,
}

/// Runs it.
pub(crate) fn run(args: &Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    if args.recursive {
        return fill_tree(args, output);
    }
    if args.source.is_dir() {
        return Err(UsageError::because(format!(
            "{} is a folder; give -r to fill all files below it",
            args.source.display()
        )));
    }
    let result = fill_one(&args.source, &args.destination, args);
    report(&args.source, &args.destination, result, args, output)
}

/// Every `.wsp` file below the source. What cannot be read or filled is told, and the rest goes on (D39, D42).
fn fill_tree(args: &Args, output: &Output) -> anyhow::Result<Outcome> {
    if !args.source.is_dir() {
        return Err(UsageError::because(format!(
            "{} is no folder; -r needs two",
            args.source.display()
        )));
    }
    if args.destination.exists() && !args.destination.is_dir() {
        return Err(UsageError::because(format!(
            "{} is no folder; -r needs two",
            args.destination.display()
        )));
    }
    refuse_nested(&args.source, &args.destination)?;
    std::fs::create_dir_all(&args.destination)
        .with_context(|| format!("{} cannot be made", args.destination.display()))?;
    let mut outcome = Outcome::Done;
    for entry in WalkDir::new(&args.source).sort_by_file_name() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                output.say(format_args!("bucky: {error}"));
                outcome = Outcome::SomeFailed;
                continue;
            }
        };
        let is_metric = entry.path().extension().is_some_and(|end| end == "wsp")
            && (entry.file_type().is_file() || is_link_to_file(&entry));
        let Ok(relative) = entry.path().strip_prefix(&args.source) else { continue };
        if is_metric {
            let destination = args.destination.join(relative);
            let result = fill_one(entry.path(), &destination, args);
            outcome = outcome.and(report(entry.path(), &destination, result, args, output)?);
        }
    }
    Ok(outcome)
}

/// Whether it is a symbolic link to a file, or to nothing: the fill then tells that.
fn is_link_to_file(entry: &DirEntry) -> bool {
    entry.path_is_symlink() && !entry.path().is_dir()
}

/// A tree that is filled into itself would grow while it is walked.
fn refuse_nested(source: &Path, destination: &Path) -> anyhow::Result<()> {
    let Some(existing) = destination.ancestors().find_map(|folder| folder.canonicalize().ok())
    else {
        return Ok(());
    };
    if source.canonicalize().is_ok_and(|source| existing.starts_with(source)) {
        return Err(UsageError::because(format!(
            "{} lies in {}, or is the same; a tree cannot be filled into itself",
            destination.display(),
            source.display()
        )));
    }
    Ok(())
}

fn report(
    source: &Path,
    destination: &Path,
    result: anyhow::Result<String>,
    args: &Args,
    output: &Output,
) -> anyhow::Result<Outcome> {
    let pair = format!("[{}] -> [{}]", source.display(), destination.display());
    match result {
        Ok(done) => {
            if args.verbose {
                output.say(format_args!("bucky: {pair}: {done}"));
            }
            if args.log && args.recursive {
                output.data_line(format_args!("[ OK ] {pair}"))?;
            }
            Ok(Outcome::Done)
        }
        Err(error) => {
            output.say(format_args!(
                "bucky: {} -> {}: {error:#}",
                source.display(),
                destination.display()
            ));
            if args.log && args.recursive {
                output.data_line(format_args!("[FAIL] [{error:#}] {pair}"))?;
            }
            Ok(Outcome::SomeFailed)
        }
    }
}

/// Fills one file, and tells what was done.
fn fill_one(source: &Path, destination: &Path, args: &Args) -> anyhow::Result<String> {
    let limit = Duration::from_secs(args.lock_timeout);
    if args.delete && source.is_symlink() {
        bail!(
            "the source is a symbolic link, which -d does not delete; give the file that it leads to"
        );
    }
    for _ in 0..ROUNDS {
        let digest = if args.delete { Some(digest_of(source, limit)?) } else { None };
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let now = u32::try_from(now.as_secs())
            .context("the clock is beyond what Whisper files can tell")?;
        let options = FillOptions { now, aggregation_six: args.aggregation_6 };
        let done = fill_file(source, destination, options, limit)?;
        let told = outcome_text(&done);
        let Some(digest) = digest else { return Ok(told) };
        if let FillOutcome::Filled(plan) | FillOutcome::Unchanged(plan) = &done
            && plan.points_left_out() > 0
        {
            bail!(
                "{} points have no place in the destination; the source is left where it is",
                plan.points_left_out()
            );
        }
        let mut deletion = delete_unchanged(source, digest, limit)?;
        // What a writer that had it open put into it after all.
        while let Deletion::WrittenSince(unnamed) = deletion {
            if let Err(error) = fill_file(&unnamed.path(), destination, options, limit) {
                fill_file(&unnamed.path(), source, options, limit)
                    .context("points that came into the source while it was deleted are lost")?;
                return Err(anyhow::Error::new(error)
                    .context("points came into the source while it was deleted; it is put back"));
            }
            deletion = unnamed.settle(limit)?;
        }
        if matches!(deletion, Deletion::Done) {
            return Ok(format!("{told}, source deleted"));
        }
    }
    bail!("the source changes all the time; it is left where it is")
}

fn outcome_text(outcome: &FillOutcome) -> String {
    match outcome {
        FillOutcome::Created { len_bytes } => format!("created, {len_bytes} bytes"),
        FillOutcome::Filled(plan) => {
            format!(
                "filled, {} points, {} rolled up",
                plan.points_filled(),
                plan.points_rolled_up()
            )
        }
        FillOutcome::Unchanged(_) => "unchanged".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucky_whisper::{
        Aggregation, CreateOptions, FileLayout, OpenMode, Point, WhisperFile, XFilesFactor, create,
    };
    use clap::{FromArgMatches, Parser};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn now() -> u32 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        u32::try_from(now).unwrap()
    }

    fn file(path: &Path, points: &[u32]) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let options = CreateOptions {
            retentions: vec!["60s:1h".parse().unwrap()],
            aggregation: Aggregation::Average,
            x_files_factor: XFilesFactor::new(0.5).unwrap(),
            layout: FileLayout::Dense,
        };
        create(path, &options).unwrap();
        let points: Vec<Point> = points
            .iter()
            .map(|back| Point { timestamp: now() - back * 60, value: f64::from(*back) })
            .collect();
        let mut file = WhisperFile::open(path, OpenMode::Update, Duration::from_secs(1)).unwrap();
        file.update_many(&points, now()).unwrap();
    }

    fn points(path: &Path) -> usize {
        let bytes = std::fs::read(path).unwrap();
        let image = bucky_whisper::Image::parse(&bytes).unwrap();
        image.archive(0).unwrap().points_valid(now()).count()
    }

    /// Runs `bucky fill` with these arguments: how it ended, its data, and what it told people.
    fn fill(args: &[&Path], flags: &[&str]) -> (anyhow::Result<Outcome>, String, String) {
        let words = ["fill"].into_iter().chain(flags.iter().copied()).map(std::ffi::OsString::from);
        let matches = <Cli as clap::CommandFactory>::command()
            .get_matches_from(words.chain(args.iter().map(|path| path.as_os_str().to_owned())));
        let args = Cli::from_arg_matches(&matches).unwrap().args;
        let (output, data, people) = Output::captured();
        let outcome = run(&args, &Arc::new(output));
        (outcome, data.text(), people.text())
    }

    #[test]
    fn a_source_is_deleted_once_its_points_are_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let (source, destination) = (folder.path().join("a.wsp"), folder.path().join("b.wsp"));
        file(&source, &[1, 3, 5]);
        file(&destination, &[2, 4]);
        let (outcome, data, people) = fill(&[&source, &destination], &["-d", "-l", "-v"]);
        assert_eq!(outcome.unwrap(), Outcome::Done);
        assert_eq!(points(&destination), 5);
        assert!(!source.exists());
        // As with the Go tool's, -l is for trees.
        assert_eq!(data, "");
        assert!(people.ends_with("filled, 3 points, 0 rolled up, source deleted\n"), "{people}");
    }

    /// A writer that has the source open, or waits for its lock, while it is deleted.
    #[test]
    fn what_is_written_to_a_source_after_its_deletion_is_in_the_destination() {
        let folder = tempfile::tempdir().unwrap();
        let (source, destination) = (folder.path().join("a.wsp"), folder.path().join("b.wsp"));
        file(&source, &[1, 3]);
        file(&destination, &[2]);
        let open = std::fs::File::options().read(true).write(true).open(&source).unwrap();
        let writer = std::thread::spawn({
            let source = source.clone();
            move || {
                while source.exists() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
                let mut late =
                    WhisperFile::open(Path::new(&path), OpenMode::Update, Duration::from_secs(5))
                        .unwrap();
                late.update(7.0, now() - 300, now()).unwrap();
            }
        });
        let (outcome, _, people) = fill(&[&source, &destination], &["-d", "--lock-timeout", "30"]);
        writer.join().unwrap();
        assert_eq!(outcome.unwrap(), Outcome::Done, "{people}");
        assert_eq!(points(&destination), 4);
    }

    /// D2: the Go tool deletes a source although its points could not be written.
    #[test]
    fn a_source_whose_fill_failed_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (source, destination) = (folder.path().join("a.wsp"), folder.path().join("b.wsp"));
        file(&source, &[1]);
        std::fs::write(&destination, "no Whisper file at all").unwrap();
        let (outcome, _, people) = fill(&[&source, &destination], &["-d"]);
        assert_eq!(outcome.unwrap(), Outcome::SomeFailed);
        assert!(source.exists() && people.contains("b.wsp"), "{people}");
        assert_eq!(std::fs::read(&destination).unwrap(), b"no Whisper file at all");
    }

    /// D39: the Go tool stops at the first failure, and prints an OK after it for the same pair.
    #[test]
    fn a_tree_is_filled_on_after_a_file_that_fails() {
        let folder = tempfile::tempdir().unwrap();
        let (source, destination) = (folder.path().join("from"), folder.path().join("to"));
        file(&source.join("a/one.wsp"), &[1]);
        file(&source.join("z/two.wsp"), &[2]);
        std::fs::write(source.join("a/bad.wsp"), "").unwrap();
        std::fs::create_dir_all(destination.join("a/bad.wsp")).unwrap();
        std::fs::write(source.join("notes.txt"), "x").unwrap();
        let (outcome, data, people) = fill(&[&source, &destination], &["-r", "-l"]);
        assert_eq!(outcome.unwrap(), Outcome::SomeFailed);
        assert_eq!(
            (points(&destination.join("a/one.wsp")), points(&destination.join("z/two.wsp"))),
            (1, 1)
        );
        assert!(!destination.join("notes.txt").exists());
        let pair = |name: &str| {
            format!("[{}] -> [{}]", source.join(name).display(), destination.join(name).display())
        };
        let good = ["a/one.wsp", "z/two.wsp"].map(|name| format!("[ OK ] {}", pair(name)));
        assert!(data.starts_with("[FAIL] ["), "{data}");
        assert!(data.ends_with(&format!("] {}\n{}\n{}\n", pair("a/bad.wsp"), good[0], good[1])));
        let bad: Vec<&str> = data.lines().filter(|line| line.contains("bad.wsp")).collect();
        assert_eq!(bad.len(), 1);
        assert!(bad[0].starts_with("[FAIL] ") && people.contains("bad.wsp"));
    }

    /// D39: the Go tool waits for its own lock for ever.
    #[test]
    fn a_file_is_not_filled_from_itself() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("a.wsp");
        file(&source, &[1]);
        let alias = folder.path().join("b.wsp");
        std::fs::hard_link(&source, &alias).unwrap();
        for destination in [&source, &alias] {
            let (outcome, _, people) = fill(&[&source, destination], &["-d"]);
            assert_eq!(outcome.unwrap(), Outcome::SomeFailed);
            assert!(people.contains("same file"), "{people}");
            assert_eq!(points(&source), 1);
        }
    }

    #[test]
    fn folders_need_r_and_a_tree_is_not_filled_into_itself() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("a/b/c");
        let usage = |args: &[&Path], flags: &[&str]| {
            let error = fill(args, flags).0.unwrap_err();
            assert!(error.downcast_ref::<UsageError>().is_some(), "{error}");
        };
        usage(&[folder.path(), &inside], &[]);
        usage(&[folder.path(), &inside], &["-r"]);
        usage(&[folder.path(), folder.path()], &["-r"]);
        usage(&[&inside, folder.path()], &["-r"]);
    }
}
