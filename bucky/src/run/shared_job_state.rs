//! The job state file, shared by the tasks of all sources.

use std::sync::{Arc, Mutex, PoisonError};

use super::job_state::{CopyJob, JobState};
use crate::chain;
use crate::output::Output;

/// The job state file, shared by the tasks of all sources. If it can no longer be written, the run continues
/// without it.
pub(crate) struct SharedJobState {
    state: Mutex<Option<JobState>>,
    output: Arc<Output>,
}

impl SharedJobState {
    /// Shares this file, if there is one.
    pub(crate) fn new(state: Option<JobState>, output: Arc<Output>) -> Self {
        Self { state: Mutex::new(state), output }
    }

    /// Whether earlier runs did all of `jobs`.
    pub(crate) fn are_done<'a>(&self, jobs: impl IntoIterator<Item = CopyJob<'a>>) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().is_some_and(|state| jobs.into_iter().all(|job| state.is_done(job)))
    }

    /// Appends these jobs.
    pub(crate) fn note<'a>(&self, jobs: impl IntoIterator<Item = CopyJob<'a>>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = state.as_mut().map(|state| state.note(jobs)) {
            self.output.say(format_args!("bucky: {}; the run continues without it", chain(&error)));
            *state = None;
        }
    }
}
