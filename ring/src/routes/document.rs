//! The routing rules of a ring document: `Routes`.

use serde::{Deserialize, Serialize};

/// Routing rules as a ring document holds them, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RoutesDocument {
    /// The rings that the rules lead to. The first has the document's `Algo` and `Replicas`.
    pub clusters: Vec<ClusterDocument>,
    /// The rules, in the order in which the relay tries them.
    pub rules: Vec<RuleDocument>,
}

/// A ring over some of the document's nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ClusterDocument {
    /// Its name.
    pub name: String,
    /// The name of the [`crate::Algorithm`].
    pub algo: String,
    /// The replication factor.
    pub replicas: i64,
    /// Its nodes, in its own order: positions in the document's `Nodes`, from 0.
    pub nodes: Vec<u16>,
}

/// `match EXPRESSION [route using TEXT] [send to CLUSTER...] [stop]`, for one expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RuleDocument {
    /// The expression that a name must match; `None` for `*`, which every name matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#match: Option<String>,
    /// The text that takes the place of what matched, before the name is hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub using: Option<String>,
    /// The names of the clusters that the metric goes to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// Whether no later rule is tried for a name that matches.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stop: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
