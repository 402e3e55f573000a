//! The misplaced metrics of a node, read page by page in the order of their names.
//!
//! A daemon with `/v1` and our ring is asked for its misplaced metrics, and its answer is checked against our
//! ring: the daemon may have been restarted with another ring in the meantime. Of any other node the whole
//! list is read and placed here.
//!
//! A daemon calls tagged files unplaceable if they are named by the hash of a series that it does not know.
//! These are read beside its misplaced metrics, and placed here if our `--series` knows the series.

mod ahead;
mod method;

use std::sync::Arc;

use bucky_api::client::{GoListFilter, MisplacedQuery};
use bucky_api::{ClientError, Daemon, DaemonAddr, MisplacedLine, paths};
use bucky_ring::{Node, Ring};
use bucky_whisper::MetricName;

use self::ahead::ListAhead;
pub(crate) use self::method::StrayMethod;
use crate::inventory::{self, PageFilter};
use crate::output::Output;
use crate::pages::{PageSender, Pages};
use crate::patience;
use crate::placement::{self, NoPlace, Series};

/// What is read from a node.
#[derive(Clone, Debug)]
pub(crate) struct StrayQuery {
    /// How the metrics are found.
    pub(crate) method: StrayMethod,
    /// The ring that places them.
    pub(crate) ring: Arc<Ring>,
    /// The series that are known by their hash.
    pub(crate) series: Series,
    /// Only metrics whose name matches this.
    pub(crate) regex: Option<String>,
    /// Only metrics after this one.
    pub(crate) after: Option<MetricName>,
    /// Names asked for in one request: see [`inventory::page_len`].
    pub(crate) page: usize,
    /// Whether to ask for the length of each file, if the node can report it with the list.
    pub(crate) with_bytes: bool,
    /// Names with this prefix are local metrics; used where a list is placed here.
    pub(crate) local_prefix: Option<String>,
}

/// A misplaced metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MisplacedMetric {
    /// The metric.
    pub(crate) metric: MetricName,
    /// Its owners, the first copy first: indexes of the ring's nodes.
    pub(crate) owners: Vec<usize>,
    /// The length of its file, if the node reported it.
    pub(crate) bytes: Option<u64>,
}

/// An entry of a node's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A misplaced metric.
    Stray(MisplacedMetric),
    /// A metric that no rule of the relay sends to the ring.
    Unrouted(String),
    /// An unplaceable tagged file.
    Unplaceable(String),
    /// A path that is not a metric's name: only Go daemons list such paths.
    Unusable { name: String, reason: String },
}

/// The reason why a node's misplaced metrics cannot be read to their end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StrayError {
    /// The request failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The node places by another ring than ours.
    #[error(
        "{addr} places {metric} on {theirs}, but by the ring of -h it belongs to {ours}; was {addr} restarted \
         with another ring?"
    )]
    OtherRing { addr: DaemonAddr, metric: MetricName, theirs: String, ours: String },
}

/// The misplaced metrics of one node, read one page ahead.
pub(crate) struct StrayListing {
    pages: Pages<Item, StrayError>,
}

impl StrayListing {
    /// Begins to read from `daemon`.
    pub(crate) fn begin(daemon: Daemon, query: StrayQuery, output: Arc<Output>) -> Self {
        let pages = Pages::read(move |pages| async move {
            StrayReader { daemon, query, output, pages }.run().await
        });
        Self { pages }
    }

    /// The next item, or `None` at the end.
    ///
    /// # Errors
    /// [`StrayError`], once, if the list cannot be read to its end.
    pub(crate) async fn next(&mut self) -> Result<Option<Item>, StrayError> {
        self.pages.next().await
    }
}

struct StrayReader {
    daemon: Daemon,
    query: StrayQuery,
    output: Arc<Output>,
    pages: PageSender<Item, StrayError>,
}

impl StrayReader {
    async fn run(&self) -> Result<(), StrayError> {
        match &self.query.method {
            StrayMethod::Asked { host } => self.asked(host.clone()).await,
            StrayMethod::PlacedHere | StrayMethod::Whole { .. } => self.placed().await,
            StrayMethod::GoPlacedHere { host } => self.go_placed(host.as_deref()).await,
            StrayMethod::GoWhole { .. } => self.go_placed(None).await,
        }
    }

    async fn asked(&self, host: Option<String>) -> Result<(), StrayError> {
        let after = self.query.after.as_ref().map(MetricName::to_string);
        let mut misplaced = ListAhead::after(after.clone());
        let mut unplaceable = ListAhead::after(after);
        loop {
            if misplaced.is_wanted() {
                self.read_misplaced(host.as_deref(), &mut misplaced).await?;
            }
            if unplaceable.is_wanted() {
                self.read_unplaceable(host.as_deref(), &mut unplaceable).await?;
            }
            let items = ListAhead::merge(&mut misplaced, &mut unplaceable);
            let is_last = misplaced.is_done() && unplaceable.is_done();
            if !self.pages.send(items).await || is_last {
                return Ok(());
            }
        }
    }

    async fn read_misplaced(
        &self,
        host: Option<&str>,
        ahead: &mut ListAhead,
    ) -> Result<(), StrayError> {
        let limit = self.query.page;
        let query = MisplacedQuery {
            host: host.map(str::to_owned),
            regex: self.query.regex.clone(),
            after: ahead.after.clone(),
            limit: Some(limit as u64),
            stat: self.query.with_bytes,
            fresh: false,
        };
        let page = || async { self.daemon.misplaced(&query).await?.collect_at_most(limit).await };
        let page: Vec<MisplacedLine> =
            patience::ask(&self.daemon, page, |error| self.report_wait(error)).await?;
        let names = page.iter().map(|line| line.metric.as_str());
        inventory::in_order(&self.daemon, paths::V1_MISPLACED, query.after.as_deref(), names)?;
        let next = page.last().filter(|_| page.len() >= limit);
        ahead.go_on(next.map(|line| line.metric.to_string()));
        for line in page {
            ahead.push(line.metric.to_string(), Some(self.checked(line)?));
        }
        Ok(())
    }

    async fn read_unplaceable(
        &self,
        host: Option<&str>,
        ahead: &mut ListAhead,
    ) -> Result<(), StrayError> {
        let filter = PageFilter { regex: self.query.regex.as_deref(), unplaceable: true };
        let (after, limit) = (ahead.after.clone(), self.query.page);
        let page = || inventory::stat_page(&self.daemon, filter, after.as_deref(), limit);
        let page = patience::ask(&self.daemon, page, |error| self.report_wait(error)).await?;
        ahead.go_on(page.next);
        for line in page.entries {
            let name = line.metric.to_string();
            ahead.push(name, self.place(line.metric, Some(line.bytes), host, None));
        }
        Ok(())
    }

    /// The daemon's line, if our ring agrees with it.
    fn checked(&self, line: MisplacedLine) -> Result<Item, StrayError> {
        let ring = &self.query.ring;
        let known = self.query.series.with_reported(line.series.as_deref());
        let owners = match placement::owners(ring, &known, line.metric.as_str()) {
            Ok(owners) => owners,
            Err(_) => return Ok(Item::Unplaceable(line.metric.to_string())),
        };
        let ours: Vec<String> = owners
            .iter()
            .filter_map(|owner| ring.nodes().get(*owner))
            .map(Node::to_string)
            .collect();
        if ours != line.owners {
            return Err(StrayError::OtherRing {
                addr: self.daemon.addr().clone(),
                metric: line.metric,
                theirs: line.owners.join(", "),
                ours: ours.join(", "),
            });
        }
        Ok(Item::Stray(MisplacedMetric { metric: line.metric, owners, bytes: line.bytes }))
    }

    async fn placed(&self) -> Result<(), StrayError> {
        let mut after = self.query.after.as_ref().map(MetricName::to_string);
        loop {
            let filter = PageFilter { regex: self.query.regex.as_deref(), unplaceable: false };
            let page =
                || inventory::stat_page(&self.daemon, filter, after.as_deref(), self.query.page);
            let page = patience::ask(&self.daemon, page, |error| self.report_wait(error)).await?;
            let items = page
                .entries
                .into_iter()
                .filter_map(|line| self.place(line.metric, Some(line.bytes), None, line.series));
            if !self.pages.send(items.collect()).await || page.next.is_none() {
                return Ok(());
            }
            after = page.next;
        }
    }

    async fn go_placed(&self, host: Option<&str>) -> Result<(), StrayError> {
        let filter = match &self.query.regex {
            Some(regex) => GoListFilter::Regex(regex.clone()),
            None => GoListFilter::All,
        };
        let names = inventory::list(&self.daemon, &filter, &self.output).await?;
        let after = self.query.after.as_ref().map_or("", MetricName::as_str);
        for page in names.chunks(self.query.page) {
            let later = page.iter().filter(|name| name.as_str() > after);
            let items = later.filter_map(|name| match MetricName::parse(name) {
                Ok(metric) if metric.as_str() == name => self.place(metric, None, host, None),
                Ok(metric) => Some(Item::Unusable {
                    name: name.clone(),
                    reason: format!("the daemon would read it as {metric}"),
                }),
                Err(error) => {
                    Some(Item::Unusable { name: name.clone(), reason: error.to_string() })
                }
            });
            if !self.pages.send(items.collect()).await {
                break;
            }
        }
        Ok(())
    }

    /// The metric as an item. `None` if it is local, or if `host` is one of its owners. `reported` is the
    /// series that the daemon reported for its file.
    fn place(
        &self,
        metric: MetricName,
        bytes: Option<u64>,
        host: Option<&str>,
        reported: Option<String>,
    ) -> Option<Item> {
        if let StrayMethod::Whole { to } | StrayMethod::GoWhole { to } = &self.query.method {
            return Some(Item::Stray(MisplacedMetric { metric, owners: to.clone(), bytes }));
        }
        let is_local = |prefix: &String| prefix.is_empty() || metric.as_str().starts_with(prefix);
        if self.query.local_prefix.as_ref().is_some_and(is_local) {
            return None;
        }
        let known = self.query.series.with_reported(reported.as_deref());
        let owners = match placement::owners(&self.query.ring, &known, metric.as_str()) {
            Ok(owners) => owners,
            Err(NoPlace::Unplaceable(name) | NoPlace::NoName(name)) => {
                return Some(Item::Unplaceable(name));
            }
            Err(NoPlace::Unrouted(name)) => return Some(Item::Unrouted(name)),
        };
        let is_owner = placement::hosts(&self.query.ring, &owners)
            .into_iter()
            .any(|owner| Some(owner) == host);
        (!is_owner).then_some(Item::Stray(MisplacedMetric { metric, owners, bytes }))
    }

    fn report_wait(&self, error: &ClientError) {
        self.output.say(format_args!("Results from {} not available. Sleeping.", error.addr()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain;
    use crate::cluster::test_cluster::document;
    use crate::fake_daemon::{Reply, daemon};
    use bucky_api::{Client, Timeouts};

    /// Reads from a daemon that answers every request with `page`; returns how many items came, or the error.
    async fn read(page: Vec<MisplacedLine>) -> Result<usize, StrayError> {
        let addr = daemon(move |request| match request.parameter("unplaceable") {
            Some(_) => Reply::ok(""),
            None => Reply::lines(&page),
        })
        .await;
        let daemon = Client::new(Timeouts::default()).unwrap().daemon(addr);
        let ring = Arc::new(Ring::new(document(&["a"]).to_spec().unwrap()).unwrap());
        let query = StrayQuery {
            method: StrayMethod::Asked { host: Some("b".into()) },
            ring,
            series: Series::default(),
            regex: None,
            after: None,
            with_bytes: true,
            page: PAGE,
            local_prefix: None,
        };
        let output = Output::to_writers(Box::new(std::io::sink()), Box::new(std::io::sink()));
        let mut listing = StrayListing::begin(daemon, query, Arc::new(output));
        let mut count = 0;
        while listing.next().await?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    fn page(names: impl Iterator<Item = usize>, owner: &str) -> Vec<MisplacedLine> {
        let line = |number| MisplacedLine {
            metric: format!("m{number:05}").parse().unwrap(),
            owners: vec![owner.to_owned()],
            bytes: Some(1),
            series: None,
        };
        names.map(line).collect()
    }

    const OWNER: &str = "a";
    const PAGE: usize = 50;

    #[tokio::test]
    async fn a_page_that_is_not_full_is_the_last() {
        assert_eq!(read(page(0..7, OWNER)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_daemon_that_gives_the_same_page_again_and_again_is_not_asked_for_ever() {
        let error = chain(&read(page(0..PAGE, OWNER)).await.unwrap_err());
        assert!(error.contains("out of order"), "{error}");
        assert!(read(page([1, 1].into_iter(), OWNER)).await.is_err(), "a double");
    }

    #[tokio::test]
    async fn a_page_longer_than_asked_for_is_refused() {
        let error = chain(&read(page(0..PAGE + 1, OWNER)).await.unwrap_err());
        assert!(error.contains("more lines than the request's limit of 50"), "{error}");
    }

    /// The daemon was restarted with another ring after the plan was made.
    #[tokio::test]
    async fn owners_that_our_ring_does_not_name_are_not_believed() {
        let error = read(page(0..3, "b")).await.unwrap_err();
        assert!(matches!(error, StrayError::OtherRing { .. }), "{error}");
        assert!(error.to_string().contains("places m00000 on b,"), "{error}");
    }
}
