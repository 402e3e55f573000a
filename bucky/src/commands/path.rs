//! `bucky path`: converts names of metrics to paths of files, and back.

use std::path::PathBuf;
use std::sync::Arc;

use crate::chain;
use crate::metric_path::{STORAGE_DIR, to_name, to_path};
use crate::name_stream::ListArgs;
use crate::outcome::Outcome;
use crate::output::Output;

/// Arguments of `bucky path`.
#[derive(clap::Args)]
#[command(
    about = "Convert metric names to file paths, or paths to names",
    long_about = "Convert metric names to file paths, or with -r paths to names, one a line. What cannot be \
                  converted is reported on standard error and skipped.",
    after_help = "Examples:\n\
        \x20 bucky path -p app.requests.count\n\
        \x20 find . -name \"*.wsp\" | bucky path -r"
)]
pub(crate) struct Args {
    /// Convert paths to names
    #[arg(short = 'r', long)]
    reverse: bool,
    /// Put the storage folder in front of the paths
    #[arg(short = 'p', long, conflicts_with = "reverse")]
    prepend: bool,
    /// Storage folder: put in front of paths with -p, removed from paths with -r
    #[arg(short = 'd', long, value_name = "FOLDER", default_value = STORAGE_DIR)]
    storage_dir: PathBuf,
    #[command(flatten)]
    list: ListArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Done;
    for line in args.list.open()? {
        let converted = match line {
            Ok(line) if args.reverse => to_name(&line, &args.storage_dir),
            Ok(line) => to_path(&line, args.prepend.then_some(args.storage_dir.as_path()))
                .map(|path| path.display().to_string()),
            Err(error) if error.is_of_that_line() => Err(chain(&error)),
            Err(error) => return Err(error.into()),
        };
        match converted {
            Ok(text) => output.data_line(text)?,
            Err(reason) => {
                output.say(format_args!("bucky: {reason}"));
                outcome = Outcome::SomeFailed;
            }
        }
    }
    Ok(outcome)
}
