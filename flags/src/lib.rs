//! The flag syntax of Go programs, for clap commands.
//!
//! Runbooks written for the Go tool say `-hash fnv1a`, `-no-op`, `-w=100` or `-sparse=false`; clap reads
//! `-no-op` as four one-letter flags. [`normalise`] turns these forms into forms that clap reads. It uses the
//! flags that the command itself declares, so that there is no second list to maintain. An unknown flag is
//! left to clap, whose message then names the whole word. Unlike Go's own parser it continues after the first
//! argument: a flag may be anywhere before a lone `--`. [`integer()`] reads numbers as Go does (`0x10`,
//! `1_000`).

mod integer;

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, Command};

pub use crate::integer::{BadInteger, integer};

/// A switch was given a value that is not a boolean.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid boolean value {value:?} for -{flag}; give -{flag}, -{flag}=true or -{flag}=false")]
pub struct BadBoolean {
    /// The flag, without dashes.
    pub flag: String,
    /// The text after `=`.
    pub value: String,
}

/// Converts `args` (without the program's name) into the form that clap reads, using the flags of `command`.
///
/// - `-word` and `--word` become `--word`, and so does a letter that stands for it; `-word value` and
///   `-word=value` become `--word=value`, even if the value begins with a dash.
/// - A switch with `=true` (`1`, `t`, `T`, `TRUE`, `True`) becomes the bare switch. A switch with `=false` is
///   left out, and so are all earlier ones: the last one wins.
///
/// # Errors
/// [`BadBoolean`].
pub fn normalise(
    command: &Command,
    args: impl IntoIterator<Item = OsString>,
) -> Result<Vec<OsString>, BadBoolean> {
    let mut out: Vec<OsString> = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            out.push(arg);
            out.extend(args);
            break;
        }
        let Some(Word { name, value }) = Word::parse(&arg) else {
            out.push(arg);
            continue;
        };
        let Some(flag) = find(command, name) else {
            // `-nosuch` as one word, so that clap's message names the whole word.
            out.push(if is_dashed_word(&arg) { prefixed("-", &arg) } else { arg });
            continue;
        };
        match (flag, value) {
            (Flag::Switch(spelled), None) => out.push(spelled),
            (Flag::Switch(spelled), Some(text)) => match boolean(text) {
                Some(true) => out.push(spelled),
                Some(false) => out.retain(|earlier| *earlier != spelled),
                None => {
                    return Err(BadBoolean {
                        flag: name.to_owned(),
                        value: text.to_string_lossy().into_owned(),
                    });
                }
            },
            (Flag::Valued(spelled), Some(text)) => out.push(joined(&spelled, text)),
            (Flag::Valued(spelled), None) => match args.next() {
                Some(text) => out.push(joined(&spelled, &text)),
                None => out.push(spelled),
            },
        }
    }
    Ok(out)
}

/// A flag word: dashes stripped, split at the first `=`.
struct Word<'a> {
    name: &'a str,
    value: Option<&'a OsStr>,
}

impl<'a> Word<'a> {
    fn parse(arg: &'a OsStr) -> Option<Self> {
        let bytes = arg.as_encoded_bytes();
        let body = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-"))?;
        let end = body.iter().position(|byte| *byte == b'=').unwrap_or(body.len());
        let name = std::str::from_utf8(&body[..end]).ok()?;
        if name.is_empty() || name.starts_with('-') {
            return None;
        }
        let text = arg.to_str();
        let value = if end < body.len() {
            // The text after an ASCII byte of a UTF-8 text is UTF-8 too; a value that is not UTF-8 is left to
            // clap.
            Some(OsStr::new(text?.split_once('=')?.1))
        } else {
            None
        };
        Some(Self { name, value })
    }
}

/// A flag of the command, as clap spells it.
enum Flag {
    Switch(OsString),
    Valued(OsString),
}

fn find(command: &Command, name: &str) -> Option<Flag> {
    let mut short = name.chars();
    let short = match (short.next(), short.next()) {
        (Some(letter), None) => Some(letter),
        _ => None,
    };
    for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
        let long = arg.get_long_and_visible_aliases().unwrap_or_default();
        let hidden = arg.get_all_aliases().unwrap_or_default();
        let is_meant = long.contains(&name)
            || hidden.contains(&name)
            || short.is_some_and(|letter| {
                arg.get_short() == Some(letter)
                    || arg.get_all_short_aliases().is_some_and(|all| all.contains(&letter))
            });
        if !is_meant {
            continue;
        }
        let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
        let spelled = spelled(arg, name);
        return Some(if takes_value { Flag::Valued(spelled) } else { Flag::Switch(spelled) });
    }
    // As in Go: help, if the command has no flag of that name.
    matches!(name, "help" | "h").then(|| Flag::Switch("--help".into()))
}

/// The same spelling for all names of a flag, so that the last one can win.
fn spelled(arg: &Arg, name: &str) -> OsString {
    match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => format!("--{name}"),
    }
    .into()
}

fn boolean(text: &OsStr) -> Option<bool> {
    match text.to_str()? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Whether `arg` is `-word`: one dash, then at least two characters, the first of which is a letter.
fn is_dashed_word(arg: &OsStr) -> bool {
    let bytes = arg.as_encoded_bytes();
    bytes.len() > 2 && bytes[0] == b'-' && bytes[1].is_ascii_alphabetic()
}

fn prefixed(prefix: &str, arg: &OsStr) -> OsString {
    let mut out = OsString::from(prefix);
    out.push(arg);
    out
}

fn joined(flag: &OsStr, value: &OsStr) -> OsString {
    let mut out = flag.to_owned();
    out.push("=");
    out.push(value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Arg;

    fn command() -> Command {
        Command::new("x")
            .arg(Arg::new("workers").short('w').long("workers"))
            .arg(
                Arg::new("no-op").long("no-op").visible_alias("dry-run").action(ArgAction::SetTrue),
            )
            .arg(Arg::new("hash").long("hash"))
            .arg(Arg::new("force").short('f').action(ArgAction::SetTrue))
            .arg(Arg::new("names").num_args(0..))
    }

    fn read(args: &[&str]) -> Result<Vec<String>, BadBoolean> {
        let out = normalise(&command(), args.iter().map(OsString::from))?;
        Ok(out.into_iter().map(|arg| arg.into_string().unwrap()).collect())
    }

    #[test]
    fn one_dash_and_two_are_the_same_before_and_after_arguments() {
        for (given, read_as) in [
            (&["-no-op", "a"][..], &["--no-op", "a"][..]),
            (&["a", "--no-op"], &["a", "--no-op"]),
            (&["-dry-run"], &["--no-op"]),
            (&["-w", "100"], &["--workers=100"]),
            (&["-w=100", "-hash", "carbon"], &["--workers=100", "--hash=carbon"]),
            (&["--workers", "-1"], &["--workers=-1"]),
            (&["-f", "-"], &["-f", "-"]),
            (&["-f", "--", "-no-op"], &["-f", "--", "-no-op"]),
            (&["-help"], &["--help"]),
            (&["-h"], &["--help"]),
        ] {
            assert_eq!(read(given).unwrap(), read_as, "{given:?}");
        }
    }

    #[test]
    fn a_switch_takes_a_boolean_behind_an_equals_sign_and_the_last_wins() {
        for (given, read_as) in [
            (&["-no-op=true"][..], &["--no-op"][..]),
            (&["-f=1"], &["-f"]),
            (&["-no-op", "-no-op=false"], &[]),
            (&["-dry-run", "-no-op=false"], &[]),
            (&["-no-op=F", "-no-op"], &["--no-op"]),
        ] {
            assert_eq!(read(given).unwrap(), read_as, "{given:?}");
        }
        assert_eq!(read(&["-no-op=maybe"]).unwrap_err().value, "maybe");
    }

    #[test]
    fn an_unknown_flag_reaches_clap_as_one_word() {
        assert_eq!(read(&["-nosuch", "-x", "--other=1"]).unwrap(), ["--nosuch", "-x", "--other=1"]);
    }

    #[test]
    fn a_flag_whose_value_is_missing_is_left_for_clap_to_refuse() {
        assert_eq!(read(&["a", "-hash"]).unwrap(), ["a", "--hash"]);
    }
}
