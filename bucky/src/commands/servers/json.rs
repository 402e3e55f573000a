//! What `bucky servers -j` prints.

use bucky_api::ClockOffset;
use bucky_ring::{Difference, Ring};
use serde_json::{Value, json};

use super::ring_word;
use crate::cluster::{Answer, Cluster, ClusterFinding, Member, notes};

/// The answer of `bucky servers -j`.
pub(super) fn to_json(
    cluster: &Cluster,
    ring: &Ring,
    others: &[Member],
    former: &[String],
) -> Value {
    let members: Vec<Value> =
        cluster.members.iter().map(|member| member_json(cluster, member)).collect();
    let others: Vec<Value> = others.iter().map(|member| member_json(cluster, member)).collect();
    let findings: Vec<String> = cluster.findings.iter().map(ClusterFinding::to_string).collect();
    json!({
        "healthy": cluster.is_healthy(),
        "ring": cluster.document,
        "ring_fingerprint": ring.spec().fingerprint(),
        "ring_summary": ring.spec().summary(),
        "nodes": members,
        "others": others,
        "forgotten": former,
        "findings": findings,
        "warnings": ring.warnings(),
    })
}

fn member_json(cluster: &Cluster, member: &Member) -> Value {
    let differences: Vec<String> = cluster
        .findings
        .iter()
        .filter_map(|finding| match finding {
            ClusterFinding::OtherRing { addr, differences } if addr == member.addr() => {
                Some(differences)
            }
            _ => None,
        })
        .flatten()
        .map(Difference::to_string)
        .collect();
    let mut value = json!({
        "addr": member.addr(),
        "reachable": member.is_there(),
        "ring": ring_word(cluster, member),
        "clock_ahead_millis": member.daemon.clock_offset().map(ClockOffset::ahead_millis),
        "differences": differences,
        "notes": notes(&cluster.document, member),
    });
    let detail = match &member.answer {
        Answer::Away { reason, .. } => json!({ "reason": reason, "ring": Value::Null }),
        Answer::Go { document } => json!({ "version": "buckytools", "name": document.name }),
        Answer::V1 { status, .. } => json!({ "version": status.version, "status": status }),
    };
    if let (Some(value), Value::Object(detail)) = (value.as_object_mut(), detail) {
        value.extend(detail);
    }
    value
}
