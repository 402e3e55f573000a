//! The Go tool on the wire: a daemon that answers, and a client that asks, byte for byte as go-graphite/buckytools does.
//!
//! There is no Go in these tests. [`GoDaemon`] serves a real folder as `buckyd` does, its weak sides included: a list that
//! is made on the first call and goes stale, new files written in place, a fill that leaves single points out, deletes
//! without a condition. It is strict: whatever the real one would refuse, it refuses with the same status and text, and
//! the test that made the request fails. [`GoClient`] sends what `bucky` sends, over a bare socket. What both are held
//! against are recordings of the real programs, in `go_wire.rs` of the tests.

mod client;
mod daemon;
mod files;
mod fill;
mod list;
mod routes;
mod upload;
mod wire;

pub use self::client::{Answer, Body, GoClient, frame, unframe};
pub use self::daemon::GoDaemon;
