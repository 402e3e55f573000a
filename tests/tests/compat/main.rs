//! What the Go tool's users rely on, row by row: command lines, output, exit codes, the wire format.
//! `docs/internals/compatibility.md` names the test for each row.
//!
//! - `compressed`: metrics in go-carbon's compressed format
//! - `copies`: `copy`, `backfill`, `backfill2`
//! - `daemon_line`: the daemon's command line, its messages, exit codes and signals
//! - `command_line`: what all commands have in common; `listing`: list, servers, locate, inconsistent, stat,
//!   du, json
//! - `deleting`: delete, including its questions at the terminal; `many_names`: 100,000 names
//! - `document`: every test that the document names exists
//! - `go_wire`: the Go tool's daemon and client in these tests, compared with recordings of the real ones
//! - `mixed`: clusters with some daemons of the Go tool
//! - `sync`: how fast moves go, what they report while they run, and the files that they leave
//! - `backup`: `bucky tar` and `bucky restore`
//! - `modify`: bucky modify, alone and with concurrent writers
//! - `schemas`: nodes with different storage schemas, in every command
//! - `c_relay_conf`: carbon-c-relay.conf as the relay itself reads it
//! - `c_relay_rules`: its routing rules as the relay itself follows them
//! - `carbonate_conf`: carbonate.conf as carbonate itself reads it
//! - `carbon_conf`: carbon.conf as carbon itself reads it
//! - `ring_check`: the relay itself says where it sends the metrics
//! - `ring_from`: `bucky ring from` over configuration files of relays
//! - `small_tools`: bucky-fill, bucky-isempty, findhash, gentestmetrics
//! - `sparsify`: bucky-sparsify with concurrent writers
//! - `pickle_relay`: pickles in, lines out
//! - `wire`: the routes of the Go daemon, row by row
//! - `tokens`: clusters whose daemons require tokens
//! - `carbonate`: the pipelines of carbonate's users

#![expect(clippy::unwrap_used, reason = "a test, and all that only tests call, may fail")]

mod backup;
mod c_relay_conf;
mod c_relay_rules;
mod carbon_conf;
mod carbonate;
mod carbonate_conf;
mod command_line;
mod compressed;
mod copies;
mod daemon_line;
mod deleting;
mod document;
mod go_wire;
mod listing;
mod many_names;
mod mixed;
mod modify;
mod pickle_relay;
mod ring_check;
mod ring_from;
mod schemas;
mod small_tools;
mod sparsify;
mod sync;
mod tokens;
mod wire;

use bucky_tests::{ClusterPlan, Programs};

const PROGRAMS: Programs = Programs {
    bucky: env!("CARGO_BIN_EXE_bucky-under-test"),
    buckyd: env!("CARGO_BIN_EXE_buckyd-under-test"),
};

/// A cluster of this many nodes.
fn cluster(nodes: usize) -> ClusterPlan {
    ClusterPlan::of(PROGRAMS, nodes)
}
