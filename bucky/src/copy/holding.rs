//! Which nodes have the old names of a map. All nodes are asked, for some thousand names at a time.

use std::sync::Arc;

use bucky_api::client::GoListFilter;
use bucky_api::{ClientError, Daemon};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::name_map::NameMap;
use crate::chain;
use crate::fleet::Node;
use crate::inventory::{NAMES_SENT, list};
use crate::outcome::{Outcome, UnhealthyError};
use crate::output::{Output, human_count};

/// How many nodes are asked at once. The names of one request and one answer are held for each.
const ASKED_AT_ONCE: usize = 16;
/// How many old names that no node has are reported.
const NAMED_MOST: usize = 1_000;

/// Which nodes have which old names.
pub(super) struct Holding {
    /// The index of the entry and the index of the node, sorted.
    pairs: Vec<(u32, u32)>,
}

impl Holding {
    /// Asks `sources`, each with its index among all nodes, for the old names of `map`.
    ///
    /// # Errors
    /// [`UnhealthyError`] if a node cannot say what it has: its copies would be left out.
    pub(super) async fn ask(
        map: &NameMap,
        sources: &[(u32, Arc<Node>)],
        output: &Output,
    ) -> anyhow::Result<Self> {
        let asked = sources.iter().map(|(index, node)| async move {
            held(map, &node.daemon, output)
                .await
                .map(|held| held.into_iter().map(|entry| (entry, *index)).collect::<Vec<_>>())
        });
        let pairs: Result<Vec<Vec<(u32, u32)>>, ClientError> =
            stream::iter(asked).buffer_unordered(ASKED_AT_ONCE).try_collect().await;
        let pairs = pairs.map_err(|error| {
            let (addr, reason) = (error.addr(), chain(&error));
            UnhealthyError::because(format!("cannot find out what {addr} has: {reason}"))
        })?;
        let mut pairs = pairs.concat();
        pairs.sort_unstable();
        Ok(Self { pairs })
    }

    /// The nodes that have the old name of this entry, sorted.
    pub(super) fn of(&self, entry: u32) -> impl Iterator<Item = u32> {
        let start = self.pairs.partition_point(|(index, _)| *index < entry);
        let there = self.pairs.get(start..).unwrap_or_default();
        there.iter().take_while(move |(index, _)| *index == entry).map(|(_, node)| *node)
    }

    /// How many entries have an old name that some node has.
    pub(super) fn found(&self) -> usize {
        self.pairs.chunk_by(|(one, _), (other, _)| one == other).count()
    }

    /// Reports the old names that no node has (the Go tool passes over them in silence: D48).
    pub(super) fn report_missing(&self, map: &NameMap, output: &Output) -> Outcome {
        let mut missing = 0;
        for index in map.by_old() {
            if self.of(*index).next().is_some() {
                continue;
            }
            missing += 1;
            if let Some(entry) = map.get(*index).filter(|_| missing <= NAMED_MOST) {
                output.say(format_args!("Metric not found: {}", entry.old));
            }
        }
        if missing > NAMED_MOST {
            let (all, named) = (human_count(missing as u64), human_count(NAMED_MOST as u64));
            output.say(format_args!("{all} metrics were not found; {named} of them are named"));
        }
        if missing == 0 { Outcome::Done } else { Outcome::SomeFailed }
    }
}

/// The indexes of the entries that the daemon has the old names of.
async fn held(map: &NameMap, daemon: &Daemon, output: &Output) -> Result<Vec<u32>, ClientError> {
    let mut held = Vec::new();
    for indexes in map.by_old().chunks(NAMES_SENT) {
        let entries = indexes.iter().filter_map(|index| map.get(*index));
        let names = entries.map(|entry| entry.old.to_string()).collect();
        let found = list(daemon, &GoListFilter::Names(names), output).await?;
        held.extend(found.iter().filter_map(|name| map.index_of(name)));
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Member;
    use crate::cluster::test_cluster::{document, v1};
    use crate::fake_daemon::{Reply, Request, daemon};
    use bucky_api::{Client, Timeouts};

    /// Nodes that answer a list of names in this way.
    async fn nodes(answers: Vec<fn(&Request) -> Reply>) -> Vec<(u32, Arc<Node>)> {
        let mut nodes = Vec::new();
        for (index, answer) in (0u32..).zip(answers) {
            let addr = daemon(move |request| answer(&request)).await;
            let answer = v1(&document(&["a"]), "a", &format!("s{index}"));
            let daemon = Client::new(Timeouts::default()).unwrap().daemon(addr);
            let member = Member { daemon, host: None, answer };
            nodes.push((index, Arc::new(Node::of(&member).unwrap())));
        }
        nodes
    }

    fn map() -> NameMap {
        NameMap::read(r#"{"c": "x", "a": "y", "b": "z"}"#.as_bytes()).unwrap()
    }

    /// A daemon may list what it was not asked for, and one name twice.
    #[tokio::test]
    async fn every_holder_is_known_and_names_that_no_node_has_are_reported() {
        let nodes =
            nodes(vec![|_| Reply::ok(r#"["a","c","stranger","a"]"#), |_| Reply::ok("[]"), |_| {
                Reply::ok(r#"["c"]"#)
            }]);
        let (output, _, people) = Output::captured();
        let map = map();
        let holding = Holding::ask(&map, &nodes.await, &output).await.unwrap();
        let of = |entry| holding.of(entry).collect::<Vec<_>>();
        assert_eq!([of(0), of(1), of(2), of(9)], [vec![0, 2], vec![0], Vec::new(), Vec::new()]);
        assert_eq!(holding.found(), 2);
        assert_eq!(holding.report_missing(&map, &output), Outcome::SomeFailed);
        assert_eq!(people.text(), "Metric not found: b\n");
    }

    /// Its copies would be left out, and the others' copies would look complete.
    #[tokio::test]
    async fn a_node_that_cannot_tell_what_it_has_ends_it() {
        let nodes = nodes(vec![|_| Reply::ok(r#"["a"]"#), |_| Reply::status(400)]).await;
        let (output, ..) = Output::captured();
        let error = Holding::ask(&map(), &nodes, &output).await.err().unwrap();
        assert!(error.downcast_ref::<UnhealthyError>().is_some(), "{error}");
        let addr = nodes[1].1.addr().to_string();
        assert!(
            error.to_string().starts_with(&format!("cannot find out what {addr} has")),
            "{error}"
        );
    }
}
