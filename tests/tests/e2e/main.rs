//! `bucky` and `buckyd` end to end. A test is a story; its name is what it shows.
//!
//! - `growth`: clusters that grow and shrink; `merge`: metrics of which several nodes have parts
//! - `placement`: what is misplaced and what is not: copies, instances, tagged series, each node's own metrics
//! - `series`: tagged files that are named by the hash of their series, placed by `--series FILE`
//! - `refusal`: what is refused before anything is touched; `damage`: what fails while the rest goes on
//! - `clocks`: nodes whose clocks differ
//! - `corrupt`: files that are no Whisper files, and replacing them; `old_headers`: files of whisper before 0.9.9;
//!   `salvage`: what is left of files that were cut off
//! - `layouts`: sources and owners of different storage schemas, by chance
//! - `live`: whisper.py and carbon write while metrics move, and relays switch at every moment
//! - `writers`: a carbon that writes during a move; `crash`: daemons that end in the middle of one
//! - `crash_points`: a daemon killed before each of its system calls; `kills`: any of the three at any moment, many times;
//! - `stopping`: runs that are stopped and go on
//! - `verify`: what `bucky verify` says of a cluster; `verify_digests`: what crosses the network for that;
//!   `verify_findings`: copies that were made by different schemas, and owners that differ
//! - `trees`: another folder at the prefix, two daemons over the same files, links and names that are not served
//! - `disks`: full, read-only and broken disks, and daemons that run out of descriptors
//! - `networks`: nodes cut off and links that fail; `stuck`: daemons and locks that hang, dribble, break off or lie
//! - `order`: what is durable before what, by recordings of the system calls
//! - `hostile`: clients, tars and peers that mean harm
//! - `sparse`: files with holes
//! - `sidecars`: what go-carbon keeps beside a metric
//! - `encoding`: files compressed on their way, where that helps
//! - `large`: files about as large as the memory allows, many at once
//! - `heal`: owners that lack metrics get them from owners that have them
//! - `former`: nodes that have left the ring, and are not drained yet
//! - `room`: destinations that are short of bytes or inodes
//! - `routes`: the daemon's answers, as `curl` would get them; `locate_vectors`: the rings, asked without a cluster

#![expect(clippy::unwrap_used, reason = "a test, and all that only tests call, may fail")]

mod any_size;
mod any_size_archive;
mod any_size_rules;
mod clocks;
mod corrupt;
mod crash;
mod crash_points;
mod damage;
mod disks;
mod encoding;
mod former;
mod growth;
mod heal;
mod hostile;
mod kills;
mod large;
mod layouts;
mod live;
mod locate_vectors;
mod merge;
mod networks;
mod old_headers;
mod order;
mod placement;
mod refusal;
mod room;
mod routes;
mod salvage;
mod series;
mod sidecars;
mod sparse;
mod stopping;
mod stuck;
mod trees;
mod verify;
mod verify_digests;
mod verify_findings;
mod writers;

use bucky_tests::{ClusterPlan, Programs};

const PROGRAMS: Programs = Programs {
    bucky: env!("CARGO_BIN_EXE_bucky-under-test"),
    buckyd: env!("CARGO_BIN_EXE_buckyd-under-test"),
};

/// A cluster of this many nodes.
fn cluster(nodes: usize) -> ClusterPlan {
    ClusterPlan::of(PROGRAMS, nodes)
}
