//! Who may do what: tokens, if there is a secret to sign them with, and which other daemons this one
//! contacts.
//!
//! `settings` are the flags. `routes::guard` runs before all routes: it requires a valid token, and checks
//! everything that the path and the method say. Names in a body are checked where the body is read, with the
//! [`Caller`] from the guard. `peers` is the only way to other daemons. It gives a short-lived and narrow
//! token to those that may have one. Without a secret any client may do everything, as with the Go daemon.

pub(crate) mod demand;
mod narrow;
mod peers;
mod settings;

use std::sync::Arc;

use bucky_api::clock::unix_now;
use bucky_api::token::{Claims, Denied, Grant, LIST, Operation, Secret, Token, TokenTextError};
use bucky_whisper::MetricName;

pub(crate) use self::peers::{NoDaemon, Peers};
pub(crate) use self::settings::{AuthArgs, AuthSettings};

/// How long a token from this daemon is valid. It is checked when a request begins, so the request may take
/// longer.
const OWN_SECONDS: u64 = 300;

/// The secrets of tokens: the first one signs, all are accepted.
#[derive(Clone, Debug)]
pub(crate) struct Keys(Arc<[Secret]>);

impl Keys {
    fn new(secret: Secret, also_taken: Vec<Secret>) -> Self {
        Self(std::iter::once(secret).chain(also_taken).collect())
    }

    pub(crate) fn verify(&self, token: &[u8]) -> Result<Grant, bucky_api::token::TokenError> {
        Grant::verify(token, &self.0, u64::from(unix_now()))
    }

    /// A token from this daemon.
    fn sign(
        &self,
        operations: &[Operation],
        namespaces: Vec<String>,
    ) -> Result<Token, TokenTextError> {
        let now = u64::from(unix_now());
        let claims = Claims {
            namespaces,
            ops: operations.iter().map(ToString::to_string).collect(),
            issued_at: Some(now as f64),
            not_before: None,
            expires: Some((now + OWN_SECONDS) as f64),
        };
        // There is always at least one.
        self.0.first().ok_or(TokenTextError::Empty)?.sign(&claims)
    }
}

/// Who sent a request, as far as this daemon can know.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// There are no tokens here.
    Anyone,
    /// The holder of a token that allows this.
    Holder(Arc<Grant>),
}

impl Caller {
    /// Whether the caller may do `operation` to `metric`.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn may(&self, operation: Operation, metric: &MetricName) -> Result<(), Denied> {
        self.may_named(operation, metric.as_str())
    }

    /// Whether the caller may do all of `operations` to `metric`.
    ///
    /// # Errors
    /// [`Denied`] for the first that is not allowed.
    pub(crate) fn may_all(
        &self,
        operations: &[Operation],
        metric: &MetricName,
    ) -> Result<(), Denied> {
        operations.iter().try_for_each(|operation| self.may(*operation, metric))
    }

    /// Whether the caller may list metrics.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn may_list(&self) -> Result<(), Denied> {
        self.may_named(Operation::Read, LIST)
    }

    /// Whether the caller may do `operation` to any metric at all.
    ///
    /// # Errors
    /// [`Denied::Operation`].
    pub(crate) fn has(&self, operation: Operation) -> Result<(), Denied> {
        match self {
            Self::Anyone => Ok(()),
            Self::Holder(grant) => grant.has(operation),
        }
    }

    fn may_named(&self, operation: Operation, name: &str) -> Result<(), Denied> {
        match self {
            Self::Anyone => Ok(()),
            Self::Holder(grant) => grant.may(operation, name),
        }
    }
}
