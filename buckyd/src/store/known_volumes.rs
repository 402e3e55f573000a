//! The volumes that the node had when buckyd last ran. They are recorded, so that a disk that is not mounted
//! is noticed.
//!
//! Without the disk, the folder on which it was mounted is still there, and empty. If it were served as a
//! part of the prefix, the disk's metrics would vanish silently, and new files would be hidden once the disk
//! is back. So each volume is recorded with the path of its folder within its own file system: `/` for a
//! disk, another path for the bare folder. While one is missing, nothing is written or deleted on the node,
//! as when a volume disappears under a running daemon.
//!
//! The file `volumes` in the state folder has a line for each volume, with tabs between its fields: its path
//! below the prefix, the path within its file system, and the target if it is a link. An operator who removes
//! a disk for good removes its line. A link that was changed, or a folder that was removed, was changed on
//! purpose, so it is forgotten.

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

/// The identity of a volume's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
struct VolumeIdentity {
    /// Its path within its file system.
    within: PathBuf,
    /// The target, if it is a link.
    target: Option<PathBuf>,
}

impl VolumeIdentity {
    /// The identity of the folder at `path` now. `None` if it cannot be determined.
    fn at(path: &Path) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
        Some(Self {
            within: Mounts::read().path_within(&folder)?,
            target: std::fs::read_link(path).ok(),
        })
    }

    /// Whether an operator has changed the link's target, or replaced a folder by a link, or a link by a
    /// folder.
    fn was_changed_on_purpose(&self, now: &Self) -> bool {
        self.target != now.target
    }
}

/// The volumes by their paths below the prefix.
type VolumeMap = BTreeMap<PathBuf, VolumeIdentity>;

/// The recorded volumes.
#[derive(Default)]
pub(super) struct KnownVolumes {
    /// The prefix as it was configured.
    prefix: PathBuf,
    /// The file that records them, for messages.
    memory: PathBuf,
    known: Mutex<VolumeMap>,
    /// The paths of those that are missing.
    missing: Mutex<Vec<PathBuf>>,
    has_missing: AtomicBool,
}

impl KnownVolumes {
    /// Reads the record in the state folder of the prefix, and checks which volumes are missing. A record
    /// that cannot be read is logged, and the daemon starts anyway.
    pub(super) fn read(prefix: &Path, state: &StateDir) -> Self {
        let text = state.read_file(NAME).unwrap_or_else(|error| {
            tracing::warn!(error = %chain(&error), "cannot read which volumes this node had");
            None
        });
        let mut known = parse(&text.unwrap_or_default());
        let mut missing: Vec<PathBuf> = Vec::new();
        known.retain(|path, before| {
            let folder = prefix.join(path);
            match VolumeIdentity::at(&folder) {
                Some(now) if now == *before => true,
                Some(now) if before.was_changed_on_purpose(&now) => false,
                Some(_) => {
                    missing.push(path.clone());
                    true
                }
                // A volume below a missing disk is missing too: the disk may be back before it.
                None if missing.iter().any(|above| path.starts_with(above)) => {
                    missing.push(path.clone());
                    true
                }
                // A link that dangles exists, so its volume is missing, not removed.
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

    /// Whether every recorded volume is there. One that was missing at the start and is there now is no
    /// longer missing.
    ///
    /// # Errors
    /// [`StoreError::VolumeMissing`] for the first that is missing.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if !self.has_missing.load(Ordering::Acquire) {
            return Ok(());
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing
            .retain(|path| VolumeIdentity::at(&self.prefix.join(path)).as_ref() != known.get(path));
        self.has_missing.store(!missing.is_empty(), Ordering::Release);
        missing.first().map_or(Ok(()), |path| Err(self.is_missing(path)))
    }

    /// The error for the folder `path`, if its volume is missing.
    pub(super) fn missing_at(&self, path: &Path) -> Option<StoreError> {
        // A volume that was mounted since then is served by the present scan.
        self.check().err()?;
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.iter().any(|one| one == path).then(|| self.is_missing(path))
    }

    /// Records in `state`, the prefix's state folder, the volume at `path` below the prefix, which was just
    /// opened.
    pub(super) fn remember(&self, state: &StateDir, path: &Path) {
        let Some(identity) = VolumeIdentity::at(&self.prefix.join(path)) else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(path) == Some(&identity) {
            return;
        }
        known.insert(path.to_owned(), identity);
        if let Err(error) = state.replace_file(NAME, text(&known).as_bytes()) {
            tracing::warn!(error = %chain(&error), "cannot save which volumes this node has");
        }
    }

    fn is_missing(&self, path: &Path) -> StoreError {
        StoreError::VolumeMissing { path: self.prefix.join(path), memory: self.memory.clone() }
    }
}

/// The lines of `known`. A path that cannot be in a line is left out.
fn text(known: &VolumeMap) -> String {
    let mut lines = String::new();
    for (path, identity) in known {
        let mut fields = vec![path.to_str(), identity.within.to_str()];
        fields.extend(identity.target.as_ref().map(|target| target.to_str()));
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

/// Parses the record. A line that cannot be understood is ignored.
fn parse(text: &[u8]) -> VolumeMap {
    let text = String::from_utf8_lossy(text);
    let line = |line: &str| {
        let mut fields = line.split('\t');
        let path = PathBuf::from(fields.next().filter(|path| !path.is_empty())?);
        let is_below = path.components().all(|one| matches!(one, std::path::Component::Normal(_)));
        let within = PathBuf::from(fields.next()?);
        let target = fields.next().map(PathBuf::from);
        is_below.then_some((path, VolumeIdentity { within, target }))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(within: &str, target: Option<&str>) -> VolumeIdentity {
        VolumeIdentity { within: within.into(), target: target.map(PathBuf::from) }
    }

    #[test]
    fn volumes_are_remembered_in_lines() {
        let known: VolumeMap = [
            ("a/b".into(), identity("/", None)),
            ("stats".into(), identity("/deep/stats", Some("../disk 2/stats"))),
        ]
        .into();
        let text = text(&known);
        assert_eq!(text, "a/b\t/\nstats\t/deep/stats\t../disk 2/stats\n");
        assert_eq!(parse(text.as_bytes()), known);
    }

    #[test]
    fn a_path_that_a_line_cannot_hold_is_left_out_and_junk_counts_as_nothing() {
        let known: VolumeMap =
            [("a\tb".into(), identity("/", None)), ("a\nb".into(), identity("/", None))].into();
        assert_eq!(text(&known), "");
        for junk in ["", "\n\n", "a", "\t/\n", "/etc\t/", "../a\t/", "\u{0}\u{0}"] {
            assert_eq!(parse(junk.as_bytes()), VolumeMap::new(), "{junk:?}");
        }
        assert!(parse(b"a\t/\n\xff\xfe\n").len() == 1);
    }
}
