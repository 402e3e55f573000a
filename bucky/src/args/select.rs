//! Which metrics a command works on: names as arguments, names on standard input, or a regular expression.

use std::io::Read;

use super::heading;
use crate::names::{Nothing, Selection, checked_regex, names_from, sorted};
use crate::outcome::UsageError;

/// The arguments that select metrics.
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

impl SelectArgs {
    /// The selected metrics. Reads `stdin` if the argument is `-`.
    ///
    /// # Errors
    /// [`UsageError`]: arguments are missing, the expression is bad or empty, or the input is not a list.
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
            // The Go tool ignores further arguments.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::*;

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
    fn arguments_that_the_go_tool_ignores_are_refused() {
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

    /// D1: the Go tool ignores a list that it cannot read, and takes all metrics.
    #[test]
    fn a_list_that_cannot_be_read_is_refused() {
        for stdin in ["[\"a\",", "[1]", "[null]", "{\"a\": 1}", "\"a\""] {
            assert!(refusal(&args(false, &["-"]), stdin).contains("not a JSON array"), "{stdin}");
        }
        let empty = args(false, &["-"]).selection(Nothing::IsRefused, "[]".as_bytes()).unwrap();
        assert_eq!(empty, Selection::Names(Vec::new()));
    }
}
