//! The requests for lists: in pages from a daemon with `/v1`, in one piece from a Go daemon; and for new
//! scans.

use std::time::Duration;

use bucky_api::client::{GoListFilter, Listing as GoListing};
use bucky_api::{ClientError, Daemon, MetricLine, StatRequest, paths};
use futures_util::{StreamExt, stream};

use crate::chain;
use crate::cluster::{DaemonKind, Member};
use crate::names::metric_called;
use crate::outcome::UnhealthyError;
use crate::output::Output;
use crate::patience::{self, NextStep, Patience, Trouble};

/// How long a Go daemon takes to report that it scans, after a new scan was asked for.
const SCAN_BEGINS: Duration = Duration::from_millis(300);
/// How many nodes are asked at once.
const ASKED_AT_ONCE: usize = 32;

/// The names that a daemon lists by the Go tool's route: sorted, each once. Waits for the daemon within
/// limits.
pub(crate) async fn list(
    daemon: &Daemon,
    filter: &GoListFilter,
    output: &Output,
) -> Result<Vec<String>, ClientError> {
    let mut patience = Patience::with(daemon);
    let mut is_reported = false;
    loop {
        let listing = patience::ask(
            daemon,
            || daemon.go_list(filter, false),
            |error| report_wait(output, error),
        )
        .await?;
        if let GoListing::Ready(mut names) = listing {
            names.sort_unstable();
            names.dedup();
            return Ok(names);
        }
        if !std::mem::replace(&mut is_reported, true) {
            output.say(format_args!("Results from {} not available. Sleeping.", daemon.addr()));
        }
        match patience.after(Trouble::Busy, patience::jitter()) {
            NextStep::Wait(wait) => tokio::time::sleep(wait).await,
            NextStep::GiveUp => return Err(never_ready(daemon)),
        }
    }
}

fn never_ready(daemon: &Daemon) -> ClientError {
    ClientError::BadAnswer {
        addr: daemon.addr().clone(),
        route: paths::METRICS,
        found: "its list is never ready; check whether the daemon can read its files".into(),
    }
}

pub(super) fn report_wait(output: &Output, error: &ClientError) {
    output.say(format_args!("Results from {} not available. Sleeping.", error.addr()));
}

/// Has all members scan again, and waits until they have.
///
/// # Errors
/// [`UnhealthyError`] names the first that cannot. Nothing was done yet.
pub(crate) async fn refresh<'a>(
    members: impl Iterator<Item = &'a Member>,
    output: &Output,
) -> anyhow::Result<()> {
    let refreshed = members.map(|member| refresh_one(member, output));
    let results: Vec<_> = stream::iter(refreshed).buffer_unordered(ASKED_AT_ONCE).collect().await;
    let refreshed: Result<(), ClientError> = results.into_iter().collect();
    refreshed.map_err(|error| {
        UnhealthyError::because(format!("no new scan on {}: {}", error.addr(), chain(&error)))
    })
}

/// Has one member scan again. A Go daemon answers at once with its old list (D18); it is asked again until it
/// has a new one.
async fn refresh_one(member: &Member, output: &Output) -> Result<(), ClientError> {
    let daemon = &member.daemon;
    if member.can(DaemonKind::pages_its_list) {
        let query = [("limit", "1"), ("fresh", "1")];
        let scanned = || async { daemon.metrics(&query).await?.next_line().await };
        return patience::ask(daemon, scanned, |error| report_wait(output, error)).await.map(drop);
    }
    let none = GoListFilter::Names(Vec::new());
    patience::ask(daemon, || daemon.go_list(&none, true), |error| report_wait(output, error))
        .await?;
    tokio::time::sleep(SCAN_BEGINS).await;
    list(daemon, &none, output).await.map(drop)
}

/// A page of a list.
pub(crate) struct Page<T> {
    /// The entries of the page.
    pub(crate) entries: Vec<T>,
    /// The name after which the next page begins, or `None` if this is the last page.
    pub(crate) next: Option<String>,
}

/// Refuses a page with a name that does not come after `after`, in byte order: such a list might never end.
///
/// # Errors
/// [`ClientError::BadAnswer`].
pub(crate) fn in_order<'a>(
    daemon: &Daemon,
    route: &'static str,
    after: Option<&'a str>,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), ClientError> {
    let mut last = after;
    for name in names {
        if last.is_some_and(|last| name <= last) {
            let found = format!("{name:?} after {:?}, out of order", last.unwrap_or_default());
            return Err(ClientError::BadAnswer { addr: daemon.addr().clone(), route, found });
        }
        last = Some(name);
    }
    Ok(())
}

/// Which metrics of a daemon with `/v1` are listed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PageFilter<'a> {
    /// Only metrics whose name matches this.
    pub(crate) regex: Option<&'a str>,
    /// Only tagged files named by the hash of a series that the daemon does not know.
    pub(crate) unplaceable: bool,
}

impl<'a> PageFilter<'a> {
    fn query(self, after: Option<&'a str>) -> impl Iterator<Item = (&'static str, &'a str)> {
        let unplaceable = [("unplaceable", "1"), ("prefix", "_tagged.")];
        let unplaceable = unplaceable.into_iter().filter(move |_| self.unplaceable);
        let named = [("regex", self.regex), ("after", after)];
        named.into_iter().filter_map(|(key, value)| Some((key, value?))).chain(unplaceable)
    }
}

/// A page of names of a daemon with `/v1`.
pub(super) async fn name_page(
    daemon: &Daemon,
    filter: PageFilter<'_>,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<String>, ClientError> {
    let limit_text = limit.to_string();
    let mut query = vec![("limit", limit_text.as_str())];
    query.extend(filter.query(after));
    let mut lines = daemon.metrics(&query).await?;
    let mut entries = Vec::new();
    while let Some(line) = lines.next_line().await? {
        if entries.len() == limit {
            return Err(lines.too_many(limit));
        }
        entries.push(String::from_utf8_lossy(&line).into_owned());
    }
    in_order(daemon, paths::V1_METRICS, after, entries.iter().map(String::as_str))?;
    let next = if entries.len() < limit { None } else { entries.last().cloned() };
    Ok(Page { entries, next })
}

/// A page of metrics with their sizes, from a daemon with `/v1`.
///
/// A metric that has vanished since the scan has a name in the list and no size. So a short page need not be
/// the last one, and the names decide where the next page begins.
pub(crate) async fn stat_page(
    daemon: &Daemon,
    filter: PageFilter<'_>,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<MetricLine>, ClientError> {
    let limit_text = limit.to_string();
    let mut query = vec![("stat", "1"), ("limit", limit_text.as_str())];
    query.extend(filter.query(after));
    let entries: Vec<MetricLine> = daemon.metrics(&query).await?.collect_at_most(limit).await?;
    let names = entries.iter().map(|line| line.metric.as_str());
    in_order(daemon, paths::V1_METRICS, after, names)?;
    let next = if entries.len() < limit {
        name_page(daemon, filter, after, limit).await?.next
    } else {
        entries.last().map(|line| line.metric.to_string())
    };
    Ok(Page { entries, next })
}

/// Size and modification time of those of `names` that a daemon with `/v1` has, sorted. Names that are not a
/// metric's are left out.
pub(super) async fn stat_names(
    daemon: &Daemon,
    names: &[String],
) -> Result<Vec<MetricLine>, ClientError> {
    let metrics = names.iter().filter_map(|name| metric_called(name).ok()).collect();
    let request = StatRequest { metrics };
    let lines: Vec<MetricLine> =
        daemon.stat(&request).await?.collect_at_most(request.metrics.len()).await?;
    let found = lines.iter().map(|line| line.metric.as_str());
    in_order(daemon, paths::V1_METRICS, None, found)?;
    let is_foreign = |line: &&MetricLine| request.metrics.binary_search(&line.metric).is_err();
    if let Some(line) = lines.iter().find(is_foreign) {
        let found = format!("{}, which was not asked for", line.metric);
        let (addr, route) = (daemon.addr().clone(), paths::V1_METRICS);
        return Err(ClientError::BadAnswer { addr, route, found });
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_daemon::{Reply, daemon};
    use bucky_api::{Client, Timeouts};

    /// Four names; the files of the second and third have vanished.
    async fn store() -> Daemon {
        let addr = daemon(|request| {
            let after = request.parameter("after").unwrap_or_default();
            let limit: usize = request.parameter("limit").unwrap().parse().unwrap();
            let names = ["a", "b", "c", "d"].into_iter().filter(|name| *name > after).take(limit);
            if request.parameter("stat").is_none() {
                return Reply::ok(names.map(|name| format!("{name}\n")).collect::<String>());
            }
            let there = names.filter(|name| !["b", "c"].contains(name));
            let line = |name: &str| MetricLine {
                metric: name.parse().unwrap(),
                bytes: 1,
                mtime: 0,
                reason: String::new(),
                series: None,
            };
            Reply::lines(&there.map(line).collect::<Vec<_>>())
        })
        .await;
        Client::new(Timeouts::default()).unwrap().daemon(addr)
    }

    #[tokio::test]
    async fn a_page_that_lost_metrics_is_not_the_last() {
        for limit in 1..=5 {
            let daemon = store().await;
            let (mut names, mut after) = (Vec::new(), None);
            loop {
                let page = stat_page(&daemon, PageFilter::default(), after.as_deref(), limit)
                    .await
                    .unwrap();
                names.extend(page.entries.into_iter().map(|line| line.metric.to_string()));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(names, ["a", "d"], "pages of {limit}");
        }
    }
}
