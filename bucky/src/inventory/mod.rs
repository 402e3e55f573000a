//! What the nodes hold, read page by page, from all nodes at once, in the order of the names.
//!
//! A daemon with `/v1` gives its list in pages. A Go daemon gives it in one piece, unsorted, and reports
//! sizes metric by metric. In both cases a [`Listing`] hands out bounded pages, and [`MergedLists`] puts
//! those of many nodes into one order.

mod ask;
mod merged;
mod unfound;

use std::sync::Arc;

use bucky_api::client::GoListFilter;
use bucky_api::{ClientError, Daemon, MetricLine};
use futures_util::{StreamExt, TryStreamExt, stream};

use self::ask::{Page, name_page, report_wait, stat_names};
pub(crate) use self::ask::{PageFilter, in_order, list, refresh, stat_page};
pub(crate) use self::merged::{MergedLists, report_failures, report_returned};
pub(crate) use self::unfound::UnfoundNames;
use crate::cluster::{DaemonKind, Member};
use crate::names::{Selection, metric_called};
use crate::output::Output;
use crate::pages::{PageSender, Pages};
use crate::{chain, patience};

/// Names in one request to each of all nodes, together. Up to three pages of each node are held at a time.
const PAGES: usize = 12_000;
/// The most names asked for in one request.
const LONGEST_PAGE: usize = 5_000;
/// The fewest names asked for in one request: the request itself costs more than this many names.
const SHORTEST_PAGE: usize = 100;
/// The most names sent in one request. A Go daemon takes a list that it cannot read for no list at
/// all, which means all metrics (D1), so lists stay short.
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
    pages: Pages<ListedMetric, ClientError>,
}

impl Listing {
    /// Begins to read from `member` what `query` asks for, one page ahead.
    pub(crate) fn begin(
        member: &Member,
        query: Arc<Query>,
        page_len: usize,
        output: Arc<Output>,
    ) -> Self {
        let daemon = member.daemon.clone();
        let has_pages = member.can(DaemonKind::pages_its_list);
        let pages = Pages::read(move |pages| async move {
            let reading = ListReader { daemon, query, page_len, output, pages };
            match (&reading.query.selection, has_pages) {
                (Selection::Names(names), true) if reading.query.detail == ListDetail::Stat => {
                    reading.stat_by_name(names).await
                }
                (Selection::Names(names), _) => reading.by_name(names).await,
                (_, true) => reading.by_page().await,
                (Selection::All, false) => reading.whole(GoListFilter::All).await,
                (Selection::Regex(regex), false) => {
                    reading.whole(GoListFilter::Regex(regex.clone())).await
                }
            }
        });
        Self { pages }
    }

    /// The next metric, or `None` at the end.
    ///
    /// # Errors
    /// [`ClientError`], once, if the list cannot be read to its end.
    pub(crate) async fn next(&mut self) -> Result<Option<ListedMetric>, ClientError> {
        self.pages.next().await
    }
}

struct ListReader {
    daemon: Daemon,
    query: Arc<Query>,
    page_len: usize,
    output: Arc<Output>,
    pages: PageSender<ListedMetric, ClientError>,
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
            if !self.pages.send(page.entries).await {
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
            if !self.pages.send(found.into_iter().map(entry).collect()).await {
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
        Ok(self.pages.send(entries).await)
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
