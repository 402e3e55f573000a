//! The words of a report: headings, remarks, and what an operator does next.

use super::{Counts, Ending, KindCount, Remark, What, some};

/// What stands above the findings of the kind with this number.
pub(super) fn heading(number: usize, count: &KindCount) -> String {
    let metrics = some(count.metrics, "metric", "metrics");
    let copies = some(count.copies, "copy", "copies");
    match What::NAMES[number] {
        "lacks" => format!("{metrics} of which an owner lacks points that a misplaced copy has"),
        "no_place" => {
            format!(
                "{metrics} of which a misplaced copy has points that its owner has no place for"
            )
        }
        "corrupt" => format!("{metrics} with files that are corrupt, {copies}"),
        "unreadable" => format!("{metrics} with files that cannot be read, {copies}"),
        "gone" => format!("{metrics} that vanished"),
        "missing" => format!("{metrics} that an owner lacks"),
        "misplaced" => format!("{metrics} on nodes that do not own them, {copies}"),
        "incomparable" => format!("{metrics} whose copies differ and cannot be compared"),
        "not_found" => format!("{metrics} that no node has"),
        "unusable" => format!("{metrics} by names that no metric can have"),
        "layouts_differ" => format!("{metrics} whose copies keep their points differently"),
        _ => format!("{metrics} of which an owner lacks points that another owner has"),
    }
}

/// What a reader has to know beside the findings.
pub(super) fn notes(ending: &Ending<'_>) -> Vec<String> {
    let Counts { changed, compressed, .. } = ending.counts;
    let note = |remark: &Remark| match remark.text.contains(&remark.node) {
        true => remark.text.clone(),
        false => format!("{}: {}", remark.node, remark.text),
    };
    let mut notes: Vec<String> = ending.remarks.iter().map(note).collect();
    if changed > 0 {
        let changed = some(changed, "metric", "metrics");
        notes.push(format!(
            "{changed} changed while being looked at; looked at again, nothing was wrong."
        ));
    }
    if compressed > 0 {
        let copies = some(compressed, "copy", "copies");
        notes.push(format!(
            "{copies} in go-carbon's compressed format: their points were not counted."
        ));
    }
    notes
}

/// What an operator does about it. `has` tells whether something of a kind was found.
pub(super) fn next_steps(ending: &Ending<'_>, has: impl Fn(&str) -> bool) -> Vec<String> {
    let seed = ending.seed;
    // Nodes that are not in the ring are drained only if they are named.
    let drained: String = ending.drained.iter().map(|host| format!(" {host}")).collect();
    let mut steps = Vec::new();
    if has("misplaced") {
        steps.push(format!(
            "`bucky rebalance -h {seed}{drained}` brings misplaced metrics, and the points that owners lack, to their \
             owners."
        ));
    }
    if has("no_place") {
        steps.push(format!(
            "Points that have no place at their owner stay where they are. `bucky rebalance -h {seed} \
             --on-schema-difference reshape{drained}` gives the owners' files the archives of both."
        ));
    }
    if has("missing") && !has("misplaced") {
        steps.push(format!(
            "`bucky heal -h {seed}` brings metrics to the owners that lack them, from owners that have them."
        ));
    }
    if has("corrupt") {
        steps.push(format!(
            "A corrupt file at an owner is replaced by a sound misplaced copy with `bucky rebalance -h {seed} \
             --replace-corrupt{drained}`, which keeps it aside; where there is no other copy, restore it or move it away."
        ));
    }
    if has("unreadable") || has("incomparable") {
        steps.push(
            "What cannot be read or compared cannot be vouched for: see the reasons, and run this again.".into(),
        );
    }
    if has("replicas_differ") {
        steps.push(format!(
            "`bucky heal -h {seed} --points` fills the copies of owners that differ from each other. A move loses none of \
             these points. With --strict they count as a failure."
        ));
    }
    if has("layouts_differ") {
        steps.push(
            "Copies that keep their points differently were made by different storage-schemas.conf or \
             storage-aggregation.conf files: compare those of the nodes named above."
                .into(),
        );
    }
    steps
}
