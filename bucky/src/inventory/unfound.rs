//! Selected names that no node has.

use std::collections::BTreeSet;

use crate::names::Selection;
use crate::outcome::Outcome;
use crate::output::Output;

/// Selected names that no node has returned yet.
pub(crate) struct UnfoundNames(BTreeSet<String>);

impl UnfoundNames {
    /// All selected names.
    pub(crate) fn new(selection: &Selection) -> Self {
        match selection {
            Selection::Names(names) => Self(names.iter().cloned().collect()),
            Selection::All | Selection::Regex(_) => Self(BTreeSet::new()),
        }
    }

    /// The names that were not found.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Notes a metric that was found.
    pub(crate) fn found(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Reports the names that were not found.
    pub(crate) fn report(&self, output: &Output) -> Outcome {
        for name in &self.0 {
            output.say(format_args!("Metric not found: {name}"));
        }
        if self.0.is_empty() { Outcome::Done } else { Outcome::SomeFailed }
    }
}
