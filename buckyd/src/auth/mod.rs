//! Who may do what: tokens, where there is a secret to sign them with, and which other daemons are spoken to.
//!
//! `settings` are the flags. `guard` stands before all routes: it wants a good token, and looks at all that the path and
//! the method tell; names that stand in a body are looked at where it is read, with the [`Caller`] that the guard has
//! left. `peers` is the one door to other daemons, with a short-lived and narrow token for those that may have one.
//! Without a secret everybody may do everything, as ever.

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

/// How long a token of this daemon's own is good. It is looked at when a request begins, however long that takes then.
const OWN_SECONDS: u64 = 300;

/// What tokens are signed with: the first signs, all are taken.
#[derive(Clone, Debug)]
pub(crate) struct Keys(Arc<[Secret]>);

impl Keys {
    fn new(secret: Secret, also_taken: Vec<Secret>) -> Self {
        Self(std::iter::once(secret).chain(also_taken).collect())
    }

    pub(crate) fn verify(&self, token: &[u8]) -> Result<Grant, bucky_api::token::TokenError> {
        Grant::verify(token, &self.0, u64::from(unix_now()))
    }

    /// A token of this daemon's own.
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
        // There is always one.
        self.0.first().ok_or(TokenTextError::Empty)?.sign(&claims)
    }
}

/// Who sent a request, as far as that is known.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// There are no tokens here.
    Anyone,
    /// Whoever holds a token that allows this.
    Holder(Arc<Grant>),
}

impl Caller {
    /// Whether it may do that to a metric.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn may(&self, operation: Operation, metric: &MetricName) -> Result<(), Denied> {
        self.may_named(operation, metric.as_str())
    }

    /// Whether it may do all of that to a metric.
    ///
    /// # Errors
    /// [`Denied`] tells the first that it may not.
    pub(crate) fn may_all(
        &self,
        operations: &[Operation],
        metric: &MetricName,
    ) -> Result<(), Denied> {
        operations.iter().try_for_each(|operation| self.may(*operation, metric))
    }

    /// Whether it may see lists.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn may_list(&self) -> Result<(), Denied> {
        self.may_named(Operation::Read, LIST)
    }

    /// Whether it may do that to any metric at all.
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
