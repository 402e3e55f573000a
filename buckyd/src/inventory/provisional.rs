//! The provisional list of metrics, from go-carbon's list of files, until the first scan has ended.
//!
//! It is used only if go-carbon's list is complete and recent. It answers only requests that accept a list
//! that is up to `-timeout` old ([`Inventory::list_or_provisional`]: the Go tool's `/metrics`). It is dropped
//! as soon as the first scan ends, with or without success. A request that plans a move waits for the scan's
//! list.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bucky_api::chain;
use bucky_whisper::MetricName;
use rustix::fs::{Mode, OFlags};

use super::Inventory;
use super::file_list::{FileList, FileListError};
use super::list::{List, ListBuilder};

/// How many bytes of names are sorted at once. The sorted result takes a tenth of that.
const CHUNK_BYTES: usize = 16 * 1024 * 1024;
/// The most entries that are read: more than any node has files.
const ENTRIES_MOST: u64 = 200_000_000;
/// How often, in entries, the reader checks whether the list is still needed.
const LOOK_UP_EVERY: u64 = 10_000;

/// Why there is no provisional list.
#[derive(Debug, thiserror::Error)]
enum NoProvisionalList {
    /// The list cannot be opened.
    #[error("it cannot be opened")]
    Open(#[source] io::Error),
    /// It is not a regular file.
    #[error("it is not a regular file")]
    NotAFile,
    /// It was written too long ago, or its time is in the future.
    #[error("it was not written within the last {} s", limit.as_secs())]
    Old {
        /// The maximum age.
        limit: Duration,
    },
    /// It is not a complete list.
    #[error(transparent)]
    Damaged(#[from] FileListError),
    /// It has more entries than a node can have files.
    #[error("it has more than {ENTRIES_MOST} entries")]
    TooMany,
    /// The names could not be sorted.
    #[error("its names could not be sorted")]
    Build(#[from] fst::Error),
    /// The first scan ended before.
    #[error("the first scan has ended")]
    NotWanted,
}

impl Inventory {
    /// The scan's list. Before the first scan has ended, the provisional list if there is one.
    pub(crate) fn list_or_provisional(&self) -> Option<List> {
        self.list().or_else(|| self.locked().provisional.clone())
    }

    /// Keeps the inventory in the state of the first scan.
    #[cfg(test)]
    pub(crate) fn stay_in_first_scan(&self) {
        self.begin();
        if let Some(path) = &self.file_list {
            self.provisional(path);
        }
    }

    /// Reads go-carbon's list of files for [`Self::list_or_provisional`]. Call it once the first scan has
    /// begun.
    pub(super) fn provisional(&self, path: &Path) {
        let still_wanted = || {
            let state = self.locked();
            state.list.is_none() && state.running
        };
        let mut list = match read(path, self.max_age, SystemTime::now(), still_wanted) {
            Ok(list) => list,
            Err(NoProvisionalList::NotWanted) => return,
            Err(error) => {
                let reason = chain(&error);
                tracing::warn!(file = %path.display(), reason, "go-carbon's list of files is not used; /metrics \
                     answers when the first scan has ended");
                return;
            }
        };
        let mut state = self.locked();
        if state.list.is_some() || !state.running {
            return;
        }
        for (metric, there) in &state.since {
            list.set(metric.as_str(), *there);
        }
        tracing::info!(
            metrics = list.len(),
            file = %path.display(),
            "/metrics answers from go-carbon's list of files until the first scan has ended"
        );
        state.provisional = Some(list);
    }
}

/// The metrics in the list at `path`, if it is complete and was written within `max_age` before `now`.
fn read(
    path: &Path,
    max_age: Duration,
    now: SystemTime,
    still_wanted: impl Fn() -> bool,
) -> Result<List, NoProvisionalList> {
    // Opening a FIFO must not wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| NoProvisionalList::Open(errno.into()))?;
    let file = File::from(file);
    let meta = file.metadata().map_err(NoProvisionalList::Open)?;
    if !meta.is_file() {
        return Err(NoProvisionalList::NotAFile);
    }
    let written = meta.modified().map_err(NoProvisionalList::Open)?;
    if now.duration_since(written).map_or(true, |age| age > max_age) {
        return Err(NoProvisionalList::Old { limit: max_age });
    }
    let mut list = FileList::open(file)?;
    let mut names = NameSorter::default();
    let mut entries: u64 = 0;
    while let Some(path) = list.next_path()? {
        entries += 1;
        if entries > ENTRIES_MOST {
            return Err(NoProvisionalList::TooMany);
        }
        if entries.is_multiple_of(LOOK_UP_EVERY) && !still_wanted() {
            return Err(NoProvisionalList::NotWanted);
        }
        if let Some(metric) = metric(path) {
            names.push(&metric)?;
        }
    }
    Ok(names.finish()?)
}

/// The metric of a path in the list. `None` for a folder and for an unusable file, which are skipped.
fn metric(path: &[u8]) -> Option<MetricName> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    MetricName::from_relative_path(Path::new(std::ffi::OsStr::from_bytes(path))).ok()
}

/// Names in any order, which are sorted in chunks.
#[derive(Default)]
struct NameSorter {
    /// The names of the chunk, one after the other, and where each begins and ends.
    text: String,
    spans: Vec<(usize, usize)>,
    sorted: Vec<List>,
}

impl NameSorter {
    fn push(&mut self, metric: &MetricName) -> Result<(), fst::Error> {
        let start = self.text.len();
        self.text.push_str(metric.as_str());
        self.spans.push((start, self.text.len()));
        if self.text.len() >= CHUNK_BYTES { self.sort() } else { Ok(()) }
    }

    fn sort(&mut self) -> Result<(), fst::Error> {
        let name = |span: &(usize, usize)| self.text.get(span.0..span.1).unwrap_or_default();
        self.spans.sort_unstable_by(|left, right| name(left).cmp(name(right)));
        self.spans.dedup_by(|left, right| name(left) == name(right));
        let mut builder = ListBuilder::new();
        self.spans.iter().try_for_each(|span| builder.push(name(span)))?;
        self.sorted.push(builder.finish()?);
        self.text.clear();
        self.spans.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<List, fst::Error> {
        self.sort()?;
        match self.sorted.pop() {
            Some(only) if self.sorted.is_empty() => Ok(only),
            last => List::union(&[self.sorted, last.into_iter().collect()].concat()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::sync::Arc;

    use super::*;
    use crate::inventory::file_list::tests::{gzip, list_of};
    use crate::inventory::list::Span;
    use crate::store::MetricList;

    const HOUR: Duration = Duration::from_secs(3600);

    fn names(list: &List) -> Vec<String> {
        let mut names = Vec::new();
        let _ = list.walk(Span::default(), |name| {
            names.push(name.to_owned());
            ControlFlow::<()>::Continue(())
        });
        names
    }

    /// A store with the file `real.wsp`, and beside it a list of files with this content.
    fn store(list: &[u8]) -> (tempfile::TempDir, Inventory) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("whisper")).unwrap();
        std::fs::write(folder.path().join("whisper/real.wsp"), b"").unwrap();
        std::fs::write(folder.path().join("list"), list).unwrap();
        let inventory = Inventory::new(&folder.path().join("whisper"), HOUR);
        inventory.begin().unwrap();
        inventory.provisional(&folder.path().join("list"));
        (folder, inventory)
    }

    #[test]
    fn the_list_of_go_carbon_serves_until_the_first_scan_has_ended_and_no_longer() {
        let paths = [
            "/b.wsp",
            "/a/c.wsp",
            "a.wsp",
            "/a",
            "/.x/y.wsp",
            "/p.q.wsp",
            "/a.wsp",
            "/old.wsp",
            "/n.txt",
        ];
        let (_folder, inventory) = store(&list_of(&paths));
        inventory.removed(&"old".parse().unwrap());
        inventory.added(&"new".parse().unwrap());
        assert_eq!(names(&inventory.list_or_provisional().unwrap()), ["a", "a.c", "b", "new"]);
        // A caller that plans a move, or asks for the number of metrics, does not get it.
        assert!(inventory.list().is_none() && inventory.len().is_none());
        inventory.scan();
        assert_eq!(names(&inventory.list_or_provisional().unwrap()), ["new", "real"]);
    }

    #[test]
    fn changes_while_the_list_was_read_are_in_the_provisional_list() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        std::fs::write(&list, list_of(&["/a.wsp", "/b.wsp"])).unwrap();
        let inventory = Inventory::new(folder.path(), HOUR);
        inventory.begin().unwrap();
        inventory.removed(&"a".parse().unwrap());
        inventory.provisional(&list);
        assert_eq!(names(&inventory.list_or_provisional().unwrap()), ["b"]);
    }

    #[test]
    fn d17_a_list_that_is_damaged_old_or_not_one_is_not_believed_at_all() {
        let whole = list_of(&["/a.wsp", "/b.wsp"]);
        for bytes in [&whole[..whole.len() - 1], &gzip(b"/a.wsp\n"), b"/a.wsp\n", b""] {
            assert!(store(bytes).1.list_or_provisional().is_none());
        }
        let (folder, inventory) = store(&whole);
        assert!(inventory.list_or_provisional().is_some());
        let path = folder.path().join("list");
        let read = |now| read(&path, HOUR, now, || true);
        let written = path.metadata().unwrap().modified().unwrap();
        assert!(read(written).is_ok() && read(written + HOUR).is_ok());
        let late = read(written + HOUR + Duration::from_secs(1)).err().unwrap();
        assert!(late.to_string().contains("within the last 3600 s"), "{late}");
        // If the clock was ahead, the age is unknown.
        assert!(matches!(read(written - HOUR), Err(NoProvisionalList::Old { .. })));
        let gone = super::read(&folder.path().join("gone"), HOUR, written, || true);
        assert!(matches!(gone, Err(NoProvisionalList::Open(_))));
        let a_folder = super::read(folder.path(), HOUR, written, || true);
        assert!(matches!(a_folder, Err(NoProvisionalList::NotAFile)));
        let fifo = folder.path().join("fifo");
        let (kind, mode) = (rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o644));
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
        assert!(matches!(
            super::read(&fifo, HOUR, written, || true),
            Err(NoProvisionalList::NotAFile)
        ));
    }

    #[test]
    fn a_first_scan_that_failed_or_ended_leaves_no_provisional_list() {
        let (folder, inventory) = store(&list_of(&["/a.wsp"]));
        std::fs::remove_dir_all(folder.path().join("whisper")).unwrap();
        inventory.scan();
        assert!(
            inventory.list_or_provisional().is_none(),
            "what is on a disk that is gone is not listed"
        );
        inventory.provisional(&folder.path().join("list"));
        assert!(inventory.list_or_provisional().is_none(), "no scan runs that would replace it");
        let unwanted = read(&folder.path().join("list"), HOUR, SystemTime::now(), || false);
        assert!(unwanted.is_ok(), "a short list is read faster than it could be given up");
    }

    #[test]
    fn names_come_out_sorted_however_many_chunks_they_were_in() {
        let mut chunked = NameSorter::default();
        for name in ["m.b", "m.a", "m.b"] {
            chunked.push(&name.parse().unwrap()).unwrap();
        }
        chunked.sort().unwrap();
        for name in ["m.c", "a", "m.a"] {
            chunked.push(&name.parse().unwrap()).unwrap();
        }
        assert_eq!(names(&chunked.finish().unwrap()), ["a", "m.a", "m.b", "m.c"]);
        assert_eq!(names(&NameSorter::default().finish().unwrap()), [] as [String; 0]);
    }

    #[tokio::test]
    async fn the_scanner_reads_the_list_beside_its_first_scan() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("real.wsp"), b"").unwrap();
        let list = folder.path().join("list");
        std::fs::write(&list, list_of(&["/ghost.wsp"])).unwrap();
        let inventory = Arc::new(Inventory::new(folder.path(), HOUR).with_file_list(Some(list)));
        let scanner = tokio::spawn(Arc::clone(&inventory).run());
        inventory.wait_for(1).await;
        assert_eq!(names(&inventory.list_or_provisional().unwrap()), ["real"]);
        scanner.abort();
    }
}
