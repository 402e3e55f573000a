//! The reason why a metric was not healed.

use std::path::Path;

use bucky_api::{HealOutcome, Problem, SchemaDifference, chain};

use super::error::StoreError;

/// Why a metric could not be healed.
pub(super) struct Failure {
    pub(super) outcome: HealOutcome,
    pub(super) problem: Problem,
    pub(super) reason: String,
    /// What was filled nevertheless, and what has no place.
    pub(super) holding: Holding,
}

impl Failure {
    pub(super) fn refused(problem: Problem, reason: impl Into<String>) -> Self {
        let holding = Holding::default();
        Self { outcome: HealOutcome::Refused, problem, reason: reason.into(), holding }
    }

    pub(super) fn failed(problem: Problem, reason: impl Into<String>) -> Self {
        let holding = Holding::default();
        Self { outcome: HealOutcome::Failed, problem, reason: reason.into(), holding }
    }

    /// Adds what the file holds.
    pub(super) fn with(self, holding: Holding) -> Self {
        Self { holding, ..self }
    }

    /// Adds the name of the file system if it is the cause. Other messages have paths below the prefix.
    pub(super) fn below(mut self, prefix: &Path) -> Self {
        let prefix = prefix.display().to_string();
        if matches!(self.problem, Problem::NoSpace | Problem::Storage)
            && !self.reason.contains(&prefix)
        {
            self.reason = format!("{} (on the file system of {prefix})", self.reason);
        }
        self
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let problem = error.as_destination_problem();
        let outcome = match problem {
            Problem::BadPath | Problem::TooLarge => HealOutcome::Refused,
            _ => HealOutcome::Failed,
        };
        Self { outcome, problem, reason: chain(&error), holding: Holding::default() }
    }
}

/// What an existing file now holds of the source.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// How many points it got.
    pub(super) points: u64,
    /// How many points of the source it has. `None` if it is a byte-for-byte copy of the source.
    pub(super) held: Option<u64>,
    /// How the two files differ.
    pub(super) difference: Option<Box<SchemaDifference>>,
}
