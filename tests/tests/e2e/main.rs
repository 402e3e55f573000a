//! `bucky` and `buckyd` end to end. A test is a story; its name says what it shows.
//!
//! - `growth`: clusters that grow and shrink; `merge`: metrics of which several nodes have parts
//! - `placement`: what is misplaced and what is not: copies, instances, tagged series, local metrics
//! - `series`: tagged files that are named by the hash of their series, placed by `--series FILE`
//! - `refusal`: what is refused before anything is changed; `damage`: single failures while the rest
//!   continues
//! - `clocks`: nodes whose clocks differ
//! - `corrupt`: files that are not Whisper files, and replacing them; `old_headers`: files of whisper before
//!   0.9.9; `salvage`: recovering files that were cut off
//! - `layouts`: random sources and owners with different storage schemas
//! - `live`: whisper.py and carbon write while metrics move, and relays switch at every moment
//! - `writers`: a carbon that writes during a move; `crash`: daemons that end during a move
//! - `crash_points`: a daemon killed before each of its system calls; `kills`: any of the three at random
//!   moments, many times
//! - `stopping`: runs that are stopped and continued
//! - `verify`: the report of `bucky verify` about a cluster; `verify_digests`: its network traffic;
//!   `verify_findings`: copies with different schemas, and owners that differ
//! - `trees`: another folder at the prefix, two daemons over the same files, links and names that are not
//!   served
//! - `disks`: full, read-only and broken disks, and daemons that run out of descriptors
//! - `networks`: nodes cut off and links that fail; `stuck`: daemons and locks that hang, dribble, break off
//!   or send garbage
//! - `order`: the order in which things become durable, by recordings of the system calls
//! - `hostile`: malicious clients, tars and peers
//! - `sparse`: files with holes
//! - `sidecars`: the files that go-carbon keeps beside a metric
//! - `encoding`: files compressed on their way, if that helps
//! - `large`: files about as large as the memory allows, many at once
//! - `heal`: owners that lack metrics get them from owners that have them
//! - `former`: nodes that have left the ring, and are not drained yet
//! - `ring_fit`: the ring that explains where the metrics are
//! - `wrong_ring`: a rebalance by a ring that is not that of the disks is refused
//! - `ring_watch`: daemons that read their ring from the relay's file
//! - `room`: destinations that are short of bytes or inodes
//! - `rules`: rings that carbon-c-relay's routing rules lead to
//! - `routes`: the daemon's answers, as `curl` gets them; `locate_vectors`: the rings, without a cluster

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
mod plans;
mod refusal;
mod ring_fit;
mod ring_watch;
mod room;
mod routes;
mod rules;
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
mod wrong_ring;

use bucky_tests::{ClusterPlan, Programs};

const PROGRAMS: Programs = Programs {
    bucky: env!("CARGO_BIN_EXE_bucky-under-test"),
    buckyd: env!("CARGO_BIN_EXE_buckyd-under-test"),
};

/// A cluster of this many nodes.
fn cluster(nodes: usize) -> ClusterPlan {
    ClusterPlan::of(PROGRAMS, nodes)
}
