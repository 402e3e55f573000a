//! Where a run notes what it did.

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
    /// What was done.
    pub(crate) tally: Tally,
    /// What a later run need not do again.
    pub(crate) journal: SharedJournal,
    /// What was copied, in the Go tool's file.
    pub(crate) jobs: SharedJobState,
}

impl Records {
    /// Those that `sync` names, with this journal. To be opened before the signals are the run's: somebody
    /// who opens a pipe that nobody reads can then still be stopped.
    ///
    /// # Errors
    /// Where a file cannot be opened.
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

    /// Counts only, and no files.
    pub(crate) fn of_counts(output: &Arc<Output>) -> Self {
        Self {
            tally: Tally::begin(FailureFiles::default(), Arc::clone(output)),
            journal: SharedJournal::new(None, Arc::clone(output)),
            jobs: SharedJobState::new(None, Arc::clone(output)),
        }
    }
}
