//! The journal, shared by the tasks of all sources. If it can no longer be written, the run continues without
//! it.

use std::sync::{Arc, Mutex, PoisonError};

use bucky_whisper::MetricName;

use super::journal::{Journal, JournalError};
use crate::chain;
use crate::output::Output;

/// The journal, shared by the tasks of all sources.
pub(crate) struct SharedJournal {
    journal: Mutex<Option<Journal>>,
    output: Arc<Output>,
}

impl SharedJournal {
    /// Shares this journal, if there is one.
    pub(crate) fn new(journal: Option<Journal>, output: Arc<Output>) -> Self {
        Self { journal: Mutex::new(journal), output }
    }

    /// Notes that `source` is finished up to `metric`.
    pub(crate) fn through(&self, source: &str, metric: &MetricName) {
        self.with(|journal| journal.through(source, metric));
    }

    /// Notes a metric that failed.
    pub(crate) fn failed(&self, source: &str, metric: &MetricName, reason: &str) {
        self.with(|journal| journal.failed(source, metric, reason));
    }

    /// Notes that a metric that had failed was moved.
    pub(crate) fn moved(&self, source: &str, metric: &MetricName) {
        self.with(|journal| journal.moved(source, metric));
    }

    /// Ends the journal. It is removed if nothing is left to do, and otherwise synced.
    pub(crate) fn end(&self, is_complete: bool) {
        let Some(mut journal) = self.lock().take() else { return };
        let path = journal.path().to_owned();
        if is_complete {
            if let Err(error) = std::fs::remove_file(&path) {
                self.output.say(format_args!(
                    "bucky: cannot remove {}, which is no longer needed; remove it: {error}",
                    path.display()
                ));
            }
        } else if let Err(error) = journal.sync() {
            self.output.say(format_args!("bucky: {}", chain(&error)));
        }
    }

    fn with(&self, note: impl FnOnce(&mut Journal) -> Result<(), JournalError>) {
        let mut journal = self.lock();
        if let Some(Err(error)) = journal.as_mut().map(note) {
            self.output.say(format_args!("bucky: {}; the run continues without it", chain(&error)));
            *journal = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
