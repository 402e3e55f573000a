//! The paths of the routes, each named once.

/// The ring document. Both kinds of daemon answer it.
pub const HASHRING: &str = "/hashring";
/// The Go tool's list of metrics.
pub const METRICS: &str = "/metrics";
/// What this node is and how it fares: [`crate::Status`].
pub const V1_STATUS: &str = "/v1/status";
/// The inventory, as lines.
pub const V1_METRICS: &str = "/v1/metrics";
/// What lies below the prefix and is not served: [`crate::NotServedLine`].
pub const V1_NOT_SERVED: &str = "/v1/not-served";
/// The metrics that this node should not hold: [`crate::MisplacedLine`].
pub const V1_MISPLACED: &str = "/v1/misplaced";
/// A tar stream of metrics: see [`crate::archive`].
pub const V1_ARCHIVE: &str = "/v1/archive";
/// Takes such a stream and makes this node's copies complete.
pub const V1_HEAL: &str = "/v1/heal";
/// The same, fetched by the daemon from a peer: [`crate::PullRequest`].
pub const V1_PULL: &str = "/v1/pull";
/// Which of some slots are filled here: [`crate::ConfirmRequest`].
pub const V1_CONFIRM: &str = "/v1/confirm";
/// What files hold, in figures that can be compared: [`crate::DigestRequest`].
pub const V1_DIGESTS: &str = "/v1/digests";
/// Which slots of a part of a file hold points: [`crate::PointsRequest`].
pub const V1_POINTS: &str = "/v1/points";
/// Conditional delete: [`crate::DeleteRequest`].
pub const V1_DELETE: &str = "/v1/delete";

/// A go-carbon's figures about itself: [`crate::CarbonInfo`].
pub const CARBON_INFO: &str = "/admin/info";

/// The media type of answers that are one JSON value a line.
pub const NDJSON: &str = "application/x-ndjson";
/// The media type of an archive stream.
pub const TAR: &str = "application/x-tar";
