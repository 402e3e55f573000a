//! Query parameters of the `/v1` routes, read strictly. A parameter that is unknown or cannot be read is
//! refused: if a filter were overlooked, the answer would have every metric.

use globset::{Glob, GlobMatcher};
use regex::Regex;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::respond::ApiError;
use crate::inventory::Span;
use crate::transfers::{Permit, Transfers};

/// The most memory that a compiled regular expression may take.
const REGEX_LIMIT_BYTES: usize = 16 * 1024 * 1024;
/// The longest pattern. It is expanded before its size is known: `\pL` alone is hundreds of ranges.
const PATTERN_LIMIT_BYTES: usize = 4096;

/// Reads the query string of a request.
///
/// # Errors
/// A 400 that says what is wrong with it.
pub(crate) fn parse<T: DeserializeOwned>(query: Option<&str>) -> Result<T, ApiError> {
    serde_urlencoded::from_str(query.unwrap_or_default())
        .map_err(|error| ApiError::bad_request(format!("the query cannot be read: {error}")))
}

/// A switch in a query: `1` or `true`, `0` or `false`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Switch {
    /// On.
    #[serde(rename = "1", alias = "true")]
    On,
    /// Off.
    #[default]
    #[serde(rename = "0", alias = "false")]
    Off,
}

impl Switch {
    pub(crate) fn is_on(self) -> bool {
        self == Self::On
    }
}

/// Which names are selected.
#[derive(Debug)]
pub(crate) struct Filter {
    regex: Option<Regex>,
    glob: Option<GlobMatcher>,
    prefix: Option<String>,
    after: Option<String>,
    /// Held while the patterns are in memory.
    _permit: Option<Permit>,
}

/// The parameters of a filter, as text.
#[derive(Debug, Default)]
pub(crate) struct FilterText {
    pub(crate) regex: Option<String>,
    pub(crate) glob: Option<String>,
    pub(crate) prefix: Option<String>,
    pub(crate) after: Option<String>,
}

impl FilterText {
    /// The filter of these parameters. An empty parameter is refused. Patterns wait for a permit, and are
    /// compiled on a blocking thread.
    pub(crate) async fn compile(self, transfers: &Transfers) -> Result<Filter, ApiError> {
        let Self { regex, glob, prefix, after } = self;
        for (name, value) in [("regex", &regex), ("glob", &glob), ("prefix", &prefix)] {
            if value.as_deref() == Some("") {
                return Err(ApiError::bad_request(format!(
                    "{name}= is empty: it would match every metric"
                ))
                .hint("leave the parameter out to ask for all"));
            }
        }
        if regex.is_none() && glob.is_none() {
            return Ok(Filter { regex: None, glob: None, prefix, after, _permit: None });
        }
        let permit = transfers.pattern().await?;
        let compiled = transfers.compile(move || -> Result<_, ApiError> {
            let regex = regex.map(|text| compile_regex(&text)).transpose();
            let regex = regex.map_err(|error| {
                ApiError::bad_request(format!("regex= cannot be read: {error}"))
            })?;
            let glob = glob.map(|text| compile_glob(&text)).transpose();
            let glob = glob
                .map_err(|error| ApiError::bad_request(format!("glob= cannot be read: {error}")))?;
            Ok((regex, glob))
        });
        let (regex, glob) = compiled.await??;
        Ok(Filter { regex, glob, prefix, after, _permit: Some(permit) })
    }
}

impl Filter {
    /// The range of names in which the selected ones are.
    pub(crate) fn span(&self) -> Span<'_> {
        Span { after: self.after.as_deref(), prefix: self.prefix.as_deref() }
    }

    /// Whether a name of the range is selected.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.regex.as_ref().is_none_or(|regex| regex.is_match(name))
            && self.glob.as_ref().is_none_or(|glob| glob.is_match(name))
    }
}

/// Why a pattern cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PatternError {
    /// A short text can mean much, and a deeply nested one needs a deep stack.
    #[error("it has {len_bytes} bytes; the limit is {PATTERN_LIMIT_BYTES}")]
    TooLong {
        /// How long it is.
        len_bytes: usize,
    },
    /// Not a valid regular expression, or too large.
    #[error(transparent)]
    Regex(#[from] regex::Error),
    /// Not a valid glob.
    #[error(transparent)]
    Glob(#[from] globset::Error),
}

/// Compiles a regular expression from outside. It takes time and memory, so run it on a blocking thread, one
/// at a time.
pub(crate) fn compile_regex(text: &str) -> Result<Regex, PatternError> {
    check_length(text)?;
    Ok(regex::RegexBuilder::new(text).size_limit(REGEX_LIMIT_BYTES).build()?)
}

fn compile_glob(text: &str) -> Result<GlobMatcher, PatternError> {
    check_length(text)?;
    Ok(Glob::new(text)?.compile_matcher())
}

fn check_length(text: &str) -> Result<(), PatternError> {
    let len_bytes = text.len();
    if len_bytes > PATTERN_LIMIT_BYTES { Err(PatternError::TooLong { len_bytes }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first pattern overflowed the stack of the thread that compiled it, and the daemon crashed. The
    /// others took a worker for seconds, and hundreds of megabytes.
    #[test]
    fn patterns_that_are_small_and_stand_for_much_are_refused() {
        let deep = format!("{}{}", "{".repeat(400_000), "}".repeat(400_000));
        assert!(matches!(compile_glob(&deep), Err(PatternError::TooLong { len_bytes: 800_000 })));
        let longest = format!("{}{}", "{".repeat(2048), "}".repeat(2048));
        let deepest = std::thread::Builder::new().stack_size(2 << 20);
        let compiled = deepest.spawn(move || compile_glob(&longest).map(drop).is_ok()).unwrap();
        assert!(compiled.join().is_ok(), "the deepest glob that is taken fits the stack");
        for text in ["(a{1000}){1000}", "((((a{100}){100}){100}){100})", "((\\pL{100}){100})"] {
            assert!(matches!(compile_regex(text), Err(PatternError::Regex(_))), "{text}");
        }
        let classes = "\\pL".repeat(100_000);
        assert!(matches!(compile_regex(&classes), Err(PatternError::TooLong { .. })));
        assert!(compile_regex(&"a|".repeat(PATTERN_LIMIT_BYTES / 2)).is_ok());
    }
}
