//! `bucky fill`: fills the gaps of a local file, or of a whole tree, from another.

mod source;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bucky_api::OnSchemaDifference;
use bucky_api::clock::whisper_now;
use bucky_whisper::{
    AggregationSix, Clocks, FillFileError, FillOptions, FillOutcome, FilledFile, Header, OpenError,
    Patience, cut_from, fill_file, reshape_file, salvage_file,
};
use walkdir::{DirEntry, WalkDir};

use self::source::{Deletion, delete_unchanged, digest_of};
use crate::args::heading;
use crate::args::schema::SchemaArgs;
use crate::outcome::{Outcome, UsageError};
use crate::output::{Output, while_read};

/// How long a reshape waits for writers that have the old file open.
const RESHAPE_PATIENCE: Duration = Duration::from_secs(5);
/// How often a source that keeps changing is filled from before it is left alone.
const ROUNDS: usize = 5;

/// Arguments of `bucky fill`.
#[derive(clap::Args)]
#[command(
    about = "Fill the gaps of a local file (or tree) from another",
    long_about = "Fill the gaps of DST from SRC: every point that SRC has and DST lacks. DST keeps the values \
                  that it has. If DST does not exist, it becomes a copy of SRC.\n\n\
                  Also available as `bucky-fill`, a link to `bucky`, with the flags of the Go program of that \
                  name.",
    after_help = "Examples:\n\
        \x20 bucky fill old/app.wsp new/app.wsp\n\
        \x20 bucky fill -r /mnt/old/whisper /opt/graphite/storage/whisper"
)]
pub(crate) struct Args {
    /// SRC and DST are folders: fill every file below SRC
    #[arg(short = 'r', long, help_heading = heading::SELECTION)]
    recursive: bool,
    /// Delete each source once its points are on disk in DST
    #[arg(short = 'd', long = "delete", help_heading = heading::WHAT_MOVES)]
    delete: bool,
    /// Use the readable part of a source that was cut off, such as by a full disk
    ///
    /// The source is not deleted.
    #[arg(long, conflicts_with = "delete", help_heading = heading::WHAT_MOVES)]
    salvage: bool,
    /// With -r: print a line for each file
    ///
    /// The line is `[ OK ] [SRC] -> [DST]` or `[FAIL] [WHY] [SRC] -> [DST]`.
    #[arg(short = 'l', long = "log", help_heading = heading::OUTPUT)]
    log: bool,
    /// Print what was done with each file
    #[arg(short = 'v', long, help_heading = heading::OUTPUT)]
    verbose: bool,
    /// What aggregation method 6 means: avg_zero (whisper.py) or first (go-carbon)
    #[arg(long, value_name = "METHOD", default_value = "avg_zero", help_heading = heading::GO)]
    aggregation_6: AggregationSix,
    /// Seconds to wait for the lock of a file
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = bucky_flags::integer::<u64>(0..=86_400), help_heading = heading::LIMITS)]
    lock_timeout: u64,
    #[command(flatten)]
    schema: SchemaArgs,
    /// File or folder to take points from
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// File or folder to fill
    #[arg(value_name = "DST")]
    destination: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    args.schema.confirmed()?;
    if args.recursive {
        return fill_tree(args, output);
    }
    if args.source.is_dir() {
        return Err(UsageError::because(format!(
            "{} is a folder; to fill all files below it, give -r",
            args.source.display()
        )));
    }
    let result = fill_one(&args.source, &args.destination, args);
    report(&args.source, &args.destination, result, args, output)
}

/// Fills every `.wsp` file below the source. Files that cannot be read or filled are reported, and the rest
/// continues (D39, D42).
fn fill_tree(args: &Args, output: &Output) -> anyhow::Result<Outcome> {
    if !args.source.is_dir() {
        return Err(UsageError::because(format!(
            "{} is not a folder; -r needs two folders",
            args.source.display()
        )));
    }
    if args.destination.exists() && !args.destination.is_dir() {
        return Err(UsageError::because(format!(
            "{} is not a folder; -r needs two folders",
            args.destination.display()
        )));
    }
    refuse_nested(&args.source, &args.destination)?;
    std::fs::create_dir_all(&args.destination)
        .with_context(|| format!("cannot create {}", args.destination.display()))?;
    // Now that the destination exists, its path can be resolved, with any links and `..` in it.
    refuse_nested(&args.source, &args.destination)?;
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

/// Whether it is a symbolic link to a file, or to nothing; the fill reports that.
fn is_link_to_file(entry: &DirEntry) -> bool {
    entry.path_is_symlink() && !entry.path().is_dir()
}

/// Refuses to fill a tree into itself: it would grow while it is read, and -d would delete what was just
/// filled.
fn refuse_nested(source: &Path, destination: &Path) -> anyhow::Result<()> {
    // The last ancestor of a relative path is empty, and means the current folder.
    let here = |folder: &Path| folder.as_os_str().is_empty().then(|| PathBuf::from("."));
    let mut folders =
        destination.ancestors().map(|folder| here(folder).unwrap_or_else(|| folder.to_owned()));
    let (Some(existing), Ok(real)) =
        (folders.find_map(|folder| folder.canonicalize().ok()), source.canonicalize())
    else {
        return Ok(());
    };
    let filled_again = real.strip_prefix(&existing).map(|below| real.join(below));
    if let Ok(again) = filled_again
        && destination.is_dir()
        && real != existing
        && again.exists()
    {
        return Err(UsageError::because(format!(
            "files in {} would be filled into {}, and from there into {}; move one of these folders away first",
            again.display(),
            source.display(),
            destination.display()
        )));
    }
    if existing.starts_with(real) {
        return Err(UsageError::because(format!(
            "{} is inside {} or the same folder; a tree cannot be filled into itself",
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
                while_read(output.data_line(format_args!("[ OK ] {pair}")))?;
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
                while_read(output.data_line(format_args!("[FAIL] [{error:#}] {pair}")))?;
            }
            Ok(Outcome::SomeFailed)
        }
    }
}

/// Fills one file, and returns what was done.
fn fill_one(source: &Path, destination: &Path, args: &Args) -> anyhow::Result<String> {
    let limit = Duration::from_secs(args.lock_timeout);
    if args.delete && source.is_symlink() {
        bail!(
            "the source is a symbolic link, which -d does not delete; give the file that it points to"
        );
    }
    for _ in 0..ROUNDS {
        let digest = if args.delete { Some(digest_of(source, limit)?) } else { None };
        let now = whisper_now()?;
        let options = FillOptions { clocks: Clocks::at(now), aggregation_six: args.aggregation_6 };
        let done = fill_by(args, source, destination, options, limit)?;
        let done_text = outcome_text(&done);
        let Some(digest) = digest else {
            enough(&done, args.schema.on_schema_difference)?;
            return Ok(done_text);
        };
        enough(&done, args.schema.on_schema_difference).context("the source was not deleted")?;
        let mut deletion = delete_unchanged(source, digest, limit)?;
        // What a writer that still had it open has written to it.
        while let Deletion::WrittenSince(unnamed) = deletion {
            let filled = fill_by(args, &unnamed.path(), destination, options, limit)
                .and_then(|done| enough(&done, args.schema.on_schema_difference));
            if let Err(error) = filled {
                fill_file(&unnamed.path(), source, options, limit).context(
                    "points that were written to the source during its deletion are lost",
                )?;
                return Err(error.context(
                    "points were written to the source during its deletion; it was put back",
                ));
            }
            deletion = unnamed.settle(limit)?;
        }
        if matches!(deletion, Deletion::Done) {
            return Ok(format!("{done_text}, source deleted"));
        }
    }
    bail!("the source keeps changing; it was not deleted")
}

/// Adds the hint about `--salvage` if the source was cut off.
fn hinted(error: FillFileError, path: &Path) -> anyhow::Error {
    let is_cut = |path: &Path| -> std::io::Result<bool> {
        let file = std::fs::File::open(path)?;
        let (len_bytes, mut head) = (file.metadata()?.len(), Vec::new());
        file.take(Header::SIZE_MAX_BYTES).read_to_end(&mut head)?;
        Ok(cut_from(&head, len_bytes).is_some())
    };
    match &error {
        FillFileError::Source(OpenError::Damaged { .. }) if is_cut(path).unwrap_or(false) => {
            anyhow::Error::new(error)
                .context("the source was cut off; to use the readable part of it, give --salvage")
        }
        _ => error.into(),
    }
}

/// Fills. If points have no place in the destination and reshape was chosen, it is given the archives of both
/// files first.
fn fill_by(
    args: &Args,
    source: &Path,
    destination: &Path,
    options: FillOptions,
    limit: Duration,
) -> anyhow::Result<FillOutcome> {
    let fill = || {
        let fill = if args.salvage { salvage_file } else { fill_file };
        fill(source, destination, options, limit)
            .map_err(|error| if args.salvage { error.into() } else { hinted(error, source) })
    };
    let done = fill()?;
    let lacks_place = done.filled().is_some_and(|filled| filled.coverage.without_place() > 0);
    if !lacks_place || args.schema.on_schema_difference != OnSchemaDifference::Reshape {
        return Ok(done);
    }
    let patience = Patience { lock: limit, writers: RESHAPE_PATIENCE };
    reshape_file(destination, source, options, patience)?;
    fill()
}

/// Checks that the destination holds enough of the source.
///
/// # Errors
/// How many points have no place there, and the flag that helps.
fn enough(done: &FillOutcome, rule: OnSchemaDifference) -> anyhow::Result<()> {
    let Some(FilledFile { coverage, source, destination, .. }) = done.filled() else {
        return Ok(());
    };
    if rule.accepts(coverage) {
        return Ok(());
    }
    if coverage.without_place() == 0 {
        bail!(
            "{} points have no place in the destination, where newer timestamps stand",
            coverage.displaced() + coverage.missing()
        );
    }
    bail!(
        "{} points have no place in the destination: the source has {}, the destination {}; \
         --on-schema-difference reshape gives it the archives of both",
        coverage.without_place(),
        source.layout(),
        destination.layout()
    )
}

fn outcome_text(outcome: &FillOutcome) -> String {
    match outcome {
        FillOutcome::Created { len_bytes } => format!("created, {len_bytes} bytes"),
        FillOutcome::Filled(FilledFile { plan, .. }) => {
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
mod tests;
