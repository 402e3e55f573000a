//! stub
mod batch;
mod journal;
pub(crate) use self::batch::BatchLimits;
use crate::{outcome::Outcome, output::Output};
use bucky_api::{Client, DaemonAddr, Encoding};
use std::path::PathBuf;
use std::sync::Arc;
pub(crate) struct Order {
    pub(crate) seed: DaemonAddr,
    pub(crate) only_seed: bool,
    pub(crate) drained: Vec<DaemonAddr>,
    pub(crate) regex: Option<String>,
    pub(crate) allowed_destinations: Option<Vec<DaemonAddr>>,
    pub(crate) local_prefix: Option<String>,
    pub(crate) deletes: bool,
    pub(crate) fresh: bool,
    pub(crate) dry_run: bool,
    pub(crate) ignore_free_space: bool,
    pub(crate) workers: usize,
    pub(crate) encoding: Encoding,
    pub(crate) limits: BatchLimits,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) errors: Option<PathBuf>,
}
pub(crate) async fn run(
    _client: Client,
    _order: Order,
    _output: &Arc<Output>,
) -> anyhow::Result<Outcome> {
    anyhow::bail!("x")
}
