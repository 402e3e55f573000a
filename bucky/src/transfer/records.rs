//! The counts of a run, and the files that it writes.

use std::sync::Arc;

use super::options::SyncOptions;
use crate::output::Output;
use crate::run::failure_files::FailureFiles;
use crate::run::job_state::JobState;
use crate::run::journal::Journal;
use crate::run::shared_job_state::SharedJobState;
use crate::run::shared_journal::SharedJournal;
use crate::run::tally::Tally;

/// The counts of a run, and the files that it writes.
pub(crate) struct Records {
    /// The counts.
    pub(crate) tally: Tally,
    /// The journal, from which a later run continues.
    pub(crate) journal: SharedJournal,
    /// The job state file, in the Go tool's format.
    pub(crate) jobs: SharedJobState,
}

impl Records {
    /// Opens the files that `sync` names; `journal` is open already. Call it before the run handles signals:
    /// opening a pipe without a reader blocks, and Ctrl-C must still work.
    ///
    /// # Errors
    /// If a file cannot be opened.
    pub(crate) fn open(
        sync: &SyncOptions,
        journal: Option<Journal>,
        output: &Arc<Output>,
    ) -> anyhow::Result<Self> {
        let jobs = sync.job_state.as_deref().map(JobState::open).transpose()?;
        let files = FailureFiles::open(sync.errors.as_deref(), sync.metric_errors.as_deref())?;
        Ok(Self {
            tally: Tally::begin(files, Arc::clone(output)),
            journal: SharedJournal::new(journal, Arc::clone(output)),
            jobs: SharedJobState::new(jobs, Arc::clone(output)),
        })
    }

    /// Only counts, and no files.
    pub(crate) fn of_counts(output: &Arc<Output>) -> Self {
        Self {
            tally: Tally::begin(FailureFiles::default(), Arc::clone(output)),
            journal: SharedJournal::new(None, Arc::clone(output)),
            jobs: SharedJobState::new(None, Arc::clone(output)),
        }
    }
}
