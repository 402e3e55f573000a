//! The command line: `bucky COMMAND [flags] [arguments]`.
//!
//! Flags have one dash or two and may come before or after arguments (`bucky_flags` does that). `-h` is the
//! host, as in the Go tool; help is `--help` and `bucky help COMMAND`. This module only parses: the commands
//! read the environment and resolve names.

mod command;
mod early_exit;
mod help;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};

use clap::FromArgMatches;

use self::command::Cli;
pub(crate) use self::command::{Command, run};
use self::early_exit::{EarlyExit, mistake_of};
use self::help::{HelpDetail, definition, help};

/// Switches that `=false` turns into another switch.
const NEGATIONS: [(&str, &str); 2] =
    [("delete", "--no-delete"), ("filter-cache-metrics", "--no-filter-cache-metrics")];

/// Whether a word in place of a command asks for help.
fn is_help(word: &OsStr) -> bool {
    matches!(word.to_str(), Some("--help" | "-help" | "-h" | "--h"))
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
        Some(_) if is_help(&name) => "help".into(),
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
        let (all, topic): (Vec<_>, Vec<_>) = args.partition(is_all);
        return Err(help(&topic, if all.is_empty() { HelpDetail::Short } else { HelpDetail::All }));
    }
    let mut words: Vec<OsString> = vec!["bucky".into(), name.clone()];
    let mut command = name.to_str().and_then(|name| cli.find_subcommand(name));
    let mut name = name;
    if let Some(group) = command
        && group.has_subcommands()
    {
        let asked = help(std::slice::from_ref(&name), HelpDetail::Short);
        let member = match args.next() {
            Some(word) if is_help(&word) => return Err(asked),
            Some(word) => word,
            None => {
                let group = name.display();
                let text = format!("{}\nbucky: give a command of bucky {group}", asked.data);
                return Err(EarlyExit::mistake(text));
            }
        };
        command = member.to_str().and_then(|member| group.find_subcommand(member));
        words.push(member.clone());
        name.push(" ");
        name.push(member);
    }
    match command {
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
