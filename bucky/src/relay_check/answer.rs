//! What carbon-c-relay prints in its test mode: for each name the rules that match, their clusters and servers.

use std::collections::{BTreeSet, HashMap};

/// The servers of one cluster that a rule sends a name to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// The name of the cluster.
    pub(super) cluster: String,
    /// The servers, as `host:port`.
    pub(super) servers: Vec<String>,
}

/// An answer of the relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RelayAnswer {
    /// `carbon-c-relay v3.7.3`.
    pub(super) version: String,
    /// Where each name is sent, by all rules that match. A name that is missing was asked under this name, and
    /// answered under another.
    pub(super) sent: HashMap<String, Vec<Sent>>,
}

impl RelayAnswer {
    /// The answer in `printed` to these `names`.
    pub(super) fn read(printed: &str, names: &BTreeSet<String>) -> Self {
        let mut answer = Self::default();
        let mut name: Option<&str> = None;
        for line in printed.lines() {
            if let Some((_, started)) = line.split_once("starting carbon-c-relay ") {
                let version = started.split_whitespace().next().unwrap_or_default();
                answer.version = format!("carbon-c-relay {version}");
            }
            if let Some(unmatched) = line.strip_prefix("nothing matched ") {
                if names.contains(unmatched.trim()) {
                    answer.sent.entry(unmatched.trim().to_owned()).or_default();
                }
                name = None;
            } else if let Some(asked) = asked(line) {
                // Below a rewrite it is another name: its servers are not those of the name that was asked.
                name = names.get(asked).map(String::as_str);
                if let Some(name) = name {
                    answer.sent.entry(name.to_owned()).or_default();
                }
            } else if let Some(sent) = name.and_then(|name| answer.sent.get_mut(name)) {
                read_line(line, sent);
            }
        }
        answer
    }
}

/// The name in `    EXPRESSION (regex) -> NAME` or `    -> NAME`.
fn asked(line: &str) -> Option<&str> {
    let (rule, name) = line.rsplit_once("-> ")?;
    let is_text_hashed = rule.trim_start().starts_with("using(");
    (rule.starts_with("    ") && !is_text_hashed).then(|| name.trim())
}

/// `    carbon_ch(NAME)`, or below it a server.
fn read_line(line: &str, sent: &mut Vec<Sent>) {
    if let Some(server) = line.strip_prefix("        ") {
        let server = server.split(' ').next().unwrap_or_default();
        if let Some(last) = sent.last_mut().filter(|_| !server.starts_with("using(")) {
            last.servers.push(server.to_owned());
        }
    } else if let Some((_, cluster)) = line.trim_start().split_once('(')
        && let Some(cluster) = cluster.strip_suffix(')')
    {
        sent.push(Sent { cluster: cluster.to_owned(), servers: Vec::new() });
    }
}
