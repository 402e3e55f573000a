//! Remarks about the nodes, beside the findings about metrics.

use bucky_api::counted::counted;
use bucky_api::{NotServed, Status};
use futures_util::{StreamExt, stream};

use super::report::{Remark, VerifyCounts};
use super::{ASKED_AT_ONCE, clock};
use crate::cluster::{Cluster, Member};
use crate::placement::Series;

/// The remark about metrics that are unplaceable, on all nodes together.
pub(super) fn of_unplaceable(counts: &VerifyCounts, series: &Series) -> Option<Remark> {
    let text = || series.unplaceable(counts.unplaceable).to_string();
    let remark = || Remark { node: String::new(), text: text(), is_finding: true };
    (counts.unplaceable > 0).then(remark)
}

/// What the nodes report about themselves that bears on the findings.
pub(super) async fn of_nodes(cluster: &Cluster) -> Vec<Remark> {
    let members = cluster.members.iter().filter(|member| member.status().is_some());
    // Asked again: the earlier answers are old by now.
    let asked = members.map(|member| async move { (member, member.daemon.status().await) });
    let answers: Vec<_> = stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await;
    let remark = |(member, answer): (&Member, Result<Option<Status>, _>)| {
        let remarks = match answer {
            Ok(Some(status)) => status_remarks(&status),
            _ => vec![("cannot get its status".to_owned(), true)],
        };
        let node = member.addr().to_string();
        remarks.into_iter().map(move |(text, is_finding)| Remark {
            node: node.clone(),
            text,
            is_finding,
        })
    };
    let clocks = clock::remarks(cluster.members.iter());
    clocks.into_iter().chain(answers.into_iter().flat_map(remark)).collect()
}

/// The remarks about a node's status, and whether each means that something was not verified.
fn status_remarks(status: &Status) -> Vec<(String, bool)> {
    let mut remarks = Vec::new();
    let inventory = &status.inventory;
    if inventory.unreadable_folders > 0 {
        remarks.push((format!("{}; the files in them were not checked", inventory.problem), true));
    }
    // Folders that cannot be read are reported above. Whether other files are unplaceable was decided with
    // our `--series`.
    let not_served =
        NotServed { unreadable_folders: 0, unplaceable: 0, ..inventory.all_not_served() }.text();
    if !not_served.is_empty() {
        remarks.push((format!("{not_served}; details: bucky list --not-served"), true));
    }
    if status.replaced.files > 0 {
        let files = counted(status.replaced.files, "corrupt file", "corrupt files");
        let text = format!("{files} replaced and kept in .bucky/replaced");
        remarks.push((text, false));
    }
    let tombstones = &status.tombstones;
    if tombstones.waiting > 0 {
        let held = tombstones.held.iter().map(|held| format!("; {}: {}", held.count, held.reason));
        let held: String = held.collect();
        let waiting = counted(tombstones.waiting, "deleted copy", "deleted copies");
        // A tombstone that is held may have points that its owners lack.
        let is_held = !held.is_empty();
        remarks.push((format!("{waiting} not yet confirmed{held}"), is_held));
    }
    remarks
}
