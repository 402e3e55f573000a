//! Tokens: what the holder of one may do with which metrics.
//!
//! A token is a JWT (RFC 7519) in the header [`TOKEN_HEADER`], signed with HMAC-SHA-256 by a secret that all
//! daemons of a cluster share. Its claims are the Go tool's: `namespaces`, which are patterns of names, and
//! `ops`. Unlike there, `exp` and `nbf` are checked. `jws` is the form of a token, `claims` its content, and
//! `pattern` the rule by which names match. [`Grant`] combines them. Pure: the clock is an argument.
//!
//! There is one fixed algorithm, with the MAC of the `hmac` crate, compared in constant time. Libraries that
//! support all of JWT would add RSA and elliptic curves, which are not needed, and would let the sender
//! choose the algorithm.

mod claims;
mod jws;
mod pattern;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use reqwest::header::HeaderValue;

pub use self::claims::{Claims, ClaimsError};
pub use self::jws::{Secret, SecretError, TokenError, payload};
pub use self::pattern::{Malformed, Pattern, escaped};

/// The header that carries the token, without `Bearer` or anything else before it. The Go tool uses the same
/// one.
pub const TOKEN_HEADER: &str = "x-buckyd-authorization";
/// The name that is tested for a request that lists metrics. No metric has this name. The Go tool uses the
/// same one.
pub const LIST: &str = "*";
/// The tolerance for the clocks of two hosts, in seconds.
pub const LEEWAY_SECONDS: u64 = 30;
/// The longest token that is read or sent.
pub const TOKEN_LIMIT_BYTES: usize = 64 * 1024;

/// A token as it is sent. Anyone who knows it may do what it allows, so it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(HeaderValue);

/// Why a text cannot be sent as a token. The text itself is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenTextError {
    /// Only white space.
    #[error("it is empty")]
    Empty,
    /// More than any daemon reads.
    #[error("it has more than {TOKEN_LIMIT_BYTES} bytes")]
    TooLong,
    /// White space, or bytes that a header cannot contain.
    #[error(
        "it has white space or other characters that are not part of a token; it must contain only the token, \
         without `Bearer`"
    )]
    BadCharacter,
}

impl Token {
    /// The token in the content of a file, without the white space around it.
    ///
    /// # Errors
    /// [`TokenTextError`].
    pub fn parse(content: &[u8]) -> Result<Self, TokenTextError> {
        let text = content.trim_ascii();
        if text.is_empty() {
            return Err(TokenTextError::Empty);
        }
        if text.len() > TOKEN_LIMIT_BYTES {
            return Err(TokenTextError::TooLong);
        }
        if !text.iter().all(u8::is_ascii_graphic) {
            return Err(TokenTextError::BadCharacter);
        }
        let mut value = HeaderValue::from_bytes(text).map_err(|_| TokenTextError::BadCharacter)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// The value of [`TOKEN_HEADER`], marked as sensitive.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// The token itself, for a command that prints it.
    pub fn reveal(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// What a token can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// See names, figures and points.
    Read,
    /// Create metrics and fill gaps.
    Update,
    /// Replace a metric's file.
    Replace,
    /// Remove metrics.
    Delete,
}

/// All operations, in the order in which they are listed.
pub const OPERATIONS: [Operation; 4] =
    [Operation::Read, Operation::Update, Operation::Replace, Operation::Delete];

impl Operation {
    /// Its name in the claim `ops`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that does not name an operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid operation: {0:?} (read, update, replace, delete, or * for all)")]
pub struct UnknownOperation(pub String);

impl FromStr for Operation {
    type Err = UnknownOperation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = OPERATIONS.into_iter().find(|operation| operation.as_str() == text);
        found.ok_or_else(|| UnknownOperation(text.to_owned()))
    }
}

/// What a valid token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    patterns: Vec<Pattern>,
    malformed: Vec<String>,
    operations: Vec<Operation>,
}

/// What a token does not allow. The texts begin like the Go tool's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// None of its patterns matches the name.
    #[error("token has no access to the metric/namespace{}", but(malformed))]
    Namespace {
        /// Patterns of the token that match nothing, because they are malformed.
        malformed: Vec<String>,
    },
    /// It does not allow the operation.
    #[error("token doesn't have {0} permission for the metric/namespace")]
    Operation(Operation),
}

fn but(malformed: &[String]) -> String {
    match malformed {
        [] => String::new(),
        [first, ..] => format!(" (its pattern {first:?} is malformed and matches nothing)"),
    }
}

impl Grant {
    /// What these claims allow. A malformed pattern matches nothing. An unknown operation allows nothing.
    pub fn of(claims: &Claims) -> Self {
        let (mut patterns, mut malformed) = (Vec::new(), Vec::new());
        for text in &claims.namespaces {
            match text.parse() {
                Ok(pattern) => patterns.push(pattern),
                Err(Malformed { .. }) => malformed.push(text.clone()),
            }
        }
        let has = |operation: &Operation| {
            claims.ops.iter().any(|op| op == "*" || op == operation.as_str())
        };
        Self { patterns, malformed, operations: OPERATIONS.into_iter().filter(has).collect() }
    }

    /// What `token`, the value of [`TOKEN_HEADER`], allows at `now` (Unix seconds). It must be signed with
    /// one of `secrets`.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(token: &[u8], secrets: &[Secret], now: u64) -> Result<Self, TokenError> {
        let claims = jws::verified(token, secrets)?;
        claims.check_time(now)?;
        Ok(Self::of(&claims))
    }

    /// Whether it allows `operation` on any metric at all.
    ///
    /// # Errors
    /// [`Denied::Operation`].
    pub fn has(&self, operation: Operation) -> Result<(), Denied> {
        match self.operations.contains(&operation) {
            true => Ok(()),
            false => Err(Denied::Operation(operation)),
        }
    }

    /// Whether it allows `operation` on `name`: a metric's name in its canonical spelling, or [`LIST`].
    ///
    /// # Errors
    /// [`Denied`].
    pub fn may(&self, operation: Operation, name: &str) -> Result<(), Denied> {
        if !self.patterns.iter().any(|pattern| pattern.matches(name)) {
            return Err(Denied::Namespace { malformed: self.malformed.clone() });
        }
        self.has(operation)
    }
}
