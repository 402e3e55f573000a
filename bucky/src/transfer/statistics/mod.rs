//! Statistics of a run for a carbon: the Go tool's names, one connection for each sending.
//!
//! Only metrics that are finished count: moved, gone or failed (D35). Statistics are for graphs and never
//! change the result of the run. A carbon that does not answer is reported once, and tried again at the next
//! interval (D33).

mod names;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bucky_api::DaemonAddr;
use bucky_api::clock::unix_now;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use self::names::HostNames;
use super::options::StatisticsOptions;
use super::pace::NodeFigures;
use crate::output::Output;
use crate::run::tally::RunCounts;

/// How long a sending may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The counts of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeCounts {
    /// Finished metrics that it sent or received.
    pub(crate) finished: u64,
    /// Copies that failed because of it.
    pub(crate) copy_errors: u64,
    /// Sources that it did not delete.
    pub(crate) delete_errors: u64,
}

/// The counts of each node, by host.
pub(crate) struct NodeLedger(Mutex<BTreeMap<String, NodeCounts>>);

impl NodeLedger {
    /// Counts of zero for these hosts.
    pub(crate) fn new<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Self {
        let hosts = hosts.into_iter().map(|host| (host.to_owned(), NodeCounts::default()));
        Self(Mutex::new(hosts.collect()))
    }

    /// Counts for the node at `addr`.
    pub(crate) fn note(&self, addr: &DaemonAddr, change: impl FnOnce(&mut NodeCounts)) {
        let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = nodes.get_mut(addr.host()) {
            change(counts);
        } else {
            change(nodes.entry(addr.host().to_owned()).or_default());
        }
    }

    /// The counts so far.
    pub(crate) fn counts(&self) -> BTreeMap<String, NodeCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Everything that is sent at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// How many metrics are planned.
    pub(crate) total: u64,
    /// The counts of the run.
    pub(crate) counts: RunCounts,
    /// The counts of each host.
    pub(crate) nodes: BTreeMap<String, NodeCounts>,
    /// The rates of hosts with watched carbons.
    pub(crate) paces: BTreeMap<String, NodeFigures>,
}

impl Figures {
    /// The lines for carbon; `name` gives the name of a host.
    fn lines(&self, prefix: &str, name: impl Fn(&str) -> String, unix_seconds: u64) -> String {
        let mut text = String::new();
        let mut line = |path: &str, value: &dyn std::fmt::Display| {
            // Writing to a `String` does not fail.
            let _ = writeln!(text, "{prefix}.{path}.last {value} {unix_seconds}");
        };
        let counts = &self.counts;
        line("main.total_jobs", &self.total);
        line("main.finished_jobs", &counts.finished);
        line("main.not_found", &counts.gone);
        line("main.copy_error", &counts.copy_failures());
        line("main.delete_error", &counts.delete_failures());
        for (host, node) in &self.nodes {
            let part = format!("node.{}", name_part(&name(host)));
            line(&format!("{part}.finished_jobs"), &node.finished);
            line(&format!("{part}.copy_error"), &node.copy_errors);
            line(&format!("{part}.delete_error"), &node.delete_errors);
            let Some(pace) = self.paces.get(host) else { continue };
            line(&format!("{part}.metrics_per_second"), &pace.metrics_per_second);
            if let Some(cache) = pace.cache {
                line(&format!("{part}.cache_limit"), &cache.limit);
                line(&format!("{part}.cache_size"), &cache.size);
            }
        }
        text
    }
}

/// A host's name as one part of a metric's name.
fn name_part(host: &str) -> String {
    host.trim_end_matches('.').replace(['.', ':'], "_")
}

/// Sends statistics.
pub(crate) struct Statistics {
    options: StatisticsOptions,
    names: HostNames,
    is_away: bool,
}

impl Statistics {
    /// Statistics about these hosts, sent as `options` say.
    pub(crate) fn new<'a>(
        options: &StatisticsOptions,
        hosts: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let names = if options.names_hosts { HostNames::look_up(hosts) } else { HostNames::none() };
        Self { options: options.clone(), names, is_away: false }
    }

    /// Sends what `figures` returns, again and again. It never returns; drop it.
    pub(crate) async fn send_regularly(&mut self, figures: impl Fn() -> Figures, output: &Output) {
        loop {
            tokio::time::sleep(self.options.interval).await;
            self.send(figures(), output).await;
        }
    }

    /// Sends these statistics.
    pub(crate) async fn send(&mut self, figures: Figures, output: &Output) {
        self.names.settle().await;
        let now = u64::from(unix_now());
        let text = figures.lines(&self.options.prefix, |host| self.names.name_of(host), now);
        let sent = tokio::time::timeout(PATIENCE, deliver(&self.options.endpoint, &text)).await;
        let endpoint = &self.options.endpoint;
        let trouble = match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("it accepted no data within {} s", PATIENCE.as_secs())),
        };
        match (&trouble, self.is_away) {
            (Some(reason), false) => output.say(format_args!(
                "bucky: cannot send statistics to {endpoint}: {reason}; the run continues, and it is tried \
                 again every {} s",
                self.options.interval.as_secs()
            )),
            (None, true) => output.say(format_args!("bucky: statistics reach {endpoint} again")),
            (Some(_), true) | (None, false) => {}
        }
        self.is_away = trouble.is_some();
    }
}

async fn deliver(endpoint: &DaemonAddr, text: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((endpoint.host(), endpoint.port())).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::failure_kind::FailureKind;
    use bucky_api::CarbonCache;

    fn figures() -> Figures {
        let counts = RunCounts {
            finished: 9,
            gone: 1,
            failed: BTreeMap::from([
                (FailureKind::Busy, 2),
                (FailureKind::NotDeleted, 3),
                (FailureKind::StillWrittenTo, 1),
            ]),
            ..RunCounts::default()
        };
        let ledger = NodeLedger::new(["127.0.3.1", "::1"]);
        ledger.note(&"127.0.3.1:4242".parse().unwrap(), |node| {
            (node.finished, node.copy_errors, node.delete_errors) = (9, 2, 4);
        });
        let cache = Some(CarbonCache { size: 10.0, limit: 100.0 });
        let pace = NodeFigures { metrics_per_second: 1.0, cache };
        let paces = BTreeMap::from([("127.0.3.1".to_owned(), pace)]);
        Figures { total: 12, counts, nodes: ledger.counts(), paces }
    }

    #[test]
    fn the_figures_have_the_names_of_the_go_tool() {
        let text = figures().lines("carbon.buckytools", str::to_owned, 1_795_354_047);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn hosts_can_have_other_names() {
        let named =
            |host: &str| if host == "::1" { "one.example.".into() } else { host.to_owned() };
        let text = figures().lines("p", named, 1);
        assert!(text.contains("p.node.one_example.finished_jobs.last 0 1\n"), "{text}");
    }

    /// D33: if nothing listens, the Go tool writes thousands of lines at its end.
    #[tokio::test]
    async fn a_carbon_that_is_down_is_reported_once() {
        // An address of its own, so that no other test can take the port in the meantime.
        let host = "127.0.39.1";
        let listener = tokio::net::TcpListener::bind((host, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let options = StatisticsOptions {
            endpoint: DaemonAddr::new(host, port).unwrap(),
            prefix: "p".into(),
            interval: Duration::from_secs(60),
            names_hosts: false,
        };
        let (output, _, people) = Output::captured();
        let mut statistics = Statistics::new(&options, ["a"]);
        for _ in 0..3 {
            statistics.send(figures(), &output).await;
        }
        assert_eq!(people.text().lines().count(), 1, "{}", people.text());
        let listener = tokio::net::TcpListener::bind((host, port)).await.unwrap();
        statistics.send(figures(), &output).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut got = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut got).await.unwrap();
        assert!(got.starts_with("p.main.total_jobs.last 12 "), "{got}");
        assert!(people.text().ends_with("again\n"), "{}", people.text());
    }
}
