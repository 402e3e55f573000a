//! What is below a prefix and is not served, by kind.

use serde::{Deserialize, Serialize};

use crate::counted::counted;

/// Why something below the prefix is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotServedKind {
    /// A symbolic link to a folder, which is not followed.
    LinkedFolder,
    /// A symbolic link to a `.wsp` file, which is not followed.
    LinkedFile,
    /// A symbolic link that leads nowhere.
    DanglingLink,
    /// A folder that the daemon cannot read.
    UnreadableFolder,
    /// A `.wsp` file whose path is not a metric's name.
    UnusableName,
    /// A tagged file that is named by the hash of a series that the daemon does not know.
    Unplaceable,
    /// A folder that another buckyd serves.
    OtherBuckyd,
    /// A mounted folder, or an allowed link, that cannot be served.
    Volume,
}

impl NotServedKind {
    /// This kind with a count, in words: `2 links to folders are not followed`.
    pub fn text(self, count: u64) -> String {
        let (one, many) = match self {
            Self::LinkedFolder => {
                ("link to a folder is not followed", "links to folders are not followed")
            }
            Self::LinkedFile => {
                ("link to a .wsp file is not followed", "links to .wsp files are not followed")
            }
            Self::DanglingLink => ("link leads nowhere", "links lead nowhere"),
            Self::UnreadableFolder => ("folder cannot be read", "folders cannot be read"),
            Self::UnusableName => {
                ("file is not named as a metric", "files are not named as metrics")
            }
            Self::Unplaceable => (
                "tagged file is named by the hash of an unknown series (see --series)",
                "tagged files are named by the hash of an unknown series (see --series)",
            ),
            Self::OtherBuckyd => {
                ("folder is served by another buckyd", "folders are served by another buckyd")
            }
            Self::Volume => (
                "mounted or linked folder cannot be served",
                "mounted or linked folders cannot be served",
            ),
        };
        counted(count, one, many)
    }
}

/// How much below the prefix is not served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NotServed {
    /// [`NotServedKind::LinkedFolder`].
    pub linked_folders: u64,
    /// [`NotServedKind::LinkedFile`].
    pub linked_files: u64,
    /// [`NotServedKind::DanglingLink`].
    pub dangling_links: u64,
    /// [`NotServedKind::UnreadableFolder`].
    pub unreadable_folders: u64,
    /// [`NotServedKind::UnusableName`].
    pub unusable: u64,
    /// [`NotServedKind::Unplaceable`].
    pub unplaceable: u64,
    /// [`NotServedKind::OtherBuckyd`].
    pub other_buckyds: u64,
    /// [`NotServedKind::Volume`].
    pub volumes: u64,
}

impl NotServed {
    /// Adds one of this kind.
    pub fn add(&mut self, kind: NotServedKind) {
        *match kind {
            NotServedKind::LinkedFolder => &mut self.linked_folders,
            NotServedKind::LinkedFile => &mut self.linked_files,
            NotServedKind::DanglingLink => &mut self.dangling_links,
            NotServedKind::UnreadableFolder => &mut self.unreadable_folders,
            NotServedKind::UnusableName => &mut self.unusable,
            NotServedKind::Unplaceable => &mut self.unplaceable,
            NotServedKind::OtherBuckyd => &mut self.other_buckyds,
            NotServedKind::Volume => &mut self.volumes,
        } += 1;
    }

    /// Each kind that occurs, with its count.
    pub fn kinds(&self) -> impl Iterator<Item = (NotServedKind, u64)> {
        [
            (NotServedKind::LinkedFolder, self.linked_folders),
            (NotServedKind::LinkedFile, self.linked_files),
            (NotServedKind::DanglingLink, self.dangling_links),
            (NotServedKind::UnreadableFolder, self.unreadable_folders),
            (NotServedKind::UnusableName, self.unusable),
            (NotServedKind::Unplaceable, self.unplaceable),
            (NotServedKind::OtherBuckyd, self.other_buckyds),
            (NotServedKind::Volume, self.volumes),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
    }

    /// All kinds in words, joined by commas; empty if there are none.
    pub fn text(&self) -> String {
        let kinds: Vec<String> = self.kinds().map(|(kind, count)| kind.text(count)).collect();
        kinds.join(", ")
    }
}

/// A line of `GET /v1/not-served`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotServedLine {
    /// Why it is not served.
    pub kind: NotServedKind,
    /// Its path below the prefix. Control characters and bytes that are not UTF-8 are escaped.
    pub path: String,
    /// The target of a link, or the system's error; empty if the kind says all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_written_in_words_and_by_number() {
        let mut found = NotServed::default();
        assert_eq!(found.text(), "");
        for kind in [NotServedKind::LinkedFolder, NotServedKind::UnusableName] {
            found.add(kind);
        }
        found.add(NotServedKind::UnusableName);
        assert_eq!(
            found.text(),
            "1 link to a folder is not followed, 2 files are not named as metrics"
        );
    }

    #[test]
    fn a_status_of_an_older_daemon_counts_what_it_knows() {
        let json = r#"{"state":"ready","age_seconds":1,"scan_seconds":0.1,"unplaceable":2,"unusable":0,"unreadable_folders":1}"#;
        let status: crate::InventoryStatus = serde_json::from_str(json).unwrap();
        assert_eq!(
            status.all_not_served(),
            NotServed { unreadable_folders: 1, unplaceable: 2, ..NotServed::default() }
        );
    }
}
