//! What every command that moves or copies between nodes does before it makes a plan.

use std::sync::Arc;

use crate::cluster::{DaemonKind, Member};
use crate::fleet::{Fleet, refuse_shared_addresses};
use crate::inventory::refresh;
use crate::output::Output;

/// Refuses nodes that cannot be distinguished, says what to expect of Go daemons, and has the nodes of
/// `scanned` scan again if `fresh`.
///
/// # Errors
/// [`crate::outcome::UsageError`] for nodes with one address; the error of a scan that fails.
pub(crate) async fn open<'m>(
    fleet: &Fleet,
    scanned: impl Iterator<Item = &'m Member>,
    fresh: bool,
    output: &Arc<Output>,
) -> anyhow::Result<()> {
    refuse_shared_addresses(fleet).await?;
    if fleet.node_without(DaemonKind::exchanges_archives).is_some() {
        output.say(
            "bucky: Go daemons take part: their metrics travel one by one, they answer before data is on disk, \
             and they delete without checking for later writes",
        );
    }
    if fresh {
        refresh(scanned, output).await?;
    }
    Ok(())
}
