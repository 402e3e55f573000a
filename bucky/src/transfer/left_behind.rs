//! What a run leaves in place because no daemon serves it, or because it is unplaceable.

use bucky_api::NotServed;
use futures_util::{StreamExt, stream};

use super::{ASKED_AT_ONCE, MoveOrder, Task};
use crate::fleet::Fleet;
use crate::outcome::Outcome;
use crate::output::Output;

/// Names the nodes with folders that they cannot read, and what happens to the files in them; the run is not
/// complete then. The Go tool passes over such folders (D42).
pub(crate) async fn report_unread_folders(fleet: &Fleet, fate: &str, output: &Output) -> Outcome {
    let mut seen = Outcome::Done;
    // Asked again: the nodes may have scanned since the first time.
    let asked = fleet
        .sources
        .iter()
        .map(|source| async { (source.node.addr(), source.node.daemon.status().await) });
    let mut asked = stream::iter(asked).buffered(ASKED_AT_ONCE);
    while let Some((addr, status)) = asked.next().await {
        let Ok(Some(status)) = status else { continue };
        if status.inventory.unreadable_folders > 0 {
            let problem = &status.inventory.problem;
            output.say(format_args!("bucky: {addr}: {problem}; the files in them {fate}"));
            seen = Outcome::SomeFailed;
        }
    }
    seen
}

/// What a drained node keeps in any case because it is not in the node's list or is unplaceable: one line for
/// each node. What other sources have of that kind is printed here, because it does not take part.
pub(super) async fn left_behind(fleet: &Fleet, order: &MoveOrder, output: &Output) -> Vec<String> {
    let mut lines = Vec::new();
    for source in &fleet.sources {
        let Ok(Some(status)) = source.node.daemon.status().await else { continue };
        let found = status.inventory.all_not_served();
        let addr = source.node.addr();
        let is_drained = order.task == Task::Rebalance
            && order.selected.regex.is_none()
            && !fleet.members.iter().any(|member| member.addr() == addr);
        let see = format!("`bucky list --not-served -s -h {addr}` lists them");
        if is_drained {
            // With our own `--series`, a file that the node cannot place may be moved all the same; the plan
            // reports it.
            let unplaceable = if order.selected.series.is_given() { 0 } else { found.unplaceable };
            let text = NotServed { unplaceable, ..found }.text();
            if !text.is_empty() {
                lines.push(format!("bucky: {addr} is not empty: {text}; {see}."));
            }
            continue;
        }
        // These two are reported for all nodes together, or already.
        let text = NotServed { unreadable_folders: 0, unplaceable: 0, ..found }.text();
        if !text.is_empty() {
            output.say(format_args!(
                "bucky: {addr} also has files that do not take part: {text}; {see}."
            ));
        }
    }
    lines
}
