//! Copies whose headers differ, counted by pair of layouts: a cluster has few pairs, and many metrics of
//! each.

use std::collections::BTreeMap;

use bucky_api::counted::counted;
use serde::Serialize;

use crate::output::human_count;

/// The most pairs that are counted separately.
const PAIRS_MOST: usize = 100;

/// The metrics of one pair of layouts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct LayoutPair {
    /// The layout of the owner's file.
    layout: String,
    /// The layout of the other copy.
    others: String,
    /// How many times an owner's copy and another copy have these layouts.
    copies: u64,
    /// One of the metrics.
    example: String,
    /// The owner of that metric.
    node: String,
    /// The node with the other copy of it.
    other: String,
}

/// All pairs.
#[derive(Clone, Debug, Default)]
pub(super) struct LayoutPairs {
    pairs: BTreeMap<(String, String), LayoutPair>,
    /// Copies of further pairs.
    more: u64,
}

impl LayoutPairs {
    /// Counts a metric for which the owner `node` has `layout`, and `other` has `others`.
    pub(super) fn add(
        &mut self,
        metric: &str,
        (node, layout): (&str, &str),
        (other, others): (&str, &str),
    ) {
        let key = (layout.to_owned(), others.to_owned());
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.copies += 1;
            return;
        }
        if self.pairs.len() == PAIRS_MOST {
            self.more += 1;
            return;
        }
        let pair = LayoutPair {
            layout: layout.to_owned(),
            others: others.to_owned(),
            copies: 1,
            example: metric.to_owned(),
            node: node.to_owned(),
            other: other.to_owned(),
        };
        self.pairs.insert(key, pair);
    }

    /// The pairs, the most frequent first.
    pub(super) fn by_count(&self) -> Vec<&LayoutPair> {
        let mut pairs: Vec<&LayoutPair> = self.pairs.values().collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.copies));
        pairs
    }

    /// A line for each pair.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |pair: &LayoutPair| {
            let LayoutPair { layout, others, copies, example, node, other } = pair;
            let copies = counted(*copies, "copy", "copies");
            format!(
                "{copies}: owner {layout}; other copy {others}. For example {example} on {node} and {other}"
            )
        };
        let mut lines: Vec<String> = self.by_count().into_iter().map(line).collect();
        if self.more > 0 {
            lines.push(format!("and {} with other schemas", human_count(self.more)));
        }
        lines
    }
}
