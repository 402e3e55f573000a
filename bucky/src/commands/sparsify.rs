//! `bucky sparsify`: frees the disk space of zeros in local files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bucky_whisper::{KeepOut, LeaseError, SparsifyError, sparsify, zero_bytes};
use walkdir::WalkDir;

use crate::chain;
use crate::outcome::Outcome;
use crate::output::{Output, human_bytes};

/// Arguments of `bucky sparsify`.
#[derive(clap::Args)]
#[command(
    about = "Free the disk space of zeros in local files",
    long_about = "Punch holes into .wsp files where whole 4 KiB blocks are zero, which frees disk space that a \
                  dense create or a preallocation took. Content, owner, mode and modification time of the \
                  files do not change. Carbon may write meanwhile and loses no point, whether it locks files \
                  or not: while a block is checked and punched, the kernel makes it wait (by a lease on the \
                  file).\n\n\
                  Files grow again as points come in. Keep enough space free for that, or the disk may fill up \
                  in the middle of a file.\n\n\
                  Also available as `bucky-sparsify`, a link to `bucky`, with the flags of the Go program of \
                  that name.",
    after_help = "Examples:\n\
        \x20 bucky sparsify --dry-run /opt/graphite/storage/whisper\n\
        \x20     show what would become smaller"
)]
pub(crate) struct Args {
    /// Print each file that is rewritten, and a summary
    #[arg(short = 'd', long)]
    debug: bool,
    /// Only print the files that would become smaller
    #[arg(long, visible_alias = "no-op")]
    dry_run: bool,
    /// Keep writers out with file locks where the kernel has no leases, such as on NFS
    ///
    /// Only safe if all writers lock: carbon with WHISPER_LOCK_WRITES, go-carbon with flock.
    #[arg(long)]
    by_lock: bool,
    /// Seconds to wait for a file that another process has open or locked
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = bucky_flags::integer::<u64>(0..=86_400))]
    lock_timeout: u64,
    /// Files, or folders with files
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let mut tally = SparsifyCounts::default();
    for entry in args.paths.iter().flat_map(|path| WalkDir::new(path).sort_by_file_name()) {
        match entry {
            Ok(entry) => {
                let is_metric = entry.path().extension().is_some_and(|end| end == "wsp");
                if is_metric && entry.file_type().is_file() {
                    look(entry.path(), args, &mut tally, output)?;
                } else if entry.depth() == 0 && !entry.path().is_dir() {
                    // The operator named it, and would take silence for success.
                    let path = entry.path().display();
                    output.say(format_args!("bucky: {path} is neither a .wsp file nor a folder"));
                    tally.failed += 1;
                }
            }
            Err(error) => tally.fail(&error, output),
        }
    }
    if args.debug {
        let freed = human_bytes(tally.freed_bytes);
        output.say(format_args!("Re-wrote {} Whisper files, {freed} freed", tally.rewritten));
    }
    if tally.failed > 0 {
        output.say(format_args!("bucky: {} files or folders were not changed", tally.failed));
        return Ok(Outcome::SomeFailed);
    }
    Ok(Outcome::Done)
}

/// The results of all files.
#[derive(Default)]
struct SparsifyCounts {
    rewritten: u64,
    freed_bytes: u64,
    failed: u64,
}

impl SparsifyCounts {
    fn fail(&mut self, error: &(dyn std::error::Error + 'static), output: &Output) {
        output.say(format_args!("bucky: {}", chain(error)));
        self.failed += 1;
    }
}

fn look(
    path: &Path,
    args: &Args,
    tally: &mut SparsifyCounts,
    output: &Output,
) -> anyhow::Result<()> {
    let limit = Duration::from_secs(args.lock_timeout);
    let how = if args.by_lock { KeepOut::Lock } else { KeepOut::Lease };
    let freed = if args.dry_run { zero_bytes(path) } else { sparsify(path, how, limit) };
    match freed {
        Ok(0) => {}
        Ok(bytes) if args.dry_run => {
            output.data_line(path.display())?;
            tally.freed_bytes += bytes;
        }
        Ok(bytes) => {
            if args.debug {
                output.say(format_args!("Rewriting: {}", path.display()));
            }
            tally.rewritten += 1;
            tally.freed_bytes += bytes;
        }
        // It was moved or removed since its folder was read.
        Err(SparsifyError::Open(error)) if error.is_not_found() => {}
        Err(error) => {
            tally.fail(&error, output);
            if let SparsifyError::Lease { source: LeaseError::NotGiven(_), .. } = error {
                output.say("bucky: if all writers lock files, give --by-lock");
            }
        }
    }
    Ok(())
}
