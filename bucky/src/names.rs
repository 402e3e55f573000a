//! Which metrics a command is about: names as arguments, names on standard input, or a regular expression.

use std::io::Read;

use bucky_whisper::MetricName;
use regex::Regex;

use crate::args::heading;
use crate::outcome::UsageError;

/// The arguments that say which metrics are meant.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct SelectArgs {
    /// The argument is a regular expression
    ///
    /// It may match anywhere in the name.
    #[arg(short = 'r', long, help_heading = heading::SELECTION)]
    pub(crate) regex: bool,
    /// Wait for a new scan of the nodes first
    #[arg(short = 'f', long, help_heading = heading::SELECTION)]
    pub(crate) force: bool,
    /// Names, or - for a list on standard input; with -r one expression
    ///
    /// The list is a JSON array or has one name a line.
    #[arg(value_name = "METRIC")]
    pub(crate) names: Vec<String>,
}

/// Which metrics are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All.
    All,
    /// Those in whose name the expression is found.
    Regex(String),
    /// These: sorted, without doubles.
    Names(Vec<String>),
}

/// What no argument means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// All metrics.
    MeansAll,
    /// A mistake.
    IsRefused,
}

impl SelectArgs {
    /// Which metrics are meant. Reads `stdin` where the argument is `-`.
    ///
    /// # Errors
    /// [`UsageError`]: nothing given where something must be, a bad or empty expression, or an input that is no list.
    pub(crate) fn selection(
        &self,
        nothing: Nothing,
        stdin: impl Read,
    ) -> anyhow::Result<Selection> {
        let names = match self.names.as_slice() {
            [] if nothing == Nothing::MeansAll => return Ok(Selection::All),
            [] if self.regex => {
                return Err(UsageError::because("-r needs a regular expression"));
            }
            [] => {
                return Err(UsageError::because(
                    "give at least one metric, `-` for a list on standard input, or -r REGEX",
                ));
            }
            [expression] if self.regex => return Ok(Selection::Regex(checked_regex(expression)?)),
            [dash] if dash == "-" => names_from(stdin)?,
            // The Go tool passes over what follows.
            [_, next, ..] if self.regex => {
                return Err(UsageError::because(format!(
                    "-r takes one expression, but {next:?} follows it; join them as A|B"
                )));
            }
            [dash, next, ..] if dash == "-" => {
                return Err(UsageError::because(format!(
                    "{next:?} follows `-`; give all names on standard input or all as arguments"
                )));
            }
            names => names.to_vec(),
        };
        Ok(Selection::Names(sorted(names)))
    }
}

/// The longest expression: it stands in a request's query, of which daemons take 64 KiB, and each byte may take three.
const REGEX_LIMIT_BYTES: usize = 20_000;

/// `expression`, if it is one, not empty, and not too long.
///
/// # Errors
/// [`UsageError`].
pub(crate) fn checked_regex(expression: &str) -> anyhow::Result<String> {
    if expression.is_empty() {
        // D47: to the Go tool an empty expression means every metric there is.
        return Err(UsageError::because(
            "the regular expression is empty; to select every metric, give `.`",
        ));
    }
    if expression.len() > REGEX_LIMIT_BYTES {
        return Err(UsageError::because(format!(
            "the regular expression has {} bytes, and daemons accept at most {REGEX_LIMIT_BYTES}; give the \
             names as a list on standard input (`-`), or run it several times",
            expression.len()
        )));
    }
    Regex::new(expression)
        .map_err(|error| UsageError::because(format!("not a valid regular expression: {error}")))?;
    Ok(expression.to_owned())
}

/// The names in `input`: a JSON array of strings, or lines.
///
/// # Errors
/// [`UsageError`]: a list that cannot be read is a mistake, never an empty or a full one (D1).
pub(crate) fn names_from(mut input: impl Read) -> anyhow::Result<Vec<String>> {
    let mut text = String::new();
    input.read_to_string(&mut text).map_err(|error| {
        UsageError::because(format!("cannot read a list of names from standard input: {error}"))
    })?;
    // Some editors put a mark of the byte order first, which nobody sees, and which is of no name.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if text.trim_start().starts_with(['[', '{', '"']) {
        return serde_json::from_str(text).map_err(|error| {
            UsageError::because(format!("standard input is not a JSON array of names: {error}"))
        });
    }
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// The metric that a node lists as `name`; or why no metric can be called so.
///
/// # Errors
/// The reason, in words: a daemon would refuse it, or take it for another metric's (D31).
pub(crate) fn metric_called(name: &str) -> Result<MetricName, String> {
    match MetricName::parse(name) {
        Ok(metric) if metric.as_str() == name => Ok(metric),
        Ok(metric) => Err(format!("it would be read as {metric}")),
        Err(error) => Err(error.to_string()),
    }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(regex: bool, names: &[&str]) -> SelectArgs {
        SelectArgs { regex, force: false, names: names.iter().map(|&name| name.into()).collect() }
    }

    fn refusal(args: &SelectArgs, stdin: &str) -> String {
        args.selection(Nothing::IsRefused, stdin.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn names_come_as_arguments_as_json_or_as_lines() {
        let names = Selection::Names(vec!["a".into(), "b.c".into()]);
        assert_eq!(
            args(false, &["b.c", "a", "a"]).selection(Nothing::IsRefused, "".as_bytes()).unwrap(),
            names
        );
        for stdin in [
            "[\"b.c\",\"a\"]",
            " [\"a\",\n\"b.c\"]\n",
            "b.c\n\n  a\n",
            "\u{feff}a\r\nb.c\r\n",
            "\u{feff}[\"a\",\"b.c\"]",
        ] {
            assert_eq!(
                args(false, &["-"]).selection(Nothing::IsRefused, stdin.as_bytes()).unwrap(),
                names
            );
        }
    }

    #[test]
    fn nothing_means_all_only_where_that_is_harmless() {
        for switch in [false, true] {
            let all = args(switch, &[]).selection(Nothing::MeansAll, "".as_bytes()).unwrap();
            assert_eq!(all, Selection::All);
            assert!(args(switch, &[]).selection(Nothing::IsRefused, "".as_bytes()).is_err());
        }
    }

    #[test]
    fn what_the_go_tool_would_pass_over_is_refused() {
        assert!(refusal(&args(true, &["^a", "^b"]), "").contains("\"^b\" follows it"));
        assert!(refusal(&args(false, &["-", "b"]), "[]").contains("\"b\" follows `-`"));
    }

    /// D47: `bucky delete -r "$UNSET"` deletes every metric of the cluster.
    #[test]
    fn an_empty_expression_is_refused() {
        assert!(refusal(&args(true, &[""]), "").contains("empty"));
        assert!(refusal(&args(true, &["a("]), "").contains("not a valid regular expression"));
        assert!(refusal(&args(true, &["%".repeat(20_001).as_str()]), "").contains("20001 bytes"));
        assert!(checked_regex(&"%".repeat(20_000)).is_ok());
    }

    /// D1: a list that cannot be read counts as no list, so that all is meant.
    #[test]
    fn a_list_that_cannot_be_read_is_refused() {
        for stdin in ["[\"a\",", "[1]", "[null]", "{\"a\": 1}", "\"a\""] {
            assert!(refusal(&args(false, &["-"]), stdin).contains("not a JSON array"), "{stdin}");
        }
        let empty = args(false, &["-"]).selection(Nothing::IsRefused, "[]".as_bytes()).unwrap();
        assert_eq!(empty, Selection::Names(Vec::new()));
    }
}
