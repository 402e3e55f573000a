//! The parts of the end-to-end tests and the demo: real daemons on loopback with real Whisper files.
//!
//! A test is a story: it starts a [`TestCluster`], writes metrics to the nodes that an old ring names, runs
//! `bucky`, and checks the nodes' folders afterwards. Nothing here waits for a fixed time, only for a
//! condition with a limit ([`wait`]). A failing test shows the logs of its daemons.
//!
//! - [`cluster`], [`node`], [`launch`]: daemons with their own addresses and folders, stopped on drop
//! - [`clock`]: a daemon with a different clock
//! - [`crash_point`]: kills a daemon immediately before a chosen system call
//! - [`gate`]: a proxy before a daemon that holds requests back, cuts it off, and changes its answers
//! - [`link`]: a slow link with a long round trip between the nodes
//! - [`go`]: the Go tool's daemon and client, as strict as the real ones
//! - [`go_carbon`]: go-carbons that report how full their caches are, and a carbon that receives lines
//! - [`strace`]: what a daemon did to its files, call by call; [`order`]: whether that was in the durable
//!   order
//! - [`program`]: a run of `bucky`, and assertions about it; [`terminal`]: a terminal to run it at
//! - [`metrics`]: Whisper files with current points; [`tree`]: the files and folders below a prefix
//! - [`layout_pair`]: files of one metric with different schemas; [`layout_account`]: what happened to their
//!   points, by an independent reader, [`plain_file`]
//! - [`ledger`]: every point of every archive of every node, and whether it is on its owner
//! - [`carbon`]: a real carbon on every node, and real relays before them
//! - [`writer`]: processes that write as carbon does; [`written`]: every point they wrote, and whether it is
//!   on its owner; [`schema`]: the files that their nodes create for a metric, equal or different
//! - [`steps`]: whisper.py, stopped at the moments when it and a move can collide
//! - [`soak`]: how many times a test with random parts runs, and what it has checked
//! - [`inputs`]: bytes from outside, and what must hold for any of them
//! - [`token`]: tokens as the Go tool's users create them
//! - [`http`]: requests like those of `curl`; [`peer`]: whisper.py's reading of the same files
//!
//! Everything here panics on an error: that is how a test fails.
//!
//! `D1` to `D49` in comments and names of tests are the known defects of the Go tool; the list is in
//! `docs/internals/compatibility.md`.

#![expect(clippy::unwrap_used, reason = "the tests' own code fails by panicking")]

mod address;
pub mod c_relay;
pub mod carbon;
pub mod clock;
pub mod cluster;
pub mod crash_point;
pub mod gate;
pub mod go;
pub mod go_carbon;
pub mod http;
pub mod inputs;
pub mod launch;
pub mod layout_account;
pub mod layout_pair;
pub mod ledger;
pub mod link;
mod live_check;
mod live_copy;
pub mod metrics;
pub mod node;
pub mod order;
pub mod peer;
pub mod plain_file;
pub mod program;
pub mod python_peer;
pub mod random_choice;
pub mod schema;
pub mod soak;
pub mod steps;
pub mod strace;
pub mod terminal;
pub mod token;
pub mod tree;
pub mod wait;
pub mod writer;
pub mod written;

pub use carbon::{Carbons, Feeder};
pub use clock::Clock;
pub use cluster::{ClusterPlan, Programs, TestCluster};
pub use crash_point::CrashPoint;
pub use gate::{Cut, Fault, Gate};
pub use go::{GoClient, GoDaemon};
pub use go_carbon::{GoCarbons, LineReceiver};
pub use launch::{Injection, Launch};
pub use ledger::Ledger;
pub use link::{Link, LinkSpec};
pub use metrics::Layout;
pub use node::Node;
pub use program::{Finished, Running};
pub use schema::Schemas;
pub use steps::{SteppedWhisper, Stop};
pub use terminal::Terminal;
pub use writer::{Route, WriterOptions, Writers};
pub use written::Written;
