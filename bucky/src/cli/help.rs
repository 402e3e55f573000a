//! The help of `bucky` and of each command.

use std::ffi::{OsStr, OsString};

use clap::CommandFactory;
use clap::builder::StyledStr;

use super::command::Cli;
use super::early_exit::{EarlyExit, mistake_of};
use crate::args::heading;
use crate::outcome::{EXIT_CODES, LOCAL_EXIT_CODES, Outcome};

/// The text below the list of commands, before the exit codes.
const FLAGS: &str = "Flags have one dash or two, before or after arguments.\n\
    `bucky help COMMAND` explains a command.";

/// The definition of the command line. The help of a command has the Go tool's order: a title with the
/// version, the usage, the text, the flags. The short help ends with examples and how to get the long one;
/// the long help ends with examples and exit codes.
pub(super) fn definition() -> clap::Command {
    let whole = Cli::command().after_help(format!("{FLAGS}\n\n{EXIT_CODES}"));
    whole.mut_subcommands(|command| match command.has_subcommands() {
        true => {
            let group = command.get_name().to_owned();
            command.mut_subcommands(|member| {
                let name = format!("{group} {}", member.get_name());
                with_help(member, &name)
            })
        }
        false => {
            let name = command.get_name().to_owned();
            with_help(command, &name)
        }
    })
}

/// `command` with the help that all commands have. `name` is what an operator types after `bucky`.
fn with_help(command: clap::Command, name: &str) -> clap::Command {
    let title = format!("bucky {name}, version {}", env!("CARGO_PKG_VERSION"));
    let text = |text: Option<&StyledStr>| text.map(ToString::to_string);
    let examples = text(command.get_after_help()).map_or_else(String::new, |text| text + "\n\n");
    let is_local = command.get_arguments().all(|arg| arg.get_id() != "host");
    let usual = if is_local { LOCAL_EXIT_CODES } else { EXIT_CODES };
    let codes = text(command.get_after_long_help()).unwrap_or_else(|| usual.to_owned());
    in_order_of_headings(command)
        .after_help(format!("{examples}All flags, explained: bucky help {name} --all"))
        .after_long_help(format!("{examples}{codes}"))
        .help_template(format!(
            "{title}\n\n{{usage-heading}} {{usage}}\n\n{{about-with-newline}}\n{{all-args}}{{after-help}}"
        ))
}

/// Every command that can be run, in the order of its name, with that name: one word, or a group and a
/// member.
pub(super) fn runnable() -> Vec<(String, clap::Command)> {
    let mut whole = definition();
    whole.build();
    let mut commands = Vec::new();
    for command in whole.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = command.get_name().to_owned();
        if command.has_subcommands() {
            let members = command.get_subcommands().filter(|member| member.get_name() != "help");
            commands.extend(
                members.map(|member| (format!("{name} {}", member.get_name()), member.clone())),
            );
        } else {
            commands.push((name, command.clone()));
        }
    }
    commands.sort_by(|a, b| a.0.cmp(&b.0));
    commands
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
pub(super) enum HelpDetail {
    /// The flags that most people need, in one or two lines each.
    Short,
    /// All flags, with their explanations.
    All,
}

/// What `bucky help` prints about `topic`, a command or a group and its member. Without a topic, it lists all
/// commands as the Go tool does: a line with name and usage, and a line with a description.
pub(super) fn help(topic: &[OsString], detail: HelpDetail) -> EarlyExit {
    let Some(first) = topic.first() else { return list_of_commands() };
    let mut whole = definition();
    whole.build();
    let Some(command) = first.to_str().and_then(|name| whole.find_subcommand_mut(name)) else {
        return unknown(&topic[..1]);
    };
    if !command.has_subcommands() {
        return help_of(command, detail);
    }
    match topic.get(1) {
        None => EarlyExit::asked(command.render_help().to_string()),
        Some(second) => match second.to_str().and_then(|name| command.find_subcommand_mut(name)) {
            Some(member) => help_of(member, detail),
            None => unknown(&topic[..2]),
        },
    }
}

fn help_of(command: &mut clap::Command, detail: HelpDetail) -> EarlyExit {
    EarlyExit::asked(match detail {
        HelpDetail::Short => command.render_help().to_string(),
        HelpDetail::All => command.render_long_help().to_string(),
    })
}

/// As for an unknown command, with the Go tool's words on standard output.
fn unknown(topic: &[OsString]) -> EarlyExit {
    let name = topic.join(OsStr::new(" "));
    let words = [OsString::from("bucky")].into_iter().chain(topic.iter().cloned());
    let mistake = match definition().try_get_matches_from(words) {
        Ok(_) => EarlyExit::mistake(format!("bucky: unknown command: {}", name.display())),
        Err(error) => mistake_of(error, &name),
    };
    EarlyExit { data: "Unknown sub-command.\n".into(), ..mistake }
}

fn list_of_commands() -> EarlyExit {
    let entries = runnable().into_iter().map(|(name, command)| {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let mut command = command.disable_help_flag(true);
        let usage = command.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").trim_start_matches("bucky ");
        debug_assert!(usage.starts_with(&name), "{usage}");
        format!("{usage}\n\t{about}\n")
    });
    let mut banner = definition().help_template("{usage-heading} {usage}\n\n{about}{after-help}");
    let banner = banner.render_help().to_string();
    EarlyExit { data: entries.collect(), message: banner, outcome: Outcome::Done }
}
