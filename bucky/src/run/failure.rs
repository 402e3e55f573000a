//! Why metrics fail, and which of them are named to people.

use std::collections::BTreeMap;

use bucky_api::DaemonAddr;

use super::failure_kind::FailureKind;

/// How many failures are named on standard error; `--errors` lists all.
const NAMED: u64 = 1_000;
/// How many failures of one node are named if all have the same cause.
const NAMED_ALIKE: u64 = 3;

/// Why a metric failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The node where it failed.
    pub(crate) node: DaemonAddr,
    /// The kind of failure, for the summary.
    pub(crate) kind: FailureKind,
    /// The reason, as text.
    pub(crate) reason: String,
}

impl Failure {
    /// A failure at this node.
    pub(crate) fn at(node: &DaemonAddr, kind: FailureKind, reason: String) -> Self {
        Self { node: node.clone(), kind, reason }
    }

    /// Whether the metric was copied, and only not deleted.
    pub(crate) fn is_of_delete(&self) -> bool {
        self.kind.is_of_delete()
    }
}

/// Chooses the failures that are named on standard error.
#[derive(Debug, Default)]
pub(crate) struct Naming {
    named: u64,
    alike: BTreeMap<(String, FailureKind), u64>,
}

impl Naming {
    /// The lines to print for one more failure.
    pub(crate) fn of(&mut self, metric: &str, failure: &Failure) -> Vec<String> {
        let line = format!("bucky: {metric}: {}: {}", failure.node, failure.reason);
        if failure.kind == FailureKind::NoSpace {
            let node = &failure.node;
            let is_first = self.alike.insert((node.to_string(), FailureKind::NoSpace), 1).is_none();
            let closed = format!(
                "{line}; {node} gets nothing more in this run, and further failures there are counted, not named \
                 (--errors FILE names all)"
            );
            return is_first.then_some(closed).into_iter().collect();
        }
        if failure.kind == FailureKind::OtherSchema {
            return Vec::new();
        }
        let further = match failure.kind {
            FailureKind::NodeAway => Some("that need"),
            FailureKind::StillWrittenTo => Some("that are still written to at"),
            FailureKind::ClockDiffers => Some("that are not deleted because of the clock of"),
            FailureKind::LatePoints => Some("with late points in a .ooo file at"),
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

    fn failure(node: &str, kind: FailureKind) -> Failure {
        Failure { node: node.parse().unwrap(), kind, reason: "why".into() }
    }

    #[test]
    fn failures_are_named_up_to_a_limit() {
        let mut naming = Naming::default();
        assert_eq!(naming.of("m", &failure("a", FailureKind::Busy)), ["bucky: m: a:4242: why"]);
        let lines = (0..NAMED + 10).flat_map(|_| naming.of("m", &failure("a", FailureKind::Busy)));
        let lines: Vec<String> = lines.collect();
        assert_eq!(lines.len() as u64, NAMED, "one less, and the line that says so");
        assert!(lines.last().unwrap().contains("--errors FILE names all"));
    }

    /// A thousand lines about one cause would hide all other failures.
    #[test]
    fn of_a_node_that_is_away_few_metrics_are_named() {
        let mut naming = Naming::default();
        let lines = (0..5_000).flat_map(|_| naming.of("m", &failure("a", FailureKind::NodeAway)));
        let lines: Vec<String> = lines.collect();
        assert_eq!(lines.len() as u64, NAMED_ALIKE + 1);
        assert!(lines.last().unwrap().contains("metrics that need a:4242"), "{lines:?}");
        assert_eq!(naming.of("m", &failure("b", FailureKind::NodeAway)).len(), 1, "another node");
        let lines = (0..900).flat_map(|_| naming.of("m", &failure("a", FailureKind::NoSpace)));
        let lines: Vec<String> = lines.collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with("bucky: m: a:4242: why; a:4242 gets nothing more in this run")
        );
        assert_eq!(naming.of("m", &failure("a", FailureKind::Busy)).len(), 1, "another cause");
    }
}
