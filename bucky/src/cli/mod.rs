//! The command line: `bucky COMMAND [flags] [arguments]`.
//!
//! Flags have one dash or two and may come before or after arguments (`bucky_flags` does that). `-h` is the
//! host, as in the Go tool; help is `--help` and `bucky help COMMAND`. This module only parses: the commands
//! read the environment and resolve names.

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::args::heading;
use crate::commands::{
    backfill, backfill2, copy, delete, du, fill, findhash, gentestmetrics, heal, inconsistent,
    info, isempty, json, list, locate, lookup, modify, path, pickle_relay, rebalance, restore,
    servers, sieve, sparsify, stale, stat, tar, token, verify,
};
use crate::outcome::{EXIT_CODES, LOCAL_EXIT_CODES, Outcome};
use crate::output::Output;
use std::sync::Arc;

/// Switches that `=false` turns into another switch.
const NEGATIONS: [(&str, &str); 2] =
    [("delete", "--no-delete"), ("filter-cache-metrics", "--no-filter-cache-metrics")];

/// The text below the list of commands, before the exit codes.
const FLAGS: &str = "Flags have one dash or two, before or after arguments.\n\
    `bucky help COMMAND` explains a command.";

#[derive(Parser)]
#[command(
    name = "bucky",
    version,
    about = "Cluster administration for Graphite: compare rings, find misplaced metrics, move them",
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    propagate_version = true
)]
struct Cli {
    /// Print help
    #[arg(long, action = ArgAction::Help, global = true, hide_short_help = true)]
    help: Option<bool>,
    /// Print the version
    #[arg(long, action = ArgAction::Version, global = true, hide_short_help = true)]
    version: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

/// A command and its arguments.
#[derive(Subcommand)]
pub(crate) enum Command {
    Servers(servers::Args),
    List(list::Args),
    Locate(locate::Args),
    Inconsistent(inconsistent::Args),
    Rebalance(Box<rebalance::Args>),
    Copy(Box<copy::Args>),
    Backfill(Box<backfill::Args>),
    Backfill2(Box<backfill2::Args>),
    Heal(Box<heal::Args>),
    Verify(Box<verify::Args>),
    Stat(stat::Args),
    Du(du::Args),
    Tar(tar::Args),
    Restore(restore::Args),
    Fill(fill::Args),
    Info(info::Args),
    Isempty(isempty::Args),
    Findhash(findhash::Args),
    Gentestmetrics(gentestmetrics::Args),
    Modify(Box<modify::Args>),
    Sparsify(sparsify::Args),
    Json(json::Args),
    Token(token::Args),
    PickleRelay(pickle_relay::Args),
    Lookup(lookup::Args),
    Sieve(sieve::Args),
    Path(path::Args),
    Stale(stale::Args),
    Delete(delete::Args),
    /// Print the version
    Version,
}

/// A text that ends the program before a command runs.
pub(crate) struct EarlyExit {
    /// For standard output.
    data: String,
    /// For standard error.
    message: String,
    outcome: Outcome,
}

impl EarlyExit {
    /// A text that the operator asked for.
    fn asked(data: String) -> Self {
        Self { data, message: String::new(), outcome: Outcome::Done }
    }

    /// A mistake on the command line.
    fn mistake(message: String) -> Self {
        Self { data: String::new(), message, outcome: Outcome::Usage }
    }

    /// Prints it.
    pub(crate) fn print(self, output: &Output) -> Outcome {
        if !self.message.is_empty() {
            output.say(self.message.trim_end());
        }
        let written = output.data_text(self.data).and_then(|()| output.flush());
        if written.is_err_and(|error| !error.is_reader_gone()) {
            return Outcome::SomeFailed;
        }
        self.outcome
    }
}

impl From<clap::Error> for EarlyExit {
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        if error.use_stderr() { Self::mistake(text) } else { Self::asked(text) }
    }
}

/// Parses the command in `args`, without the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, EarlyExit> {
    let mut args = args.into_iter();
    let cli = definition();
    let Some(name) = args.next() else {
        let help = definition().render_help().to_string();
        return Err(EarlyExit::mistake(format!("{help}\nbucky: give a command")));
    };
    let name = match name.to_str() {
        Some("--help" | "-help" | "-h" | "--h") => "help".into(),
        Some("--version" | "-version" | "-V") => "version".into(),
        Some(flag) if flag.len() > 1 && flag.starts_with('-') => {
            return Err(EarlyExit::mistake(format!(
                "bucky: {flag} is before the command; write bucky COMMAND [flags] [arguments]"
            )));
        }
        _ => name,
    };
    if name == "help" {
        let is_all = |word: &OsString| matches!(word.to_str(), Some("--all" | "-all"));
        let (all, mut topics): (Vec<_>, Vec<_>) = args.partition(is_all);
        topics.truncate(1);
        return Err(help(
            topics.pop(),
            if all.is_empty() { HelpDetail::Short } else { HelpDetail::All },
        ));
    }
    let mut words: Vec<OsString> = vec!["bucky".into(), name.clone()];
    match name.to_str().and_then(|name| cli.find_subcommand(name)) {
        Some(command) => {
            let rest = args.map(negate_false);
            let rest = bucky_flags::normalise(command, rest)
                .map_err(|error| EarlyExit::mistake(format!("bucky: {error}")))?;
            words.extend(rest);
        }
        None => words.extend(args),
    }
    let matches =
        definition().try_get_matches_from(words).map_err(|error| mistake_of(error, &name))?;
    Ok(Cli::from_arg_matches(&matches)?.command)
}

/// The definition of the command line. The help of a command has the Go tool's order: a title with the
/// version, the usage, the text, the flags. The short help ends with examples and how to get the long one;
/// the long help ends with examples and exit codes.
fn definition() -> clap::Command {
    let whole = Cli::command().after_help(format!("{FLAGS}\n\n{EXIT_CODES}"));
    whole.mut_subcommands(|command| {
        let name = command.get_name().to_owned();
        let title = format!("bucky {name}, version {}", env!("CARGO_PKG_VERSION"));
        let text = |text: Option<&StyledStr>| text.map(ToString::to_string);
        let examples =
            text(command.get_after_help()).map_or_else(String::new, |text| text + "\n\n");
        let is_local = command.get_arguments().all(|arg| arg.get_id() != "host");
        let usual = if is_local { LOCAL_EXIT_CODES } else { EXIT_CODES };
        let codes = text(command.get_after_long_help()).unwrap_or_else(|| usual.to_owned());
        in_order_of_headings(command)
            .after_help(format!("{examples}All flags, explained: bucky help {name} --all"))
            .after_long_help(format!("{examples}{codes}"))
            .help_template(format!(
                "{title}\n\n{{usage-heading}} {{usage}}\n\n{{about-with-newline}}\n{{all-args}}{{after-help}}"
            ))
    })
}

/// The command with its flags in the order of [`heading::ORDER`]. Clap shows the groups in the order of their
/// first flags, and [`clap::Command::mut_arg`] puts a flag at the end.
fn in_order_of_headings(command: clap::Command) -> clap::Command {
    let position = |arg: &clap::Arg| {
        let heading = arg.get_help_heading()?;
        heading::ORDER.iter().position(|other| *other == heading)
    };
    let flags =
        command.get_arguments().filter_map(|arg| Some((position(arg)?, arg.get_id().clone())));
    let mut flags: Vec<(usize, clap::Id)> = flags.collect();
    flags.sort_by_key(|(position, _)| *position);
    flags.into_iter().fold(command, |command, (_, id)| command.mut_arg(id, |arg| arg))
}

/// How much of a command's help is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HelpDetail {
    /// The flags that most people need, in one or two lines each.
    Short,
    /// All flags, with their explanations.
    All,
}

/// What `bucky help` prints about `topic`. Without a topic, it lists all commands as the Go tool does: a line
/// with name and usage, and a line with a description.
fn help(topic: Option<OsString>, detail: HelpDetail) -> EarlyExit {
    let Some(topic) = topic else {
        let mut commands: Vec<clap::Command> = definition().get_subcommands().cloned().collect();
        commands.sort_by(|a, b| a.get_name().cmp(b.get_name()));
        let entries = commands.into_iter().map(|command| {
            let mut command = command.disable_help_flag(true);
            let usage = command.render_usage().to_string();
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            format!("{}\n\t{about}\n", usage.trim_start_matches("Usage: "))
        });
        let mut banner =
            definition().help_template("{usage-heading} {usage}\n\n{about}{after-help}");
        let banner = banner.render_help().to_string();
        return EarlyExit { data: entries.collect(), message: banner, outcome: Outcome::Done };
    };
    let mut words: Vec<OsString> = vec!["bucky".into(), topic.clone()];
    if words[1].to_str().is_some_and(|name| definition().find_subcommand(name).is_some()) {
        words.push("--help".into());
    }
    if detail == HelpDetail::Short {
        let mut whole = definition();
        whole.build();
        let command = words[1].to_str().and_then(|name| whole.find_subcommand_mut(name));
        if let Some(command) = command {
            return EarlyExit::asked(command.render_help().to_string());
        }
    }
    match definition().try_get_matches_from(words) {
        Ok(_) => EarlyExit::asked(String::new()),
        Err(error) if error.use_stderr() => {
            EarlyExit { data: "Unknown sub-command.\n".into(), ..mistake_of(error, &topic) }
        }
        Err(error) => EarlyExit::from(error),
    }
}

/// What is printed for clap's `error` about the command `name`.
fn mistake_of(error: clap::Error, name: &OsStr) -> EarlyExit {
    let name = name.to_string_lossy();
    let context = |kind| error.get(kind).map(ToString::to_string);
    if error.kind() == ErrorKind::InvalidSubcommand {
        // The most similar name is the last.
        let similar = match error.get(ContextKind::SuggestedSubcommand) {
            Some(ContextValue::Strings(names)) => names.last(),
            Some(ContextValue::String(name)) => Some(name),
            _ => None,
        };
        let similar = similar.map_or_else(String::new, |name| format!("; did you mean {name}?"));
        return EarlyExit::mistake(format!(
            "bucky: unknown command: {name}{similar}\n`bucky help` lists all commands."
        ));
    }
    let lacks_host = error.kind() == ErrorKind::InvalidValue
        && context(ContextKind::InvalidArg).is_some_and(|flag| flag.starts_with("--host"))
        && context(ContextKind::InvalidValue).is_some_and(|value| value.is_empty());
    if lacks_host {
        return EarlyExit::mistake(format!(
            "bucky: -h is --host and needs HOST[:PORT]; for help: bucky help {name}"
        ));
    }
    error.into()
}

/// Turns `-delete=false` into the switch with that meaning. Clap would drop an ordinary switch, and the
/// default would be yes.
fn negate_false(arg: OsString) -> OsString {
    let negation = arg.to_str().and_then(|text| {
        let (name, value) = text.trim_start_matches('-').split_once('=')?;
        let is_flag =
            text.starts_with('-') && matches!(value, "0" | "f" | "F" | "false" | "FALSE" | "False");
        NEGATIONS.iter().find(|(positive, _)| is_flag && *positive == name)
    });
    negation.map_or(arg, |(_, negative)| (*negative).into())
}

/// Runs `command`.
///
/// # Errors
/// The error that ended it, for [`crate::run_with`] to print.
pub(crate) async fn run(command: Command, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    match command {
        Command::Servers(args) => servers::run(args, output).await,
        Command::List(args) => list::run(args, output).await,
        Command::Locate(args) => locate::run(args, output).await,
        Command::Inconsistent(args) => inconsistent::run(args, output).await,
        Command::Rebalance(args) => rebalance::run(*args, output).await,
        Command::Copy(args) => copy::run(*args, output).await,
        Command::Backfill(args) => backfill::run(*args, output).await,
        Command::Backfill2(args) => backfill2::run(*args, output).await,
        Command::Heal(args) => heal::run(*args, output).await,
        Command::Verify(args) => verify::run(*args, output).await,
        Command::Stat(args) => stat::run(args, output).await,
        Command::Delete(args) => delete::run(args, output).await,
        Command::Du(args) => du::run(args, output).await,
        Command::Tar(args) => tar::run(args, output).await,
        Command::Restore(args) => restore::run(args, output).await,
        Command::Fill(args) => fill::run(&args, output),
        Command::Info(args) => info::run(&args, output),
        Command::Isempty(args) => isempty::run(&args, output),
        Command::Findhash(args) => findhash::run(&args, output),
        Command::Gentestmetrics(args) => gentestmetrics::run(&args, output),
        Command::Modify(args) => modify::run(&args, output),
        Command::Sparsify(args) => sparsify::run(&args, output),
        Command::Json(args) => json::run(&args, output),
        Command::Token(args) => token::run(&args, output),
        Command::PickleRelay(args) => pickle_relay::run(args, output).await,
        Command::Lookup(args) => lookup::run(args, output).await,
        Command::Sieve(args) => sieve::run(args, output).await,
        Command::Path(args) => path::run(&args, output),
        Command::Stale(args) => stale::run(&args, output),
        Command::Version => {
            output.data_line(concat!("bucky ", env!("CARGO_PKG_VERSION")))?;
            Ok(Outcome::Done)
        }
    }
}
