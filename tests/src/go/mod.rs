//! The Go tool on the wire: a daemon that answers, and a client that asks, byte for byte as
//! go-graphite/buckytools does.
//!
//! These tests contain no Go. [`GoDaemon`] serves a real folder as `buckyd` does, including its weak sides: a
//! list that is built on the first call and goes stale, new files written in place, a fill that leaves single
//! points out, deletes without a condition. It is strict: it refuses what the real daemon would refuse, with
//! the same status and text, and the test that made the request fails. [`GoClient`] sends what `bucky` sends,
//! over a bare socket. Both are compared with recordings of the real programs, in `go_wire.rs` of the tests.

mod client;
mod daemon;
mod files;
mod fill;
mod list;
mod routes;
mod upload;
mod wire;

pub use self::client::{Body, GoAnswer, GoClient, frame, unframe};
pub use self::daemon::GoDaemon;
