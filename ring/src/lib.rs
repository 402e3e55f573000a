//! Which node of a Graphite cluster owns which metric.
//!
//! A cluster keeps each metric on the nodes that a hash ring names. carbon's relay, carbon-c-relay and
//! buckytools compute that ring differently and do not always agree. This crate gives the answers of each of
//! them, owner by owner and in the same order. `docs/rings.md` has the rules. The vectors in
//! `tests/vectors/`, taken from the three programs themselves, are the specification.
//!
//! - [`Node`]: `HOST[:PORT][=INSTANCE]`, checked once
//! - [`RingSpec`]: nodes, [`Algorithm`], [`Relay`], copies; compared by [`RingSpec::differences`]
//! - [`RingDocument`]: the JSON that `GET /hashring` serves
//! - [`Ring`]: built from a spec; [`Ring::owner`] and [`Ring::owners`] return the owners
//!
//! Pure: it uses no file, socket, clock or thread. Looking up an owner allocates nothing.
//!
//! ```
//! use bucky_ring::{Algorithm, Ring, RingSpec, resolve};
//!
//! let (relay, tagged_names) = resolve(Algorithm::Carbon, None, None)?;
//! let ring = Ring::new(RingSpec {
//!     nodes: vec!["graphite-b1:2003".parse()?, "graphite-b2:2003".parse()?, "graphite-b3:2003".parse()?],
//!     algorithm: Algorithm::Carbon,
//!     relay,
//!     replication_factor: 2,
//!     diverse_replicas: false,
//!     tagged_names,
//!     aggregation: None,
//!     routes: None,
//! })?;
//! let owner = ring.owner("statsd.stage.upper_99730462");
//! assert_eq!(ring.nodes()[owner].host(), "graphite-b3");
//! assert_eq!(ring.owners("statsd.stage.upper_99730462").len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `D1` to `D49` in comments and names of tests are the known defects of the Go tool; the list is in
//! `docs/internals/compatibility.md`.

mod aggregation;
mod algorithm;
mod check;
mod document;
mod entries;
mod finder;
mod fit;
mod go_json;
mod hash;
mod jump;
mod kinds;
mod node;
mod node_list;
mod owners;
mod ring;
mod routed;
mod routes;
mod spec;
mod summary;
mod warnings;

pub use aggregation::{AggregationRules, RuleError};
pub use algorithm::{Algorithm, Relay, TaggedNames, UnknownName, UnknownToRelay, resolve};
pub use check::RingError;
pub use document::{NodeDocument, RingDocument, RingDocumentError};
pub use fit::{Explanation, Fit, Score, jump_order, shuffled_share};
pub use go_json::as_go_writes;
pub use node::{Node, NodeError};
pub use node_list::{NodeListError, nodes_in, read_nodes};
pub use owners::Owners;
pub use ring::{Ring, Shortfall};
pub use routes::{
    ClusterDocument, RouteError, RouteRules, RoutesDocument, RuleDocument, invalid_expression,
};
pub use spec::{Difference, Field, RingSpec};
