//! Query parameters of the `/v1` routes, read strictly: an unknown one, or one that cannot be read, is refused. A
//! filter that is overlooked would answer for every metric.

use globset::{Glob, GlobMatcher};
use regex::Regex;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::inventory::Span;
use crate::respond::ApiError;

/// The longest regular expression's memory, compiled.
const REGEX_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// Reads the query string of a request.
///
/// # Errors
/// A 400 that says what is wrong with it.
pub(super) fn parse<T: DeserializeOwned>(query: Option<&str>) -> Result<T, ApiError> {
    serde_urlencoded::from_str(query.unwrap_or_default())
        .map_err(|error| ApiError::bad_request(format!("the query cannot be read: {error}")))
}

/// A switch in a query: `1` or `true`, `0` or `false`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Switch {
    /// On.
    #[serde(rename = "1", alias = "true")]
    On,
    /// Off.
    #[default]
    #[serde(rename = "0", alias = "false")]
    Off,
}

impl Switch {
    pub(super) fn is_on(self) -> bool {
        self == Self::On
    }
}

/// Which names are wanted.
#[derive(Debug)]
pub(super) struct Filter {
    regex: Option<Regex>,
    glob: Option<GlobMatcher>,
    prefix: Option<String>,
    after: Option<String>,
}

impl Filter {
    /// A filter of the parameters that were given; an empty one is refused.
    pub(super) fn new(
        regex: Option<String>,
        glob: Option<String>,
        prefix: Option<String>,
        after: Option<String>,
    ) -> Result<Self, ApiError> {
        for (name, value) in [("regex", &regex), ("glob", &glob), ("prefix", &prefix)] {
            if value.as_deref() == Some("") {
                return Err(ApiError::bad_request(format!(
                    "{name}= is empty: it would match every metric"
                ))
                .hint("leave the parameter out to ask for all"));
            }
        }
        let regex = regex.map(|text| compile(&text)).transpose()?;
        let glob = glob
            .map(|text| Glob::new(&text).map(|glob| glob.compile_matcher()))
            .transpose()
            .map_err(|error| ApiError::bad_request(format!("glob= cannot be read: {error}")))?;
        Ok(Self { regex, glob, prefix, after })
    }

    /// Where the names lie.
    pub(super) fn span(&self) -> Span<'_> {
        Span { after: self.after.as_deref(), prefix: self.prefix.as_deref() }
    }

    /// Whether a name of the span is wanted.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.regex.as_ref().is_none_or(|regex| regex.is_match(name))
            && self.glob.as_ref().is_none_or(|glob| glob.is_match(name))
    }
}

/// Compiles a regular expression that came from outside.
pub(super) fn compile(text: &str) -> Result<Regex, ApiError> {
    compile_regex(text)
        .map_err(|error| ApiError::bad_request(format!("regex= cannot be read: {error}")))
}

/// The same, with the error as it is.
pub(super) fn compile_regex(text: &str) -> Result<Regex, regex::Error> {
    regex::RegexBuilder::new(text).size_limit(REGEX_LIMIT_BYTES).build()
}
