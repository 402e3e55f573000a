//! What `buckyd` and `bucky` agree on.
//!
//! Paths, headers, request and answer types, the error body, the archive stream, tokens, and the HTTP client.
//! `bucky`, a `buckyd` that pulls from a peer, and the tests use the client. There are two protocols: our own
//! routes under `/v1`, and those of the Go tool (`go`), which both kinds of daemon answer.
//!
//! There is no server code here, and no file access. Only `clock` and the client read the time.
//! `docs/internals/http-api.md` describes the same protocol in prose.
//!
//! `D1` to `D49` in comments and names of tests are the known defects of the Go tool; the list is in
//! `docs/internals/compatibility.md`.

pub mod addr;
pub mod archive;
pub mod bounded;
pub mod bucket;
pub mod carbon;
pub mod client;
pub mod clock;
pub mod counted;
pub mod encoding;
pub mod error;
pub mod go;
pub mod ndjson;
pub mod paths;
pub mod token;
pub mod types;

pub use addr::{DaemonAddr, DaemonAddrError};
pub use bucket::{Bucket, Turn};
pub use carbon::{CarbonCache, CarbonInfo};
pub use client::{Client, ClientError, Daemon, Timeouts};
pub use clock::{ClockDoubt, ClockOffset, ClockReading, MAX_CLOCK_DIFFERENCE, may_trust};
pub use encoding::Encoding;
pub use error::{ErrorBody, ErrorCode, chain};
pub use token::Token;
pub use types::*;
