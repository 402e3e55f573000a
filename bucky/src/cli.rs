//! The command line: `bucky COMMAND [flags] [arguments]`.
//!
//! Flags have one dash or two and may stand before or after arguments (`bucky_flags` sees to that). `-h` is the
//! host, as in the Go tool; help is `--help` and `bucky help COMMAND`. Only parsing happens here: the environment
//! is read and names are resolved by the commands.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bucky_api::token::TOKEN_LIMIT_BYTES;
use bucky_api::{Client, DaemonAddr, Timeouts, Token};
use bucky_flags::integer;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    backfill, backfill2, copy, delete, du, fill, findhash, gentestmetrics, heal, inconsistent,
    info, isempty, json, list, locate, lookup, modify, path, pickle_relay, rebalance, restore,
    servers, sieve, sparsify, stale, stat, tar, token, verify,
};
use crate::outcome::{Outcome, UsageError};
use crate::output::Output;

/// Where the daemon is when nothing is said.
const DEFAULT_HOST: &str = "localhost:4242";
/// The environment variable that names it.
const HOST_VARIABLE: &str = "BUCKYHOST";
/// The longest time to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// Switches that stand for their opposite when given as `=false`.
const NEGATIONS: [(&str, &str); 2] =
    [("delete", "--no-delete"), ("filter-cache-metrics", "--no-filter-cache-metrics")];

#[derive(Parser)]
#[command(
    name = "bucky",
    version,
    about = "Cluster administration for Graphite: compare rings, find misplaced metrics, move them",
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    propagate_version = true,
    after_help = "Flags have one dash or two, before or after arguments. `bucky help COMMAND` tells all about a command.\n\
        Exit codes: 0 done, 1 some of it failed, 2 wrong usage, 3 the cluster is not healthy or not reachable."
)]
struct Cli {
    /// Print help
    #[arg(long, action = ArgAction::Help, global = true)]
    help: Option<bool>,
    /// Print the version
    #[arg(long, action = ArgAction::Version, global = true)]
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

/// Flags of every command that speaks to a cluster.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ClusterArgs {
    /// The daemon to ask first; the port counts for all nodes [default: $BUCKYHOST, else localhost:4242]
    #[arg(short = 'h', long = "host", value_name = "HOST[:PORT]")]
    host: Option<DaemonAddr>,
    /// Work with that node alone
    #[arg(short = 's', long)]
    pub(crate) single: bool,
    /// Seconds to wait for an answer
    #[arg(short = 't', long, value_name = "SECONDS", default_value_t = 30, value_parser = integer::<u64>(1..=86_400))]
    timeout: u64,
    /// Seconds that an answer may stand still once it has begun; a daemon at work shows every 5 s that it is alive
    /// [default: 60, or --timeout where that is longer]
    #[arg(long, value_name = "SECONDS", value_parser = integer::<u64>(1..=86_400))]
    idle_timeout: Option<u64>,
    /// Seconds that a node that cannot be reached is tried again, as while it is being restarted
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = integer::<u64>(0..=86_400))]
    away_timeout: u64,
    /// Tell who was asked; with rebalance and heal also each metric that is done
    #[arg(short = 'v', long)]
    pub(crate) verbose: bool,
    /// Ask for files as they are, not compressed
    #[arg(long = "no-encoding")]
    pub(crate) no_encoding: bool,
    /// File with the token to show to daemons that want one; `bucky token` makes it
    #[arg(long, value_name = "FILE")]
    api_token_file: Option<PathBuf>,
}

impl ClusterArgs {
    /// The daemon to ask first.
    ///
    /// # Errors
    /// [`UsageError`] where `BUCKYHOST` is none.
    pub(crate) fn host(&self) -> anyhow::Result<DaemonAddr> {
        if let Some(host) = &self.host {
            return Ok(host.clone());
        }
        let variable = std::env::var(HOST_VARIABLE).unwrap_or_default();
        let text = if variable.is_empty() { DEFAULT_HOST } else { &variable };
        text.parse().map_err(|error| UsageError::because(format!("{HOST_VARIABLE}: {error}")))
    }

    /// A client that waits as long as was asked for, and shows the token that was given.
    ///
    /// # Errors
    /// [`UsageError`] where there is no token in the file; where the HTTP library cannot be set up.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let answer = Duration::from_secs(self.timeout);
        let defaults = Timeouts::default();
        let timeouts = Timeouts {
            connect: CONNECT.min(answer),
            answer,
            idle: self.idle_timeout.map_or(answer.max(defaults.idle), Duration::from_secs),
            upload: answer.max(defaults.upload),
            away: Duration::from_secs(self.away_timeout),
        };
        let client = Client::new(timeouts)?;
        Ok(match self.token()? {
            Some(token) => client.with_token(token),
            None => client,
        })
    }

    /// D36: the Go tool panics where the file cannot be read.
    fn token(&self) -> anyhow::Result<Option<Token>> {
        let Some(path) = &self.api_token_file else { return Ok(None) };
        let told = |reason: String| {
            UsageError::because(format!("-api-token-file {}: {reason}", path.display()))
        };
        let content =
            token::read(path, TOKEN_LIMIT_BYTES).map_err(|error| told(error.to_string()))?;
        Token::parse(&content).map(Some).map_err(|error| told(error.to_string()))
    }
}

/// `-w`: how many pieces of work run at once.
pub(crate) fn workers(text: &str) -> Result<usize, String> {
    // D32: the Go tool hangs with 0 workers, and panics with fewer.
    bucky_flags::integer::<usize>(1..=10_000)(text)
        .map_err(|error| format!("{error}; no others can work"))
}

/// What ends the program before a command runs.
pub(crate) struct Stop {
    /// For standard output.
    data: String,
    /// For standard error.
    told: String,
    outcome: Outcome,
}

impl Stop {
    /// A text that was asked for.
    fn asked(data: String) -> Self {
        Self { data, told: String::new(), outcome: Outcome::Done }
    }

    /// A mistake on the command line.
    fn mistake(told: String) -> Self {
        Self { data: String::new(), told, outcome: Outcome::Usage }
    }

    /// Prints it.
    pub(crate) fn tell(self, output: &Output) -> Outcome {
        if !self.told.is_empty() {
            output.say(self.told.trim_end());
        }
        let told = output.data_text(self.data).and_then(|()| output.flush());
        if told.is_err_and(|error| !error.is_reader_gone()) {
            return Outcome::SomeFailed;
        }
        self.outcome
    }
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        if error.use_stderr() { Self::mistake(text) } else { Self::asked(text) }
    }
}

/// The command that `args` (without the program's name) give.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Stop> {
    let mut args = args.into_iter();
    let cli = definition();
    let Some(name) = args.next() else {
        let help = definition().render_help().to_string();
        return Err(Stop::mistake(format!("{help}\nbucky: give a command")));
    };
    let name = match name.to_str() {
        Some("--help" | "-help" | "-h" | "--h") => "help".into(),
        Some("--version" | "-version" | "-V") => "version".into(),
        Some(flag) if flag.len() > 1 && flag.starts_with('-') => {
            return Err(Stop::mistake(format!(
                "bucky: {flag} stands before the command; write bucky COMMAND [flags] [arguments]"
            )));
        }
        _ => name,
    };
    if name == "help" {
        return Err(help(args.next()));
    }
    let mut words: Vec<OsString> = vec!["bucky".into(), name.clone()];
    match name.to_str().and_then(|name| cli.find_subcommand(name)) {
        Some(command) => {
            let rest = args.map(negate_false);
            let rest = bucky_flags::normalise(command, rest)
                .map_err(|error| Stop::mistake(format!("bucky: {error}")))?;
            words.extend(rest);
        }
        None => words.extend(args),
    }
    let matches = definition().try_get_matches_from(words)?;
    Ok(Cli::from_arg_matches(&matches)?.command)
}

/// The definition, with the Go tool's order in a command's help: a title with the version, the usage, the text, the flags.
fn definition() -> clap::Command {
    Cli::command().mut_subcommands(|command| {
        let title = format!("bucky {}, version {}", command.get_name(), env!("CARGO_PKG_VERSION"));
        command.help_template(format!(
            "{title}\n\n{{usage-heading}} {{usage}}\n\n{{about-with-newline}}\n{{all-args}}{{after-help}}"
        ))
    })
}

/// What `bucky help` tells of `topic`; of all commands, as the Go tool has it, where there is none: a line with name and
/// usage, one with a description.
fn help(topic: Option<OsString>) -> Stop {
    let Some(topic) = topic else {
        let mut commands: Vec<clap::Command> = definition().get_subcommands().cloned().collect();
        commands.sort_by(|a, b| a.get_name().cmp(b.get_name()));
        let entries = commands.into_iter().map(|command| {
            let mut command = command.disable_help_flag(true);
            let usage = command.render_usage().to_string();
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            format!("{}\n\t{about}\n", usage.trim_start_matches("Usage: "))
        });
        let banner = definition().render_help().to_string();
        return Stop { data: entries.collect(), told: banner, outcome: Outcome::Done };
    };
    let mut words: Vec<OsString> = vec!["bucky".into(), topic];
    if words[1].to_str().is_some_and(|name| definition().find_subcommand(name).is_some()) {
        words.push("--help".into());
    }
    match definition().try_get_matches_from(words) {
        Ok(_) => Stop::asked(String::new()),
        Err(error) if error.use_stderr() => {
            Stop { data: "Unknown sub-command.\n".into(), ..Stop::from(error) }
        }
        Err(error) => Stop::from(error),
    }
}

/// `-delete=false` as the switch that means it: left out, as an ordinary switch would be, it would mean yes.
fn negate_false(arg: OsString) -> OsString {
    let negation = arg.to_str().and_then(|text| {
        let (name, value) = text.trim_start_matches('-').split_once('=')?;
        let is_flag =
            text.starts_with('-') && matches!(value, "0" | "f" | "F" | "false" | "FALSE" | "False");
        NEGATIONS.iter().find(|(positive, _)| is_flag && *positive == name)
    });
    negation.map_or(arg, |(_, negative)| (*negative).into())
}
