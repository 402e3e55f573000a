//! Which metrics a command works on, as names or as a regular expression, and how lists of names are read.

use std::io::Read;

use bucky_whisper::MetricName;
use regex::Regex;

use crate::byte_order_mark::text_without_mark;
use crate::outcome::UsageError;

/// Which metrics are selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All.
    All,
    /// Those whose name matches the expression.
    Regex(String),
    /// These names: sorted, each once.
    Names(Vec<String>),
}

/// What a command does if no metrics are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// It takes all metrics.
    MeansAll,
    /// It refuses to run.
    IsRefused,
}

/// The longest expression. It is sent in a request's query, of which daemons take 64 KiB, and each byte may
/// become three.
const REGEX_LIMIT_BYTES: usize = 20_000;

/// `expression`, if it is valid, not empty, and not too long.
///
/// # Errors
/// [`UsageError`].
pub(crate) fn checked_regex(expression: &str) -> anyhow::Result<String> {
    if expression.is_empty() {
        // D47: the Go tool takes an empty expression for all metrics.
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
    let text = text_without_mark(&text);
    if text.trim_start().starts_with(['[', '{', '"']) {
        return serde_json::from_str(text).map_err(|error| {
            UsageError::because(format!("standard input is not a JSON array of names: {error}"))
        });
    }
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// The metric that a node lists as `name`.
///
/// # Errors
/// The reason why it is not a metric's name: a daemon would refuse it, or take it for another metric's (D31).
pub(crate) fn metric_called(name: &str) -> Result<MetricName, String> {
    match MetricName::parse(name) {
        Ok(metric) if metric.as_str() == name => Ok(metric),
        Ok(metric) => Err(format!("it would be read as {metric}")),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}
