//! The answer of `GET /v1/status`.

use bucky_ring::RingDocument;
use serde::{Deserialize, Serialize};

use super::NotServed;

/// Answer of `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The name of the daemon (`-node`).
    pub node: String,
    /// A random name of the store, kept beside the files. Two addresses that answer the same name are the
    /// same store.
    pub store_id: String,
    /// The version of the daemon.
    pub version: String,
    /// The level of the `/v1` contract: [`API_LEVEL`](crate::API_LEVEL).
    pub api_level: u32,
    /// The fingerprint of the ring. Equal rings have equal fingerprints.
    pub ring_fingerprint: String,
    /// How many metrics the inventory has. `None` before the first scan has ended.
    pub metrics: Option<u64>,
    /// The state of the inventory.
    pub inventory: InventoryStatus,
    /// The file system of the store.
    pub disk: DiskStatus,
    /// The other volumes: folders mounted below the prefix, and linked folders that are followed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeStatus>,
    /// Deleted sources that wait to be confirmed.
    pub tombstones: TombstoneStatus,
    /// The transfers that run now.
    pub transfers: TransferStatus,
    /// The beginnings of names that belong to the node itself (`--local-prefix`). Such metrics are never
    /// misplaced.
    #[serde(default)]
    pub local_prefixes: Vec<String>,
    /// Corrupt files that were replaced and kept aside.
    #[serde(default)]
    pub replaced: ReplacedStatus,
    /// Why this node writes and deletes nothing; empty if it does. The prefix is not the folder that it was
    /// when the daemon started.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub read_only: String,
    /// Nodes that were members of this daemon's ring before, the latest first. They may still hold metrics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_members: Vec<FormerMember>,
    /// The ring that this daemon had before the present one. `None` if it never had another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_ring: Option<FormerRing>,
    /// The relay's file that the ring was read from. `None` if it was given on the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_file: Option<RingFileStatus>,
    /// What this daemon received in the last run that took some seconds, since it started. `None` if there was
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<ReceivedRun>,
}

/// What a daemon received in a run of a move: batches with less than two minutes between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedRun {
    /// The lengths of the files that came.
    pub bytes: u64,
    /// From the first batch to the end of the last.
    pub seconds: u64,
    /// How long ago that was.
    pub ended_seconds_ago: u64,
}

/// A ring that a daemon had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerRing {
    /// The ring, with an empty name.
    pub ring: RingDocument,
    /// When the daemon first had another one, in Unix seconds.
    pub until: u64,
}

/// The relay's file of `--ring-from`, as the last look at it found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingFileStatus {
    /// The file.
    pub path: String,
    /// Whether it gives the ring that the daemon runs.
    pub state: RingFileState,
    /// The ring that it gives, in one line; empty if it gives none.
    pub ring: String,
    /// The differences, or why it gives no ring.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<String>,
    /// Seconds since the last look.
    pub age_seconds: u64,
}

/// Whether a file gives the ring that a daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RingFileState {
    /// It does.
    Same,
    /// It gives another ring.
    Differs,
    /// It gives no ring: it is gone, it cannot be read, or its ring cannot be known.
    NoRing,
}

/// A node that was a member of the ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerMember {
    /// Its host in the ring.
    pub host: String,
    /// When this daemon first started without it, in Unix seconds.
    pub until: u64,
}

/// The state of the inventory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InventoryStatus {
    /// Whether a list can be served, and whether a scan runs.
    pub state: InventoryState,
    /// Seconds since the scan of the list that is served.
    pub age_seconds: Option<u64>,
    /// How long the last scan took, in seconds.
    pub scan_seconds: Option<f64>,
    /// Tagged files named by the hash of an unknown series. They cannot be placed on a ring and are never
    /// moved.
    pub unplaceable: u64,
    /// Files whose name is not a metric's (not UTF-8, a dot inside a component). They are never moved.
    pub unusable: u64,
    /// Folders that could not be read. Their files are not in the list.
    pub unreadable_folders: u64,
    /// Everything below the prefix that is not served, by kind. It includes the three above.
    #[serde(default)]
    pub not_served: NotServed,
    /// The series that are known by their hash (`--series`). `None` if no file was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<SeriesStatus>,
    /// Why the last scan failed or is incomplete; empty if it succeeded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

impl InventoryStatus {
    /// Everything that is not served. An older daemon lists only three kinds.
    pub fn all_not_served(&self) -> NotServed {
        NotServed {
            unplaceable: self.unplaceable,
            unusable: self.unusable,
            unreadable_folders: self.unreadable_folders,
            ..self.not_served
        }
    }
}

/// The series of the file of `--series`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesStatus {
    /// Series, each once.
    pub series: u64,
    /// Tagged files of this node that are named by the hash of one of these series.
    pub files: u64,
    /// Lines that repeat a series.
    pub duplicates: u64,
    /// Lines that are not a series.
    pub not_series: u64,
    /// Why the changed file could not be read again; empty if it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

/// Whether the inventory can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InventoryState {
    /// The first scan runs: there is no list yet.
    FirstScan,
    /// There is a list.
    Ready,
    /// There is a list, and a new scan runs.
    Rescan,
    /// The first scan failed: there is no list.
    Failed,
}

/// Space on the file system of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// Its size in bytes.
    pub total_bytes: u64,
    /// How many bytes an ordinary user can still write.
    pub free_bytes: u64,
    /// How many files and folders it can hold. `None` if there is no limit, and from a daemon that does not
    /// report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_inodes: Option<u64>,
    /// How many more files and folders an ordinary user can create.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_inodes: Option<u64>,
}

/// A folder that is mounted below the prefix, or the target of a followed link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeStatus {
    /// Its path below the prefix.
    pub path: String,
    /// Its file system.
    #[serde(flatten)]
    pub disk: DiskStatus,
}

/// Deleted sources that are not yet removed for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneStatus {
    /// How many.
    pub waiting: u64,
    /// How long the oldest has waited, in seconds.
    pub oldest_seconds: u64,
    /// Why some wait longer than the grace time: each reason once, with its count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldTombstones>,
}

/// Tombstones that could not be confirmed yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldTombstones {
    /// How many.
    pub count: u64,
    /// The reason.
    pub reason: String,
}

/// Transfers that run on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferStatus {
    /// Archives being sent.
    pub sending: u32,
    /// Heals and pulls being received.
    pub receiving: u32,
    /// How many of each may run at once (`--max-transfers`).
    pub limit: u32,
}

/// Corrupt files that were replaced. They stay in `.bucky/replaced/` until an operator removes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedStatus {
    /// How many.
    pub files: u64,
    /// Their total length.
    pub bytes: u64,
}
