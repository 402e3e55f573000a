//! A plan as text for people.

use std::time::Duration;

use bucky_ring::RingDocument;

use super::PlannedMove;
use super::document::RingPlan;
use crate::counted;
use crate::output::{Table, human_bytes, human_count, human_duration};
use crate::plan::{self, PlanRow};

/// How many pairs of nodes are shown if not all are.
const PAIRS: usize = 20;

/// Which pairs of nodes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PairsShown {
    /// Those that send most.
    Most,
    /// All.
    All,
}

/// The plan as text.
pub(crate) fn text(planned: &PlannedMove, shown: PairsShown) -> String {
    let PlannedMove { plan, moves } = planned;
    let mut parts = vec![rings(plan), nodes(plan).to_string()];
    if moves.rows.is_empty() {
        parts.push("No metric would move.".to_owned());
    } else {
        parts.push(pairs(&moves.rows, shown));
        parts.push(room(planned).to_string());
    }
    parts.push(summary(plan));
    parts.join("\n\n")
}

fn rings(plan: &RingPlan) -> String {
    let line = |document: &RingDocument| {
        document.to_spec().map_or_else(|error| error.to_string(), |spec| spec.summary())
    };
    format!("Ring: {}\nThen: {}", line(&plan.ring_before), line(&plan.ring_after))
}

fn nodes(plan: &RingPlan) -> Table {
    let mut table =
        Table::new(&["NODE", ">METRICS", ">THEN", ">SHARE", ">THEN", ">BYTES", ">THEN"]);
    for node in &plan.nodes {
        let about = if node.one_in > 1 { "~" } else { "" };
        table.row(vec![
            node.node.to_string(),
            human_count(node.before.metrics),
            human_count(node.after.metrics),
            percent(node.share_before),
            percent(node.share_after),
            format!("{about}{}", human_bytes(node.before.bytes)),
            format!("{about}{}", human_bytes(node.after.bytes)),
        ]);
    }
    table
}

fn pairs(rows: &[PlanRow], shown: PairsShown) -> String {
    if shown == PairsShown::All || rows.len() <= PAIRS {
        return plan::pairs(rows.iter()).to_string();
    }
    let mut order: Vec<(usize, &PlanRow)> = rows.iter().enumerate().collect();
    order.sort_by_key(|(index, row)| (std::cmp::Reverse(row.load.bytes), *index));
    let table = plan::pairs(order.iter().take(PAIRS).map(|(_, row)| *row));
    let rest = &order[PAIRS..];
    let metrics = rest.iter().map(|(_, row)| row.load.metrics).sum();
    let bytes = rest.iter().map(|(_, row)| row.load.bytes).sum();
    format!(
        "{table}\n{} with {}, {} (--all shows them)",
        counted::counted(rest.len() as u64, "more pair", "more pairs"),
        counted::metrics(metrics),
        human_bytes(bytes)
    )
}

fn room(planned: &PlannedMove) -> Table {
    let mut table =
        Table::new(&["DESTINATION", ">METRICS", ">GETS", ">FREE", ">INODES FREE", "FITS"]);
    for destination in &planned.moves.destinations {
        let unknown = || "?".to_owned();
        let disk = destination.disk;
        let inodes = disk.map_or_else(unknown, |disk| {
            disk.free_inodes.map_or_else(|| "no limit".to_owned(), human_count)
        });
        table.row(vec![
            destination.name(),
            human_count(destination.load.metrics),
            human_bytes(destination.load.bytes),
            disk.map_or_else(unknown, |disk| human_bytes(disk.free_bytes)),
            inodes,
            planned.moves.fits_word(destination).to_owned(),
        ]);
    }
    table
}

fn summary(plan: &RingPlan) -> String {
    let mut lines = Vec::new();
    lines.push(format!(
        "{} would move; {} would be sent, in {}.",
        counted::metrics(plan.leaves.metrics),
        human_bytes(plan.sent.bytes),
        counted::copies(plan.sent.metrics)
    ));
    lines.push(format!(
        "Largest/smallest node: by metrics {}, then {}; by bytes {}, then {}.",
        times(plan.spread.before.by_metrics),
        times(plan.spread.after.by_metrics),
        times(plan.spread.before.by_bytes),
        times(plan.spread.after.by_bytes)
    ));
    if let (Some(rate), Some(seconds)) = (plan.bytes_per_second, plan.seconds) {
        lines.push(format!(
            "At {}/s it takes {}.",
            human_bytes(rate),
            human_duration(Duration::from_secs(seconds))
        ));
    }
    lines.extend(remarks(plan));
    lines.join("\n")
}

/// The suggested ring, or that there is none.
pub(crate) fn suggested(plan: &RingPlan) -> String {
    let Some(suggestion) = &plan.suggestion else {
        return "No other name or order of the new nodes was found that spreads bytes more evenly."
            .to_owned();
    };
    let nodes = |document: &RingDocument| match document.to_spec() {
        Ok(spec) => spec.nodes,
        Err(_) => Vec::new(),
    };
    let planned = nodes(&plan.ring_after);
    let suggested = nodes(&suggestion.ring).into_iter().enumerate();
    let changed: Vec<String> = suggested
        .filter(|(index, node)| planned.get(*index) != Some(node))
        .map(|(_, node)| node.to_string())
        .collect();
    format!(
        "More even by bytes: {} rather than {}, with the new nodes as\n  {}",
        times(suggestion.spread.by_bytes),
        times(plan.spread.after.by_bytes),
        changed.join(" ")
    )
}

/// What an operator should know about the numbers.
fn remarks(plan: &RingPlan) -> Vec<String> {
    let mut lines = Vec::new();
    if plan.nodes.iter().any(|node| node.one_in > 1) {
        lines.push(
            "~: from a sample of the files that stay. The files that move are all counted."
                .to_owned(),
        );
    }
    if plan.misplaced_before > 0 {
        lines.push(format!(
            "{} misplaced by the ring in use already. If their owners have\nthem too, nodes \
             will hold less than shown. `bucky rebalance` makes this exact.",
            counted::metrics_are(plan.misplaced_before)
        ));
    }
    if plan.lacking_after > 0 {
        lines.push(format!(
            "{} will be missing at owners, because no node has to give them up.\nAfter the \
             change, `bucky heal` makes them.",
            counted::copies(plan.lacking_after)
        ));
    }
    if plan.unplaceable > 0 {
        lines.push(format!(
            "{} of unknown series would stay in place.",
            counted::counted(plan.unplaceable, "tagged file", "tagged files")
        ));
    }
    lines
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "?".to_owned(), |ratio| format!("{ratio:.2}x"))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::plan::room::Reserve;
    use crate::ring_plan::sums::NodeCount;
    use crate::ring_plan::sums::add_up;
    use crate::ring_plan::sums::tests::{node, ring};

    fn shown(counts: &[NodeCount], shown: PairsShown) -> String {
        let hosts: Vec<&str> = counts.iter().map(|node| node.host.as_str()).collect();
        let (now, then) = (ring(&hosts[..hosts.len() - 1]), ring(&hosts));
        let mut planned = add_up(&now, &then, counts, Reserve::NONE);
        planned.plan.set_rate(NonZeroU64::new(1000).unwrap());
        text(&planned, shown)
    }

    #[test]
    fn a_plan_shows_each_node_now_and_then_who_sends_and_what_fits() {
        let mut new = node("graphite-4", 0, 0, &[]);
        (new.count, new.disk) = (None, None);
        let mut old = [
            node("graphite-1", 12_000, 3_000, &[("graphite-4", 3_000, 3_000)]),
            node("graphite-2", 11_000, 2_700, &[("graphite-4", 2_700, 2_700)]),
            node("graphite-3", 9_000, 10, &[("graphite-1", 10, 10)]),
        ];
        for count in old.iter_mut().filter_map(|node| node.count.as_mut()) {
            (count.misplaced_now, count.unplaceable, count.one_in) = (1, 2, 7);
        }
        let [one, two, three] = old;
        insta::assert_snapshot!(shown(&[one, two, three, new], PairsShown::Most));
    }

    #[test]
    fn of_many_pairs_those_that_send_most_are_shown_and_the_others_added_up() {
        let hosts: Vec<String> = (0..8).map(|number| format!("g{number}")).collect();
        let sends = |from: usize| -> Vec<(&str, u64, u64)> {
            let others = (0..8_usize).filter(move |to| *to != from);
            others.map(|to| (hosts[to].as_str(), (from * 8 + to) as u64 + 1, 0)).collect()
        };
        let counts: Vec<NodeCount> =
            (0..8).map(|from| node(&hosts[from], 1_000, 100, &sends(from))).collect();
        let most = shown(&counts, PairsShown::Most);
        // Pairs send 1 to 63 metrics. Those that send 42 and more are shown.
        assert!(most.contains("\n36 more pairs with 766 metrics, "), "{most}");
        assert!(most.contains("g7:4242") && !most.contains("\ng0:4242  g1:4242"), "{most}");
        assert!(shown(&counts, PairsShown::All).contains("\ng0:4242  g1:4242"));
    }

    #[test]
    fn a_plan_without_a_move_says_so() {
        let text = shown(&[node("a", 10, 0, &[]), node("b", 0, 0, &[])], PairsShown::Most);
        assert!(text.contains("No metric would move."), "{text}");
        assert!(text.contains("by metrics 1.00x, then ?"), "{text}");
    }
}
