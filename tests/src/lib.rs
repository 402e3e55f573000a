//! What the end-to-end tests and the demo are made with: real daemons on loopback over real Whisper files.
//!
//! A test is a story: it starts a [`TestCluster`], lays metrics down where an old ring had them, runs `bucky`, and looks
//! at what the nodes' folders hold afterwards. Nothing in here waits for a time, only for a condition with a limit
//! ([`wait`]), and a test that fails shows what its daemons have logged.
//!
//! - [`cluster`], [`node`]: daemons with addresses and folders of their own, ended on drop
//! - [`clock`]: a daemon whose clock is another one
//! - [`crash_point`]: ends a daemon right before a chosen system call
//! - [`gate`]: stands before a daemon, holds requests back, cuts it off, and spoils its answers
//! - [`link`]: a long, narrow link between the nodes
//! - [`go`]: the Go tool's daemon and client, as strict as the real ones
//! - [`go_carbon`]: go-carbons that tell how full their caches are, and a carbon that takes lines
//! - [`strace`]: what a daemon did to its files, call by call; [`order`]: whether that was in the durable order
//! - [`program`]: a run of `bucky`, and what is asserted of it; [`terminal`]: a terminal to run it at
//! - [`metrics`]: Whisper files with live points; [`tree`]: what lies below a prefix
//! - [`layout_pair`]: files of one metric by different schemas; [`layout_account`]: what has become of their points, by a reader of
//!   its own, [`plain_file`]
//! - [`ledger`]: every point of every archive of every node, and whether it is with its owner
//! - [`carbon`]: a real carbon on every node, and real relays before them
//! - [`writer`]: processes that write as carbon does; [`written`]: every point they wrote, and whether it is with its owner;
//!   [`schema`]: what their nodes make of a metric, alike or not
//! - [`steps`]: whisper.py, stopped at the moments in which it and a move can meet
//! - [`soak`]: how often a story with chance in it runs, and what it has looked at
//! - [`inputs`]: bytes from outside, and what must hold whatever they are
//! - [`token`]: tokens as the Go tool's users make them
//! - [`http`]: requests as `curl` would make them; [`peer`]: whisper.py's reading of the same files
//!
//! Everything here panics where something does not go as it should: that is how a test fails.

#![expect(clippy::unwrap_used, reason = "the tests' own code fails by panicking")]

mod address;
pub mod carbon;
pub mod clock;
pub mod cluster;
pub mod crash_point;
pub mod gate;
pub mod go;
pub mod go_carbon;
pub mod http;
pub mod inputs;
pub mod layout_account;
pub mod layout_pair;
pub mod ledger;
pub mod link;
mod live_copy;
mod live_look;
pub mod metrics;
pub mod node;
pub mod order;
pub mod peer;
pub mod plain_file;
pub mod program;
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
pub use ledger::Ledger;
pub use link::{Link, LinkSpec};
pub use metrics::Layout;
pub use node::{Injection, Launch, Node};
pub use program::{Finished, Running};
pub use schema::Schemas;
pub use steps::{SteppedWhisper, Stop};
pub use terminal::Terminal;
pub use writer::{Manner, Route, Writers};
pub use written::Written;
