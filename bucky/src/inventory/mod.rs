//! What the nodes hold, read page by page, from all nodes at once, in the order of the names.
//!
//! A daemon with `/v1` gives its list in pages. A Go daemon gives it in one piece, unsorted, and reports
//! sizes metric by metric. In both cases a [`Listing`] hands out bounded pages, and [`MergedLists`] puts those of
//! many nodes into one order.

mod ask;

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use bucky_api::client::GoListFilter;
use bucky_api::{ClientError, Daemon, MetricLine};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use self::ask::{Page, name_page, report_wait, stat_names};
pub(crate) use self::ask::{PageFilter, in_order, list, refresh, stat_page};
use crate::cluster::{Cluster, DaemonKind, Member};
use crate::names::{Selection, metric_called};
use crate::outcome::Outcome;
use crate::output::Output;
use crate::{chain, patience};

/// Names in one request to each of all nodes, together. Up to three pages of each node are held at a time.
const PAGES: usize = 12_000;
/// The most names asked for in one request.
const LONGEST_PAGE: usize = 5_000;
/// The fewest names asked for in one request: the request itself costs more than this many names.
const SHORTEST_PAGE: usize = 100;
/// The most names sent in one request. A Go daemon takes a list that it cannot read for an empty one (D1), so
/// lists stay short.
pub(crate) const NAMES_SENT: usize = 2_000;

/// How many names to ask for in one request if this many nodes are read at the same time. Memory does not
/// grow with the number of nodes.
pub(crate) fn page_len(nodes: usize) -> usize {
    (PAGES / nodes.max(1)).clamp(SHORTEST_PAGE, LONGEST_PAGE)
}

/// How much is asked of each metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListDetail {
    /// Its name.
    Name,
    /// Its name, size and modification time.
    Stat,
}

/// A metric on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedMetric {
    /// Its name, as the node lists it.
    pub(crate) name: String,
    /// Its size and time, or the reason why they are unknown.
    pub(crate) stat: Result<Stat, String>,
}

/// Size and modification time of a file; zeros if only names were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The length in bytes.
    pub(crate) bytes: u64,
    /// Last written, in Unix seconds.
    pub(crate) mtime: i64,
}

/// What is read.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    /// Which metrics.
    pub(crate) selection: Selection,
    /// How much of each metric.
    pub(crate) detail: ListDetail,
    /// How many metrics of a Go daemon are asked for at the same time, one request each.
    pub(crate) workers: usize,
}

/// A list that is being read from one node.
pub(crate) struct Listing {
    pages: mpsc::Receiver<Result<Vec<ListedMetric>, ClientError>>,
    page: VecDeque<ListedMetric>,
}

impl Listing {
    /// Begins to read from `member` what `query` asks for, one page ahead.
    pub(crate) fn begin(
        member: &Member,
        query: Arc<Query>,
        page_len: usize,
        output: Arc<Output>,
    ) -> Self {
        let (sender, pages) = mpsc::channel(1);
        let daemon = member.daemon.clone();
        let has_pages = member.can(DaemonKind::pages_its_list);
        tokio::spawn(async move {
            let reading = ListReader { daemon, query, page_len, output, sender };
            let result = match (&reading.query.selection, has_pages) {
                (Selection::Names(names), true) if reading.query.detail == ListDetail::Stat => {
                    reading.stat_by_name(names).await
                }
                (Selection::Names(names), _) => reading.by_name(names).await,
                (_, true) => reading.by_page().await,
                (Selection::All, false) => reading.whole(GoListFilter::All).await,
                (Selection::Regex(regex), false) => {
                    reading.whole(GoListFilter::Regex(regex.clone())).await
                }
            };
            if let Err(error) = result {
                // If the receiver is gone, nothing needs the error.
                let _ = reading.sender.send(Err(error)).await;
            }
        });
        Self { pages, page: VecDeque::new() }
    }

    /// The next metric, or `None` at the end.
    ///
    /// # Errors
    /// [`ClientError`], once, if the list cannot be read to its end.
    pub(crate) async fn next(&mut self) -> Result<Option<ListedMetric>, ClientError> {
        while self.page.is_empty() {
            match self.pages.recv().await {
                Some(page) => self.page = page?.into(),
                None => break,
            }
        }
        Ok(self.page.pop_front())
    }
}

struct ListReader {
    daemon: Daemon,
    query: Arc<Query>,
    page_len: usize,
    output: Arc<Output>,
    sender: mpsc::Sender<Result<Vec<ListedMetric>, ClientError>>,
}

impl ListReader {
    /// Reads the pages of a daemon with `/v1`.
    async fn by_page(&self) -> Result<(), ClientError> {
        let mut after: Option<String> = None;
        let mut is_last = false;
        while !is_last {
            let page = || self.page(after.as_deref());
            let page =
                patience::ask(&self.daemon, page, |error| report_wait(&self.output, error)).await?;
            is_last = page.next.is_none();
            after = page.next;
            if self.sender.send(Ok(page.entries)).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn page(&self, after: Option<&str>) -> Result<Page<ListedMetric>, ClientError> {
        let regex = match &self.query.selection {
            Selection::Regex(regex) => Some(regex.as_str()),
            Selection::All | Selection::Names(_) => None,
        };
        let filter = PageFilter { regex, unplaceable: false };
        if self.query.detail == ListDetail::Stat {
            let page = stat_page(&self.daemon, filter, after, self.page_len).await?;
            return Ok(Page {
                entries: page.entries.into_iter().map(entry).collect(),
                next: page.next,
            });
        }
        let page = name_page(&self.daemon, filter, after, self.page_len).await?;
        let entries =
            page.entries.into_iter().map(|name| ListedMetric { name, stat: Ok(Stat::default()) });
        Ok(Page { entries: entries.collect(), next: page.next })
    }

    /// Reads those of `names` that the daemon has. Both kinds of daemon answer the Go tool's route.
    async fn by_name(&self, names: &[String]) -> Result<(), ClientError> {
        for names in names.chunks(NAMES_SENT) {
            let filter = GoListFilter::Names(names.to_vec());
            let found = list(&self.daemon, &filter, &self.output).await?;
            if !self.send(found).await? {
                break;
            }
        }
        Ok(())
    }

    /// Reads those of `names` that a daemon with `/v1` has, with their sizes.
    async fn stat_by_name(&self, names: &[String]) -> Result<(), ClientError> {
        for names in names.chunks(NAMES_SENT) {
            let stat = || stat_names(&self.daemon, names);
            let found =
                patience::ask(&self.daemon, stat, |error| report_wait(&self.output, error)).await?;
            if self.sender.send(Ok(found.into_iter().map(entry).collect())).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Reads the list of a Go daemon.
    async fn whole(&self, filter: GoListFilter) -> Result<(), ClientError> {
        let names = list(&self.daemon, &filter, &self.output).await?;
        for names in names.chunks(self.page_len) {
            if !self.send(names.to_vec()).await? {
                break;
            }
        }
        Ok(())
    }

    /// Hands a page out; `false` if the receiver is gone.
    async fn send(&self, names: Vec<String>) -> Result<bool, ClientError> {
        let entries = match self.query.detail {
            ListDetail::Name => names
                .into_iter()
                .map(|name| ListedMetric { name, stat: Ok(Stat::default()) })
                .collect(),
            ListDetail::Stat => {
                let looked = names.into_iter().map(|name| self.look(name));
                stream::iter(looked).buffered(self.query.workers).try_collect().await?
            }
        };
        Ok(self.sender.send(Ok(entries)).await.is_ok())
    }

    /// Asks for one metric. If the daemon does not answer, that is the error of the whole list.
    async fn look(&self, name: String) -> Result<ListedMetric, ClientError> {
        // D31: the Go daemon would return another metric.
        if let Err(reason) = metric_called(&name) {
            return Ok(ListedMetric {
                stat: Err(format!("{name:?} is not a valid metric name: {reason}")),
                name,
            });
        }
        let answer = patience::ask(&self.daemon, || self.daemon.go_stat(&name), |_| ()).await;
        let stat = match answer {
            Ok(Some(stat)) => {
                Ok(Stat { bytes: u64::try_from(stat.size).unwrap_or(0), mtime: stat.mod_time })
            }
            Ok(None) => Err(format!("Metric not found: {name}")),
            Err(error @ (ClientError::Unreachable { .. } | ClientError::TimedOut { .. })) => {
                return Err(error);
            }
            Err(error) => Err(format!("{name}: {}", chain(&error))),
        };
        Ok(ListedMetric { name, stat })
    }
}

fn entry(line: MetricLine) -> ListedMetric {
    let MetricLine { metric, bytes, mtime, reason, .. } = line;
    let stat = if reason.is_empty() {
        Ok(Stat { bytes, mtime })
    } else {
        Err(format!("{metric}: {reason}"))
    };
    ListedMetric { name: metric.to_string(), stat }
}

/// The lists of many nodes in one order: by name, then by node.
pub(crate) struct MergedLists {
    listings: Vec<Option<Listing>>,
    heads: BinaryHeap<Reverse<Head>>,
    failures: Vec<ClientError>,
    /// How many metrics each node has returned so far.
    counts: Vec<u64>,
}

/// The next metric of one node.
#[derive(PartialEq, Eq)]
struct Head {
    index: usize,
    entry: ListedMetric,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.entry.name.cmp(&other.entry.name).then(self.index.cmp(&other.index))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl MergedLists {
    /// Begins to read from all members of `cluster` that answered, after a new scan if `fresh`.
    ///
    /// # Errors
    /// If a new scan fails.
    pub(crate) async fn begin(
        cluster: &Cluster,
        query: Query,
        fresh: bool,
        output: &Arc<Output>,
    ) -> anyhow::Result<Self> {
        if fresh {
            refresh(cluster.present(), output).await?;
        }
        let query = Arc::new(query);
        let page_len = page_len(cluster.members.len());
        let begin = |member: &Member| {
            let begin = || Listing::begin(member, Arc::clone(&query), page_len, Arc::clone(output));
            member.is_there().then(begin)
        };
        let listings: Vec<Option<Listing>> = cluster.members.iter().map(begin).collect();
        let mut merged = Self {
            heads: BinaryHeap::with_capacity(listings.len()),
            counts: vec![0; listings.len()],
            listings,
            failures: Vec::new(),
        };
        for index in 0..merged.listings.len() {
            merged.advance(index).await;
        }
        Ok(merged)
    }

    /// The next metric and the index of its node among the members, or `None` at the end of all lists.
    pub(crate) async fn next(&mut self) -> Option<(usize, ListedMetric)> {
        let Reverse(Head { index, entry }) = self.heads.pop()?;
        self.advance(index).await;
        Some((index, entry))
    }

    /// Adds the next metric of a node to the heads, if there is one.
    async fn advance(&mut self, index: usize) {
        let Some(slot) = self.listings.get_mut(index) else { return };
        let Some(listing) = slot else { return };
        match listing.next().await {
            Ok(Some(entry)) => {
                self.heads.push(Reverse(Head { index, entry }));
                if let Some(count) = self.counts.get_mut(index) {
                    *count += 1;
                }
            }
            Ok(None) => *slot = None,
            Err(error) => {
                self.failures.push(error);
                *slot = None;
            }
        }
    }

    /// Reports how many metrics each node returned; call it when all have been taken.
    pub(crate) fn report_returned(&self, cluster: &Cluster, output: &Output) {
        for (member, count) in cluster.members.iter().zip(&self.counts) {
            if member.is_there() {
                report_returned(member, *count, output);
            }
        }
    }

    /// The reason why a node's list broke off, once. That list is not read any further.
    pub(crate) fn take_failure(&mut self) -> Option<ClientError> {
        self.failures.pop()
    }

    /// Reports the nodes whose lists broke off.
    pub(crate) fn report_failures(&self, output: &Output) -> Outcome {
        report_failures(&self.failures, output)
    }
}

/// Reports, in the Go tool's words, how many metrics a node returned. At a terminal the metrics, or their
/// sum, are shown.
pub(crate) fn report_returned(member: &Member, count: u64, output: &Output) {
    if !output.is_terminal() {
        output.say(format_args!("{} returned {count} metrics", member.addr()));
    }
}

/// Reports what failed at which node.
pub(crate) fn report_failures(failures: &[ClientError], output: &Output) -> Outcome {
    for error in failures {
        output.say(format_args!("bucky: {}", chain(error)));
    }
    if failures.is_empty() { Outcome::Done } else { Outcome::SomeFailed }
}

/// Selected names that no node has returned yet.
pub(crate) struct UnfoundNames(BTreeSet<String>);

impl UnfoundNames {
    /// All selected names.
    pub(crate) fn new(selection: &Selection) -> Self {
        match selection {
            Selection::Names(names) => Self(names.iter().cloned().collect()),
            Selection::All | Selection::Regex(_) => Self(BTreeSet::new()),
        }
    }

    /// The names that were not found.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Notes a metric that was found.
    pub(crate) fn found(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Reports the names that were not found.
    pub(crate) fn report(&self, output: &Output) -> Outcome {
        for name in &self.0 {
            output.say(format_args!("Metric not found: {name}"));
        }
        if self.0.is_empty() { Outcome::Done } else { Outcome::SomeFailed }
    }
}
