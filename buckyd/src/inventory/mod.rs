//! Which metrics this node has.
//!
//! A background scan makes the list. The old list is served while a new one is made. Files that the daemon
//! itself creates and deletes are recorded in both. A caller that needs certainty asks for a scan that begins
//! after its request ([`Inventory::fresh`]).
//!
//! The lock is held only for a moment, however many metrics there are. Longer work is done without it.

mod file_list;
mod list;
mod provisional;
mod scan;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use bucky_api::{InventoryState, InventoryStatus, NotServed, NotServedKind, chain};
use bucky_placement::SeriesList;
use bucky_whisper::MetricName;
use tokio::sync::{Notify, watch};

use crate::series::Series;

#[cfg(test)]
pub(crate) use self::list::ListBuilder;
pub(crate) use self::list::{List, Span};
use crate::store::{MetricList, Volumes};

/// The most changes that are applied to a scan's list under the lock. It takes some milliseconds.
const SINCE_AT_ONCE: usize = 4096;

/// The list of metrics, and the scans that make it.
pub(crate) struct Inventory {
    prefix: PathBuf,
    /// The volumes to scan. They hold this inventory, so the reference is weak.
    volumes: OnceLock<Weak<Volumes>>,
    /// A list older than this is replaced when it is requested.
    max_age: Duration,
    /// go-carbon's list of files, if it is served until the first scan has ended.
    file_list: Option<PathBuf>,
    /// The series that are known by their hash.
    series: Series,
    state: Arc<Mutex<ListState>>,
    /// Wakes the scanner.
    wanted: Notify,
    /// The number of the last scan that ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct ListState {
    list: Option<Listed>,
    /// The provisional list from go-carbon's list of files, until the first scan has ended: see
    /// `provisional`.
    provisional: Option<List>,
    /// The number of the last scan that began, and of the last one that was requested.
    begun: u64,
    wanted: u64,
    running: bool,
    /// What the daemon changed since the running scan began.
    since: Vec<(MetricName, bool)>,
    problem: String,
}

struct Listed {
    list: List,
    /// The number of the scan that made the list.
    number: u64,
    at: Instant,
    took: Duration,
    not_served: NotServed,
    hash_named: u64,
}

impl Inventory {
    /// An inventory without a list. The first scan is requested at once.
    pub(crate) fn new(prefix: &Path, max_age: Duration) -> Self {
        let state = ListState { wanted: 1, ..ListState::default() };
        Self {
            prefix: prefix.to_owned(),
            volumes: OnceLock::new(),
            max_age,
            file_list: None,
            series: Series::default(),
            state: Arc::new(Mutex::new(state)),
            wanted: Notify::new(),
            ended: watch::channel(0).0,
        }
    }

    /// Sets go-carbon's list of files, which is served until the first scan has ended.
    pub(crate) fn with_file_list(mut self, path: Option<PathBuf>) -> Self {
        self.file_list = path;
        self
    }

    /// Sets the volumes that are scanned from now on. They keep their open folders, whatever the prefix's
    /// path leads to later.
    pub(crate) fn scans(&self, volumes: &Arc<Volumes>) {
        let _ = self.volumes.set(Arc::downgrade(volumes));
    }

    /// Sets the series that are known by their hash. Before each scan their file is read again if it has
    /// changed.
    pub(crate) fn with_series(mut self, series: Series) -> Self {
        self.series = series;
        self
    }

    /// The series that are known by their hash now.
    pub(crate) fn known_series(&self) -> Option<Arc<SeriesList>> {
        self.series.now()
    }

    /// Runs a scan whenever one is requested, forever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            while let Some(number) = self.begin() {
                if let Some(path) = self.file_list.clone().filter(|_| number == 1) {
                    let this = Arc::clone(&self);
                    tokio::task::spawn_blocking(move || this.provisional(&path));
                }
                let this = Arc::clone(&self);
                let result = tokio::task::spawn_blocking(move || this.scan()).await;
                if let Err(error) = result {
                    self.failed(format!("the scan failed: {error}"));
                }
                self.ended.send_replace(number);
            }
            self.wanted.notified().await;
        }
    }

    /// The list, if there is one. Requests a new scan if the list is too old, or if the last scan failed.
    pub(crate) fn list(&self) -> Option<List> {
        let state = self.locked();
        let list = state.list.as_ref().map(|listed| listed.list.clone());
        let old = state.list.as_ref().is_none_or(|listed| listed.at.elapsed() > self.max_age);
        let is_due = state.running || state.wanted > state.begun;
        drop(state);
        if old && !is_due {
            self.request();
        }
        list
    }

    /// The list, if the scan `number` or a later one made it. `None` if that scan has not ended, or failed.
    pub(crate) fn list_of(&self, number: u64) -> Option<List> {
        let state = self.locked();
        state
            .list
            .as_ref()
            .filter(|listed| listed.number >= number)
            .map(|listed| listed.list.clone())
    }

    /// Requests a scan that begins after this call. Returns its number.
    pub(crate) fn request(&self) -> u64 {
        let mut state = self.locked();
        state.wanted = state.begun + 1;
        let number = state.wanted;
        drop(state);
        self.wanted.notify_one();
        number
    }

    /// Waits until the scan `number` has ended.
    pub(crate) async fn wait_for(&self, number: u64) {
        let mut ended = self.ended.subscribe();
        // `self` holds the sender, so it is not closed.
        let _ = ended.wait_for(|ended| *ended >= number).await;
    }

    /// Waits for a scan that begins after this call. Returns its number, for [`Self::list_of`].
    pub(crate) async fn fresh(&self) -> u64 {
        let number = self.request();
        self.wait_for(number).await;
        number
    }

    /// The number of metrics. `None` before the first scan has ended.
    pub(crate) fn len(&self) -> Option<u64> {
        self.locked().list.as_ref().map(|listed| listed.list.len())
    }

    /// The state of the inventory.
    pub(crate) fn status(&self) -> InventoryStatus {
        let state = self.locked();
        let listed = state.list.as_ref();
        let not_served = listed.map(|listed| listed.not_served).unwrap_or_default();
        InventoryStatus {
            state: match (listed, state.running || state.wanted > state.begun) {
                (None, true) => InventoryState::FirstScan,
                (None, false) => InventoryState::Failed,
                (Some(_), true) => InventoryState::Rescan,
                (Some(_), false) => InventoryState::Ready,
            },
            age_seconds: listed.map(|listed| listed.at.elapsed().as_secs()),
            scan_seconds: listed.map(|listed| listed.took.as_secs_f64()),
            unplaceable: not_served.unplaceable,
            series: self.series.status(listed.map_or(0, |listed| listed.hash_named)),
            unusable: not_served.unusable,
            unreadable_folders: not_served.unreadable_folders,
            not_served,
            problem: state.problem.clone(),
        }
    }

    /// What is below the prefix and is not served, found by a separate walk.
    ///
    /// # Errors
    /// A message if the prefix cannot be read.
    pub(crate) fn not_served(
        &self,
        each: impl FnMut(NotServedKind, &Path, &str),
    ) -> Result<(), String> {
        struct Tell<F>(F);
        impl<F: FnMut(NotServedKind, &Path, &str)> scan::Visitor for Tell<F> {
            const LISTENS: bool = true;
            fn not_served(&mut self, kind: NotServedKind, path: &Path, detail: &str) {
                (self.0)(kind, path, detail);
            }
        }
        self.walk(&mut Tell(each)).map(drop).map_err(|error| chain(&error))
    }

    fn walk(&self, visitor: &mut impl scan::Visitor) -> Result<scan::Scan, scan::ScanError> {
        let volumes = self.volumes.get().and_then(Weak::upgrade);
        scan::scan(&self.prefix, volumes.as_deref(), &self.series.now(), visitor)
    }

    /// The names that a scan finds now.
    #[cfg(test)]
    pub(crate) fn scanned_names(&self) -> Vec<String> {
        self.locked().wanted += 1;
        self.begin();
        self.scan();
        let mut names = Vec::new();
        let _ = self.list().map(|list| {
            walk_metrics(&list, Span::default(), |metric| {
                names.push(metric.to_string());
                ControlFlow::<()>::Continue(())
            })
        });
        names
    }

    /// The number of the scan that begins now, if one is requested.
    fn begin(&self) -> Option<u64> {
        let mut state = self.locked();
        if state.wanted <= state.begun {
            return None;
        }
        state.begun += 1;
        state.running = true;
        state.since.clear();
        Some(state.begun)
    }

    fn scan(&self) {
        let started = Instant::now();
        self.series.refresh();
        match self.walk(&mut scan::Ignore) {
            Ok(scan) => self.finished(scan, started),
            Err(error) => self.failed(chain(&error)),
        }
    }

    fn finished(&self, scan: scan::Scan, started: Instant) {
        let took = started.elapsed();
        let mut list = scan.list;
        let mut state = self.locked();
        // After hours of scanning, many changes are applied without the lock, and then those that were made
        // in that time.
        while state.since.len() > SINCE_AT_ONCE {
            let since = std::mem::take(&mut state.since);
            drop(state);
            bring_in(&mut list, since);
            state = self.locked();
        }
        bring_in(&mut list, std::mem::take(&mut state.since));
        tracing::info!(metrics = list.len(), elapsed = ?took, not_served = %scan.not_served.text(), "scan ended");
        state.problem = scan.first_unreadable.map_or_else(String::new, |(path, error)| {
            format!(
                "folders that could not be read: {}; the first is {}: {error}",
                scan.not_served.unreadable_folders,
                path.display()
            )
        });
        let number = state.begun;
        let provisional = state.provisional.take();
        let before = state.list.replace(Listed {
            list,
            number,
            at: started,
            took,
            not_served: scan.not_served,
            hash_named: scan.hash_named,
        });
        state.running = false;
        drop(state);
        drop((before, provisional));
    }

    fn failed(&self, problem: String) {
        tracing::error!(problem, "scan failed");
        let mut state = self.locked();
        state.problem = problem;
        state.provisional = None;
        state.running = false;
        state.since.clear();
    }

    fn change(&self, metric: &MetricName, there: bool) {
        let mut state = self.locked();
        if state.running {
            state.since.push((metric.clone(), there));
        }
        let now = &mut *state;
        for list in now.list.iter_mut().map(|listed| &mut listed.list).chain(&mut now.provisional) {
            list.set(metric.as_str(), there);
        }
        // A running scan makes a new list anyway.
        let list = now.list.as_mut().filter(|_| !now.running);
        let grown = list.and_then(|listed| listed.list.set_changes_aside());
        drop(state);
        if let Some(from) = grown {
            self.rebuild_bulk(from);
        }
    }

    /// Builds a bulk that includes all changes, on a separate thread: with millions of names it takes
    /// seconds.
    fn rebuild_bulk(&self, from: List) {
        let state = Arc::clone(&self.state);
        let make = move || {
            let rebuilt = from.rebuilt();
            match rebuilt {
                Ok(rebuilt) => {
                    if let Some(listed) = &mut locked(&state).list {
                        listed.list.adopt(&from, rebuilt);
                    }
                }
                Err(error) => tracing::error!(%error, "cannot rebuild the inventory"),
            }
        };
        if let Err(error) = std::thread::Builder::new().name("inventory".into()).spawn(make) {
            // The list is still correct. The changes go into the next bulk.
            tracing::warn!(%error, "cannot start a thread to rebuild the inventory");
        }
    }

    fn locked(&self) -> MutexGuard<'_, ListState> {
        locked(&self.state)
    }
}

impl MetricList for Inventory {
    fn added(&self, metric: &MetricName) {
        self.change(metric, true);
    }

    fn removed(&self, metric: &MetricName) {
        self.change(metric, false);
    }

    fn count_below(&self, path: &Path) -> u64 {
        let list = self.locked().list.as_ref().map(|listed| listed.list.clone());
        let Some(list) = list else { return 0 };
        let folder = path.display().to_string().replace('/', ".") + ".";
        let mut count = 0;
        let _ = list.walk(Span { prefix: Some(&folder), ..Span::default() }, |_| {
            count += 1;
            ControlFlow::<()>::Continue(())
        });
        count
    }
}

fn bring_in(list: &mut List, since: Vec<(MetricName, bool)>) {
    for (metric, there) in since {
        list.set(metric.as_str(), there);
    }
}

fn locked(state: &Mutex<ListState>) -> MutexGuard<'_, ListState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `each` with the metrics of `span` as names, until it breaks.
pub(crate) fn walk_metrics<B>(
    list: &List,
    span: Span<'_>,
    mut each: impl FnMut(MetricName) -> ControlFlow<B>,
) -> ControlFlow<B> {
    list.walk(span, |name| match MetricName::parse(name) {
        Ok(metric) => each(metric),
        // Only valid names are in the list.
        Err(_) => ControlFlow::Continue(()),
    })
}
