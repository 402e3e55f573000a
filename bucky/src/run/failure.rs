//! Why metrics do not make it, and which of them are named to people.

use std::collections::BTreeMap;

use bucky_api::{DaemonAddr, HealLine, Problem};

use super::schemas::is_of_schema;

/// The kind of failure of which a node that does not answer is the cause.
pub(crate) const NODE_AWAY: &str = "node not reachable";
/// The kind of failure of a destination that has no room: that closes it for the run.
pub(crate) const NO_SPACE: &str = "no space";
/// The kind of a metric that is where it belongs, and also still at a source that somebody writes to.
pub(crate) const STILL_WRITTEN_TO: &str = "still written to";
/// The kind of a metric that is where it belongs, and that its source would not delete.
pub(crate) const NOT_DELETED: &str = "not deleted";
/// The kind of a metric that is where it belongs, and was not deleted because of a clock.
pub(crate) const CLOCK_DIFFERS: &str = "clock differs";
/// The kind of a metric that is where it belongs, and that stays at its source as go-carbon keeps late points of it there.
pub(crate) const LATE_POINTS: &str = "late points beside it";
/// The kind of a metric whose points have no place at an owner, because another storage schema made the file there. It is told by
/// pair of schemas.
pub(crate) const OTHER_SCHEMA: &str = "of another schema";
/// How many failures are named on standard error; `--errors` has all.
const NAMED: u64 = 1_000;
/// How many of one node where all have the same cause.
const NAMED_ALIKE: u64 = 3;

/// Why a metric did not make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The node it failed at.
    pub(crate) node: DaemonAddr,
    /// What kind of failure, for the summary.
    pub(crate) kind: &'static str,
    /// In words.
    pub(crate) reason: String,
}

/// Whether failures of this kind are metrics that were copied, and only not deleted.
pub(crate) fn is_of_delete(kind: &str) -> bool {
    matches!(kind, NOT_DELETED | STILL_WRITTEN_TO | CLOCK_DIFFERS | LATE_POINTS)
}

impl Failure {
    /// Whether the metric was copied, and only not deleted.
    pub(crate) fn is_of_delete(&self) -> bool {
        is_of_delete(self.kind)
    }
}

/// The word of the summary for what an owner's line tells.
pub(crate) fn kind_of_line(line: &HealLine) -> &'static str {
    let is_of_schema = line.problem == Some(Problem::NoPlace) && is_of_schema(line);
    if is_of_schema { OTHER_SCHEMA } else { kind_of(line.problem) }
}

/// The word of the summary for a problem.
pub(crate) fn kind_of(problem: Option<Problem>) -> &'static str {
    match problem {
        Some(Problem::SourceMissing) => "source missing",
        Some(Problem::SourceDamaged) => "source damaged",
        Some(Problem::SourceUnreadable) => "source unreadable",
        Some(Problem::DestinationDamaged) => "owner's file damaged",
        Some(Problem::Compressed) => "compressed",
        Some(Problem::Busy) => "busy",
        Some(Problem::DigestMismatch) => "damaged on the way",
        Some(Problem::NoSpace) => NO_SPACE,
        Some(Problem::BadPath) => "bad path",
        Some(Problem::CutOff) => "cut off",
        Some(Problem::TooLarge) => "too large",
        Some(Problem::NoPlace) => "no place",
        Some(Problem::Forbidden) => "not allowed",
        Some(Problem::LatePoints) => LATE_POINTS,
        Some(Problem::Storage) | None => "storage",
    }
}

/// Chooses the failures that are named on standard error.
#[derive(Debug, Default)]
pub(crate) struct Naming {
    named: u64,
    alike: BTreeMap<(String, &'static str), u64>,
}

impl Naming {
    /// The lines to print for one more failure.
    pub(crate) fn of(&mut self, metric: &str, failure: &Failure) -> Vec<String> {
        let line = format!("bucky: {metric}: {}: {}", failure.node, failure.reason);
        if failure.kind == NO_SPACE {
            let node = &failure.node;
            let is_first = self.alike.insert((node.to_string(), NO_SPACE), 1).is_none();
            let closed = format!(
                "{line}; {node} gets nothing more in this run, and further failures there are counted, not named \
                 (--errors FILE names all)"
            );
            return is_first.then_some(closed).into_iter().collect();
        }
        if failure.kind == OTHER_SCHEMA {
            return Vec::new();
        }
        let further = match failure.kind {
            NODE_AWAY => Some("that need"),
            STILL_WRITTEN_TO => Some("that are still written to at"),
            CLOCK_DIFFERS => Some("that are not deleted because of the clock of"),
            LATE_POINTS => Some("with late points in a .ooo file at"),
            _ => None,
        };
        if let Some(further) = further {
            let of_node = self.alike.entry((failure.node.to_string(), failure.kind)).or_default();
            *of_node += 1;
            return match *of_node {
                ..NAMED_ALIKE => vec![line],
                NAMED_ALIKE => vec![
                    line,
                    format!(
                        "bucky: more metrics {further} {} are counted, not named (--errors FILE names all)",
                        failure.node
                    ),
                ],
                _ => Vec::new(),
            };
        }
        self.named += 1;
        match self.named {
            ..NAMED => vec![line],
            NAMED => vec![
                line,
                "bucky: more failures are counted, not named (--errors FILE names all)".to_owned(),
            ],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(node: &str, kind: &'static str) -> Failure {
        Failure { node: node.parse().unwrap(), kind, reason: "why".into() }
    }

    #[test]
    fn failures_are_named_up_to_a_limit() {
        let mut naming = Naming::default();
        assert_eq!(naming.of("m", &failure("a", "busy")), ["bucky: m: a:4242: why"]);
        let lines = (0..NAMED + 10).flat_map(|_| naming.of("m", &failure("a", "busy")));
        let lines: Vec<String> = lines.collect();
        assert_eq!(lines.len() as u64, NAMED, "one less, and the line that says so");
        assert!(lines.last().unwrap().contains("--errors FILE names all"));
    }

    /// One cause, and thousands of lines that say it, would bury what else has failed.
    #[test]
    fn of_a_node_that_is_away_few_metrics_are_named() {
        let mut naming = Naming::default();
        let lines = (0..5_000).flat_map(|_| naming.of("m", &failure("a", NODE_AWAY)));
        let lines: Vec<String> = lines.collect();
        assert_eq!(lines.len() as u64, NAMED_ALIKE + 1);
        assert!(lines.last().unwrap().contains("metrics that need a:4242"), "{lines:?}");
        assert_eq!(naming.of("m", &failure("b", NODE_AWAY)).len(), 1, "another node");
        let lines = (0..900).flat_map(|_| naming.of("m", &failure("a", NO_SPACE)));
        let lines: Vec<String> = lines.collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with("bucky: m: a:4242: why; a:4242 gets nothing more in this run")
        );
        assert_eq!(naming.of("m", &failure("a", "busy")).len(), 1, "another cause");
    }
}
