//! Which volumes the node had when it ran last: remembered, so that a disk that is not mounted now is missed.
//!
//! The folder on which a disk was mounted is still there without it, and empty. Served as a part of the prefix it would make the
//! disk's metrics vanish without a word, and take new files that the disk hides once it is back. So each volume is remembered
//! with the path that its folder has within its own file system: `/` for a disk, another path for the bare folder below it.
//! While one is missing, nothing is written or deleted on the node, as where a volume goes away under a running daemon.
//!
//! The file `volumes` in the state folder has a line for each: its path below the prefix, the path within its file system, and
//! for a link what it points to, with tabs between. An operator who takes a disk away for good removes its line. A link that
//! was pointed elsewhere, and a folder that was removed, were changed on purpose: they are forgotten.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bucky_api::chain;
use rustix::fs::{Mode, OFlags};

use super::error::StoreError;
use super::mount_table::Mounts;
use super::state_dir::StateDir;

const NAME: &str = "volumes";

/// Where a volume's folder lies.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lying {
    /// Its path within its file system.
    within: PathBuf,
    /// What the link to it says, where it is one.
    target: Option<PathBuf>,
}

impl Lying {
    /// Where the folder `path` lies now; none where that cannot be told.
    fn look(path: &Path) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
        Some(Self {
            within: Mounts::read().path_within(&folder)?,
            target: std::fs::read_link(path).ok(),
        })
    }

    /// Whether somebody has pointed the link elsewhere, or made one of a folder, or the other way round.
    fn was_changed_on_purpose(&self, now: &Self) -> bool {
        self.target != now.target
    }
}

/// The volumes by their paths below the prefix.
type Known = BTreeMap<PathBuf, Lying>;

/// What is remembered.
#[derive(Default)]
pub(super) struct KnownVolumes {
    /// The prefix, as it was given.
    prefix: PathBuf,
    /// The file that remembers them, for messages.
    memory: PathBuf,
    known: Mutex<Known>,
    /// Which of them are missing, by path.
    missing: Mutex<Vec<PathBuf>>,
    has_missing: AtomicBool,
}

impl KnownVolumes {
    /// What the state folder of the prefix remembers, and which of that is missing now. A memory that cannot be read is
    /// logged, and does not keep the daemon from starting.
    pub(super) fn read(prefix: &Path, state: &StateDir) -> Self {
        let text = state.read_file(NAME).unwrap_or_else(|error| {
            tracing::warn!(error = %chain(&error), "cannot read which volumes this node had");
            None
        });
        let mut known = parse(&text.unwrap_or_default());
        let mut missing: Vec<PathBuf> = Vec::new();
        known.retain(|path, before| {
            let folder = prefix.join(path);
            match Lying::look(&folder) {
                Some(now) if now == *before => true,
                Some(now) if before.was_changed_on_purpose(&now) => false,
                Some(_) => {
                    missing.push(path.clone());
                    true
                }
                // What lies below a missing disk is as missing: that one may be back before it.
                None if missing.iter().any(|above| path.starts_with(above)) => {
                    missing.push(path.clone());
                    true
                }
                // What a dangling link leads to is not gone.
                None => folder.symlink_metadata().is_ok(),
            }
        });
        let volumes = Self {
            prefix: prefix.to_owned(),
            memory: state.path().join(NAME),
            known: Mutex::new(known),
            has_missing: AtomicBool::new(!missing.is_empty()),
            ..Self::default()
        };
        for path in &missing {
            tracing::error!(error = %volumes.is_missing(path), "a volume is missing");
        }
        Self { missing: Mutex::new(missing), ..volumes }
    }

    /// Whether every remembered volume is there. One that was missing at the start, and is there now, is missed no longer.
    ///
    /// # Errors
    /// [`StoreError::VolumeMissing`] for the first that is not.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if !self.has_missing.load(Ordering::Acquire) {
            return Ok(());
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.retain(|path| Lying::look(&self.prefix.join(path)).as_ref() != known.get(path));
        self.has_missing.store(!missing.is_empty(), Ordering::Release);
        missing.first().map_or(Ok(()), |path| Err(self.is_missing(path)))
    }

    /// What is to be said of the folder `path`, if that is one whose volume is missing.
    pub(super) fn missing_at(&self, path: &Path) -> Option<StoreError> {
        // One that was mounted meanwhile is served by the scan that asks.
        self.check().err()?;
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.iter().any(|one| one == path).then(|| self.is_missing(path))
    }

    /// Remembers in `state`, the prefix's state folder, the volume at `path` below the prefix, which was opened now.
    pub(super) fn remember(&self, state: &StateDir, path: &Path) {
        let Some(lying) = Lying::look(&self.prefix.join(path)) else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(path) == Some(&lying) {
            return;
        }
        known.insert(path.to_owned(), lying);
        if let Err(error) = state.replace_file(NAME, text(&known).as_bytes()) {
            tracing::warn!(error = %chain(&error), "cannot save which volumes this node has");
        }
    }

    fn is_missing(&self, path: &Path) -> StoreError {
        StoreError::VolumeMissing { path: self.prefix.join(path), memory: self.memory.clone() }
    }
}

/// The lines of `known`. A path that no line can hold is left out.
fn text(known: &Known) -> String {
    let mut lines = String::new();
    for (path, lying) in known {
        let mut fields = vec![path.to_str(), lying.within.to_str()];
        fields.extend(lying.target.as_ref().map(|target| target.to_str()));
        let fields: Option<Vec<&str>> = fields.into_iter().collect();
        if let Some(fields) = fields
            && !fields.iter().any(|field| field.contains(['\t', '\n']))
        {
            lines.push_str(&fields.join("\t"));
            lines.push('\n');
        }
    }
    lines
}

/// What `text` remembers: a line that cannot be understood counts as none.
fn parse(text: &[u8]) -> Known {
    let text = String::from_utf8_lossy(text);
    let line = |line: &str| {
        let mut fields = line.split('\t');
        let path = PathBuf::from(fields.next().filter(|path| !path.is_empty())?);
        let is_below = path.components().all(|one| matches!(one, std::path::Component::Normal(_)));
        let within = PathBuf::from(fields.next()?);
        let target = fields.next().map(PathBuf::from);
        is_below.then_some((path, Lying { within, target }))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lying(within: &str, target: Option<&str>) -> Lying {
        Lying { within: within.into(), target: target.map(PathBuf::from) }
    }

    #[test]
    fn volumes_are_remembered_in_lines() {
        let known: Known = [
            ("a/b".into(), lying("/", None)),
            ("stats".into(), lying("/deep/stats", Some("../disk 2/stats"))),
        ]
        .into();
        let text = text(&known);
        assert_eq!(text, "a/b\t/\nstats\t/deep/stats\t../disk 2/stats\n");
        assert_eq!(parse(text.as_bytes()), known);
    }

    #[test]
    fn a_path_that_a_line_cannot_hold_is_left_out_and_junk_counts_as_nothing() {
        let known: Known =
            [("a\tb".into(), lying("/", None)), ("a\nb".into(), lying("/", None))].into();
        assert_eq!(text(&known), "");
        for junk in ["", "\n\n", "a", "\t/\n", "/etc\t/", "../a\t/", "\u{0}\u{0}"] {
            assert_eq!(parse(junk.as_bytes()), Known::new(), "{junk:?}");
        }
        assert!(parse(b"a\t/\n\xff\xfe\n").len() == 1);
    }
}
