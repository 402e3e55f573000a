//! The texts of a report: headings, remarks, and next steps.

use super::{Ending, KindCount, Remark, VerifyCounts, What};
use crate::output::human_count;
use bucky_api::counted::counted;

/// The heading above the findings of the kind with this number. `elsewhere` metrics are misplaced and lacked
/// by an owner.
pub(super) fn heading(number: usize, count: &KindCount, elsewhere: u64) -> String {
    let metrics = counted(count.metrics, "metric", "metrics");
    let copies = counted(count.copies, "copy", "copies");
    match What::NAMES[number] {
        "lacks" => format!("{metrics} with a misplaced copy that has points which an owner lacks"),
        "no_place" => {
            format!(
                "{metrics} with a misplaced copy that has points for which an owner has no place"
            )
        }
        "corrupt" => format!("{metrics} with files that are corrupt, {copies}"),
        "unreadable" => format!("{metrics} with files that cannot be read, {copies}"),
        "gone" => format!("{metrics} that vanished"),
        "missing" if elsewhere == 0 => format!("{metrics} that an owner lacks"),
        "missing" => {
            let of = match (elsewhere, elsewhere == count.metrics) {
                (1, true) => "it".to_owned(),
                (_, true) => "each".to_owned(),
                (_, false) => format!("{} of them", human_count(elsewhere)),
            };
            format!("{metrics} that an owner lacks (a misplaced copy of {of} is counted below)")
        }
        "misplaced" => format!("{metrics} on nodes that do not own them, {copies}"),
        "incomparable" => format!("{metrics} whose copies differ and cannot be compared"),
        "not_found" => format!("{metrics} that no node has"),
        "unusable" => format!("{metrics} whose file path is not a metric name"),
        "layouts_differ" => format!("{metrics} whose copies have different schemas"),
        _ => format!("{metrics} with an owner that lacks points of another owner"),
    }
}

/// The notes beside the findings.
pub(super) fn notes(ending: &Ending<'_>) -> Vec<String> {
    let VerifyCounts { changed, compressed, .. } = ending.counts;
    let note = |remark: &Remark| match remark.text.contains(&remark.node) {
        true => remark.text.clone(),
        false => format!("{}: {}", remark.node, remark.text),
    };
    let mut notes: Vec<String> = ending.remarks.iter().map(note).collect();
    if changed > 0 {
        let changed = counted(changed, "metric", "metrics");
        notes.push(format!(
            "{changed} changed during the check; a second check found nothing wrong."
        ));
    }
    if compressed > 0 {
        let copies = counted(compressed, "copy", "copies");
        notes.push(format!(
            "{copies} in go-carbon's compressed format: their points were not counted."
        ));
    }
    notes
}

/// What an operator does next. `is_lost` says whether an owner lacks a metric that is not misplaced, and `has`
/// whether there are findings of a kind.
pub(super) fn next_steps(
    ending: &Ending<'_>,
    is_lost: bool,
    has: impl Fn(&str) -> bool,
) -> Vec<String> {
    let seed = ending.seed;
    // Drained nodes are not in the ring, so the command must name them.
    let drained: String = ending.drained.iter().map(|host| format!(" {host}")).collect();
    let mut steps = Vec::new();
    if has("misplaced") {
        steps.push(format!(
            "To move misplaced metrics, and points that owners lack, to their owners: bucky rebalance -h \
             {seed}{drained}"
        ));
    }
    if has("no_place") {
        steps.push(format!(
            "Points without a place at their owner stay at the source. To give the owners' files the archives \
             of both: bucky rebalance -h {seed} --on-schema-difference reshape{drained}"
        ));
    }
    if is_lost {
        steps.push(format!("To copy metrics to owners that lack them: bucky heal -h {seed}"));
    }
    if has("corrupt") {
        steps.push(format!(
            "To replace a corrupt file at an owner with a valid misplaced copy: bucky rebalance -h {seed} \
             --replace-corrupt{drained} (the corrupt file is kept aside). If there is no other copy, restore \
             it or move it away."
        ));
    }
    if has("unreadable") || has("incomparable") {
        steps.push(
            "Files that cannot be read or compared were not checked: see the reasons, and run this again.".into(),
        );
    }
    if has("replicas_differ") {
        steps.push(format!(
            "To fill the copies of owners that differ from each other: bucky heal -h {seed} --points. A move \
             loses none of these points. With --strict they count as a failure."
        ));
    }
    if has("layouts_differ") {
        steps.push(
            "Copies with different schemas were created with different storage-schemas.conf or \
             storage-aggregation.conf files: compare those of the nodes named above."
                .into(),
        );
    }
    steps
}
