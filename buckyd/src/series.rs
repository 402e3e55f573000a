//! The series of the operator's file (`--series FILE`), for tagged files that are named by a hash.
//!
//! The file is read at start, and again before a scan if it has changed. If it cannot be read again, the old
//! series stay in use, and the status says why. The series are kept in an unnamed copy below the prefix, so
//! the file may be rewritten in any way.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bucky_api::{SeriesStatus, chain};
use bucky_placement::{HashedSeries, KnownSeries, SeriesHash, SeriesList, SeriesListError};

/// The series that are known.
#[derive(Debug, Default)]
pub(crate) struct Series {
    path: Option<PathBuf>,
    /// The folder of the copy.
    folder: PathBuf,
    state: Mutex<SeriesState>,
}

#[derive(Debug, Default)]
struct SeriesState {
    list: Option<Arc<SeriesList>>,
    /// Why the file could not be read again; empty if it was.
    problem: String,
}

impl Series {
    /// Reads the series in the file at `path`, and keeps a copy in `folder`. Without a path there are no
    /// series.
    ///
    /// # Errors
    /// [`SeriesListError`] if the file cannot be used.
    pub(crate) fn read(path: Option<PathBuf>, folder: &Path) -> Result<Self, SeriesListError> {
        let list = path.as_deref().map(|path| list(path, folder)).transpose()?.map(Arc::new);
        if let Some(list) = &list {
            log_counts(list);
        }
        Ok(Self {
            path,
            folder: folder.to_owned(),
            state: Mutex::new(SeriesState { list, problem: String::new() }),
        })
    }

    /// Reads the file if it has changed. Blocks until that is done.
    pub(crate) fn refresh(&self) {
        let (Some(path), Some(list)) = (&self.path, self.now()) else { return };
        let read = match list.is_outdated(path) {
            Ok(false) => Ok(None),
            Ok(true) => self::list(path, &self.folder).map(Some).map_err(|error| chain(&error)),
            Err(error) => Err(format!("cannot check {}: {error}", path.display())),
        };
        let mut state = self.locked();
        match read {
            Ok(None) => state.problem.clear(),
            Ok(Some(list)) => {
                log_counts(&list);
                *state = SeriesState { list: Some(Arc::new(list)), problem: String::new() };
            }
            Err(problem) => {
                tracing::warn!(
                    problem,
                    "cannot read the new series file; the series read before stay in use"
                );
                state.problem = problem;
            }
        }
    }

    /// The series that are known now, for many lookups.
    pub(crate) fn now(&self) -> Option<Arc<SeriesList>> {
        self.locked().list.clone()
    }

    /// The state of the series. `files` tagged files here were found by them. `None` without a file.
    pub(crate) fn status(&self, files: u64) -> Option<SeriesStatus> {
        let state = self.locked();
        let counts = state.list.as_ref()?.counts();
        Some(SeriesStatus {
            series: counts.series,
            files,
            duplicates: counts.duplicates,
            not_series: counts.not_series,
            problem: state.problem.clone(),
        })
    }

    fn locked(&self) -> MutexGuard<'_, SeriesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownSeries for Series {
    fn series_of(&self, hash: &SeriesHash) -> Option<HashedSeries> {
        self.now().series_of(hash)
    }
}

fn list(path: &Path, folder: &Path) -> Result<SeriesList, SeriesListError> {
    let copy = tempfile::tempfile_in(folder)
        .map_err(|source| SeriesListError::NotCopied { path: path.into(), source })?;
    SeriesList::copied(path, copy)
}

/// Logs what was read, once for each reading.
fn log_counts(list: &SeriesList) {
    let counts = list.counts();
    tracing::info!(series = counts.series, duplicates = counts.duplicates, "series read");
    if let Some(first) = &counts.first_not_series {
        tracing::warn!(lines = counts.not_series, "skipped lines of the series file: {first}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn series(path: &Path) -> Series {
        Series::read(Some(path.to_owned()), path.parent().unwrap()).unwrap()
    }

    fn knows(series: &Series, text: &str) -> bool {
        series.series_of(&SeriesHash::of(text)).is_some()
    }

    #[test]
    fn a_new_file_counts_from_the_next_look_and_a_bad_one_leaves_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("series");
        let replace = |content: &str| {
            let next = folder.path().join("next");
            std::fs::write(&next, content).unwrap();
            std::fs::rename(&next, &path).unwrap();
        };
        replace("a;b=1\nno series\na;b=1\n");
        let series = series(&path);
        assert!(knows(&series, "a;b=1"));
        let status = series.status(7).unwrap();
        assert_eq!(
            (status.series, status.duplicates, status.not_series, status.files),
            (1, 1, 1, 7)
        );

        replace("a;b=2\n");
        assert!(knows(&series, "a;b=1") && !knows(&series, "a;b=2"), "not looked at yet");
        series.refresh();
        assert!(!knows(&series, "a;b=1") && knows(&series, "a;b=2"));

        std::fs::write(&path, "nothing of use\n").unwrap();
        series.refresh();
        assert!(knows(&series, "a;b=2"));
        assert!(series.status(0).unwrap().problem.contains("has no series"));
        std::fs::remove_file(&path).unwrap();
        series.refresh();
        assert!(knows(&series, "a;b=2"));

        replace("a;b=3\n");
        series.refresh();
        assert!(knows(&series, "a;b=3"));
        assert_eq!(series.status(0).unwrap().problem, "");
    }

    #[test]
    fn without_a_file_nothing_is_known_and_nothing_reported() {
        let series = Series::read(None, Path::new("/nowhere")).unwrap();
        series.refresh();
        assert!(!knows(&series, "a;b=1"));
        assert_eq!(series.status(0), None);
    }
}
