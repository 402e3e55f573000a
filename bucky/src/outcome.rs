//! How a command ended: the exit codes of `bucky`, and the two kinds of error that have their own.

use std::process::ExitCode;

/// The exit codes in the help of most commands.
pub(crate) const EXIT_CODES: &str = concat!(
    "Exit codes: 0 done, 1 some of it failed, 2 wrong usage, 3 the cluster is not\n",
    "healthy or not reachable, 130 stopped by Ctrl-C."
);
/// Those of commands that use local files only.
pub(crate) const LOCAL_EXIT_CODES: &str =
    "Exit codes: 0 done, 1 some of it failed, 2 wrong usage, 130 stopped by Ctrl-C.";
/// Those of commands that finish what is in progress at the first Ctrl-C.
pub(crate) const MOVING_EXIT_CODES: &str = concat!(
    "Exit codes: 0 done or nothing to do, 1 some of it failed or Ctrl-C stopped it,\n",
    "2 wrong usage, 3 the cluster is not healthy or not reachable, 130 stopped at\n",
    "once by Ctrl-C (the second one, or one before the work began)."
);

/// How a command ended; it decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 0: everything was done, or there was nothing to do.
    Done,
    /// 1: some of it failed; what failed was named on standard error.
    SomeFailed,
    /// 2: the command line is not valid; nothing was done.
    Usage,
    /// 3: the cluster is not healthy, or does not answer.
    Unhealthy,
    /// 130: the operator asked a second time to stop it, and it stopped at once.
    Interrupted,
}

impl Outcome {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::SomeFailed => 1,
            Self::Usage => 2,
            Self::Unhealthy => 3,
            Self::Interrupted => 130,
        }
    }

    /// The outcome of two parts of one command: a failure counts for more than a node that could not be
    /// asked.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let rank = |outcome| match outcome {
            Self::Done => 0,
            Self::Unhealthy => 1,
            Self::SomeFailed => 2,
            Self::Usage => 3,
            Self::Interrupted => 4,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome.code())
    }
}

/// The arguments are well formed but make no sense together: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

impl UsageError {
    /// A usage error as the error of a command.
    pub(crate) fn because(text: impl Into<String>) -> anyhow::Error {
        Self(text.into()).into()
    }
}

/// The cluster does not allow what was asked for: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UnhealthyError(pub(crate) String);

impl UnhealthyError {
    /// An unhealthy cluster as the error of a command.
    pub(crate) fn because(text: impl Into<String>) -> anyhow::Error {
        Self(text.into()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_counts_for_more_than_a_node_that_is_away() {
        assert_eq!(Outcome::Done.and(Outcome::Unhealthy), Outcome::Unhealthy);
        assert_eq!(Outcome::Unhealthy.and(Outcome::SomeFailed), Outcome::SomeFailed);
        assert_eq!(Outcome::SomeFailed.and(Outcome::Unhealthy), Outcome::SomeFailed);
        assert_eq!(Outcome::Done.and(Outcome::Done), Outcome::Done);
    }

    #[test]
    fn the_codes_are_those_of_the_contract() {
        let outcomes = [
            Outcome::Done,
            Outcome::SomeFailed,
            Outcome::Usage,
            Outcome::Unhealthy,
            Outcome::Interrupted,
        ];
        assert_eq!(outcomes.map(Outcome::code), [0, 1, 2, 3, 130]);
    }
}
