//! What every run over a cluster has: a stop that an operator can ask for, counts, failures and the files
//! that list them, progress, and the journal from which a later run continues.

pub(crate) mod failure;
pub(crate) mod failure_files;
pub(crate) mod failure_kind;
pub(crate) mod job_state;
pub(crate) mod journal;
pub(crate) mod progress;
pub(crate) mod resume;
pub(crate) mod schemas;
pub(crate) mod shared_job_state;
pub(crate) mod shared_journal;
pub(crate) mod stop;
pub(crate) mod tally;
