//! The ring of the daemon, and the relay's file that it was read from (`--ring-from`).
//!
//! The file is looked at again and again, but a new ring is taken only when an operator asks for it: a file
//! that somebody is editing must not make a cluster move its metrics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use bucky_api::{RingFileState, RingFileStatus, chain};
use bucky_relay_config::disk::RingFile;
use bucky_ring::{Difference, Ring, RingSpec};

use crate::store::FormerRings;

/// How many differences are reported. A file with other nodes has one for each.
const DIFFERENCES_MOST: usize = 10;

/// The ring that counts now, and its file.
#[derive(Debug)]
pub(crate) struct CurrentRing {
    ring: RwLock<Arc<Ring>>,
    former: Mutex<FormerRings>,
    watched: Option<Watched>,
}

/// A file that is compared with the ring.
#[derive(Debug)]
struct Watched {
    file: RingFile,
    last: Mutex<Look>,
}

/// What the last look at the file found.
#[derive(Clone, Debug)]
struct Look {
    at: Instant,
    found: Found,
}

#[derive(Clone, Debug, PartialEq)]
enum Found {
    /// The ring that the daemon runs.
    Same,
    /// Another one.
    Other(Box<RingSpec>),
    /// None, for this reason.
    Nothing(String),
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    /// The ring comes from the command line; there is nothing to read.
    NoFile,
    /// The file still gives the same ring.
    Unchanged,
    /// Another ring counts from now on.
    Taken,
    /// The file gives no ring that can be used; the old one stays.
    Refused(String),
}

impl CurrentRing {
    /// The ring that counts from the start, and the file that it was read from, if there is one.
    pub(crate) fn new(ring: Ring, file: Option<RingFile>) -> Self {
        let look = || Look { at: Instant::now(), found: Found::Same };
        let watched = file.map(|file| Watched { file, last: Mutex::new(look()) });
        Self { ring: RwLock::new(Arc::new(ring)), former: Mutex::default(), watched }
    }

    /// Sets what is remembered of the rings before.
    pub(crate) fn remember(&self, former: FormerRings) {
        *self.former.lock().unwrap_or_else(PoisonError::into_inner) = former;
    }

    /// What is remembered of the rings before.
    pub(crate) fn former(&self) -> FormerRings {
        self.former.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The ring that counts now. A request uses one ring from its beginning to its end.
    pub(crate) fn now(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file and compares it with the ring. A change is logged once. Blocks while it reads.
    pub(crate) fn look(&self) {
        let Some(watched) = &self.watched else { return };
        let found = self.found(&watched.file);
        let before = std::mem::replace(
            &mut *watched.locked(),
            Look { at: Instant::now(), found: found.clone() },
        );
        if before.found == found {
            return;
        }
        let file = watched.file.path.display();
        match &found {
            Found::Same => {
                tracing::info!(%file, "the file gives the ring again that this daemon runs")
            }
            Found::Other(spec) => {
                let differences = differences(self.now().spec(), spec).join("; ");
                tracing::warn!(
                    %file,
                    differences,
                    "the file no longer gives the ring that this daemon runs; to take the new one, send SIGHUP"
                );
            }
            Found::Nothing(reason) => tracing::warn!(
                %file,
                reason,
                "the file no longer gives a ring; this daemon keeps the one that it has"
            ),
        }
    }

    /// Reads the file and takes its ring, if that can be used. Blocks while it reads.
    pub(crate) fn reload(&self) -> Reload {
        let Some(watched) = &self.watched else { return Reload::NoFile };
        let found = self.found(&watched.file);
        let (found, outcome) = match found {
            Found::Same => (Found::Same, Reload::Unchanged),
            Found::Other(spec) => match Ring::new((*spec).clone()) {
                Ok(ring) => {
                    *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
                    (Found::Same, Reload::Taken)
                }
                Err(error) => {
                    let reason = chain(&error);
                    (Found::Nothing(reason.clone()), Reload::Refused(reason))
                }
            },
            Found::Nothing(reason) => (Found::Nothing(reason.clone()), Reload::Refused(reason)),
        };
        *watched.locked() = Look { at: Instant::now(), found };
        outcome
    }

    /// The file and what the last look at it found, for the status. `None` if the ring comes from the command
    /// line.
    pub(crate) fn status(&self) -> Option<RingFileStatus> {
        let watched = self.watched.as_ref()?;
        let look = watched.locked().clone();
        let ring = self.now();
        let (state, ring, detail) = match look.found {
            Found::Same => (RingFileState::Same, ring.spec().summary(), Vec::new()),
            Found::Other(spec) => {
                (RingFileState::Differs, spec.summary(), differences(ring.spec(), &spec))
            }
            Found::Nothing(reason) => (RingFileState::NoRing, String::new(), vec![reason]),
        };
        Some(RingFileStatus {
            path: watched.file.path.display().to_string(),
            state,
            ring,
            detail,
            age_seconds: look.at.elapsed().as_secs(),
        })
    }

    fn found(&self, file: &RingFile) -> Found {
        match ring_in(file) {
            Ok(read) if read.ring.spec() == self.now().spec() => Found::Same,
            Ok(read) => Found::Other(Box::new(read.ring.spec().clone())),
            Err(reason) => Found::Nothing(reason),
        }
    }
}

impl Watched {
    fn locked(&self) -> MutexGuard<'_, Look> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A ring that a daemon can run, and what an operator must know about its file.
pub(crate) struct FileRing {
    pub(crate) ring: Ring,
    pub(crate) warnings: Vec<String>,
}

/// The ring in `file`, if a daemon can run it. Blocks while it reads.
///
/// # Errors
/// The reason, in words.
pub(crate) fn ring_in(file: &RingFile) -> Result<FileRing, String> {
    let found = file.load().map_err(|error| chain(&error))?.found;
    if let Some(need) = found.needs.first() {
        return Err(need.to_string());
    }
    let ring = Ring::new(found.spec)
        .map_err(|error| format!("{}: {}", file.path.display(), chain(&error)))?;
    Ok(FileRing { ring, warnings: found.warnings.iter().map(ToString::to_string).collect() })
}

fn differences(running: &RingSpec, file: &RingSpec) -> Vec<String> {
    let all = running.differences(file);
    let mut lines: Vec<String> =
        all.iter().take(DIFFERENCES_MOST).map(|it: &Difference| it.told("in the file")).collect();
    if all.len() > DIFFERENCES_MOST {
        lines.push(format!("{} more differences", all.len() - DIFFERENCES_MOST));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const TWO: &str = r#"{"Nodes":[{"Server":"a","Port":1},{"Server":"b","Port":1}],"Algo":"carbon","Replicas":1}"#;

    /// The ring of a file with this content, and the file.
    fn opened(folder: &Path, content: &str) -> (CurrentRing, std::path::PathBuf) {
        let path = folder.join("ring.json");
        std::fs::write(&path, content).unwrap();
        let file =
            RingFile { path: path.clone(), program: None, wanted: None, aggregation_rules: None };
        (CurrentRing::new(ring_in(&file).unwrap().ring, Some(file)), path)
    }

    fn state(current: &CurrentRing) -> (RingFileState, Vec<String>) {
        let status = current.status().unwrap();
        (status.state, status.detail)
    }

    #[test]
    fn a_changed_file_is_reported_and_taken_only_on_a_reload() {
        let folder = tempfile::tempdir().unwrap();
        let (current, path) = opened(folder.path(), TWO);
        let before = current.now().spec().clone();
        assert_eq!(state(&current).0, RingFileState::Same);
        std::fs::write(&path, TWO.replace("\"b\",\"Port\":1", "\"b\",\"Port\":2")).unwrap();
        assert_eq!(state(&current).0, RingFileState::Same, "not looked at yet");
        current.look();
        let differs = (RingFileState::Differs, vec!["node 2: port 1, in the file 2".to_owned()]);
        assert_eq!(state(&current), differs);
        assert_eq!(*current.now().spec(), before);

        assert_eq!(current.reload(), Reload::Taken);
        assert_eq!(current.now().nodes()[1].port(), 2);
        assert_eq!(state(&current).0, RingFileState::Same);
        assert_eq!(current.reload(), Reload::Unchanged);
    }

    #[test]
    fn a_file_without_a_ring_leaves_the_one_that_runs() {
        let folder = tempfile::tempdir().unwrap();
        let (current, path) = opened(folder.path(), TWO);
        for content in ["", "{\"Nodes\":", &TWO.replace(":1}", ":3}")] {
            std::fs::write(&path, content).unwrap();
            current.look();
            let (state, detail) = state(&current);
            assert_eq!((state, detail.len()), (RingFileState::NoRing, 1), "{detail:?}");
            assert!(matches!(current.reload(), Reload::Refused(_)));
            assert_eq!(current.now().nodes().len(), 2);
        }
        std::fs::remove_file(&path).unwrap();
        current.look();
        assert!(state(&current).1[0].contains("cannot read"));
        std::fs::write(&path, TWO).unwrap();
        current.look();
        assert_eq!(state(&current).0, RingFileState::Same);
    }

    #[test]
    fn a_ring_of_the_command_line_has_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let ring = opened(folder.path(), TWO).0.now();
        let current = CurrentRing::new(ring.as_ref().clone(), None);
        current.look();
        assert_eq!((current.status(), current.reload()), (None, Reload::NoFile));
    }

    #[test]
    fn many_differences_are_counted() {
        let spec = |host: &str| {
            let nodes: Vec<String> =
                (0..30).map(|n| format!("{{\"Server\":\"{host}{n}\",\"Port\":1}}")).collect();
            let json =
                format!("{{\"Nodes\":[{}],\"Algo\":\"carbon\",\"Replicas\":1}}", nodes.join(","));
            bucky_ring::RingDocument::from_json(json.as_bytes()).unwrap().to_spec().unwrap()
        };
        let lines = differences(&spec("a"), &spec("b"));
        assert_eq!((lines.len(), lines[10].as_str()), (11, "20 more differences"));
    }
}
