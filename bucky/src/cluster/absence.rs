//! Why a node does not take part.

use bucky_api::ClientError;

/// The reason why a node cannot take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    /// Nothing answers at the address.
    Down,
    /// It accepts a connection and does not answer in time, or breaks off its answer.
    NotAnswering,
    /// It wants a token that was not given, or was not good enough.
    Denied,
    /// Its answer is an error, or cannot be understood.
    BadAnswer,
}

impl Absence {
    /// The absence that a failed request shows.
    pub(super) fn of(error: &ClientError) -> Self {
        match error {
            ClientError::Unreachable { .. } => Self::Down,
            ClientError::TimedOut { .. } | ClientError::Broken { .. } => Self::NotAnswering,
            error if error.status().is_some_and(|it| matches!(it.as_u16(), 401 | 403)) => {
                Self::Denied
            }
            _ => Self::BadAnswer,
        }
    }

    /// A word for a table.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::NotAnswering => "no answer",
            Self::Denied => "denied",
            Self::BadAnswer => "bad answer",
        }
    }

    /// What follows the address in a sentence.
    pub(crate) fn predicate(self) -> &'static str {
        match self {
            Self::Down => "is down",
            Self::NotAnswering => "is not answering",
            Self::Denied => "denied access",
            Self::BadAnswer => "gave a bad answer",
        }
    }
}
