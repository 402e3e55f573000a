//! The paths of all routes.

/// The ring document. Both kinds of daemon answer it.
pub const HASHRING: &str = "/hashring";
/// The Go tool's list of metrics.
pub const METRICS: &str = "/metrics";
/// What this node is, and its state: [`crate::Status`].
pub const V1_STATUS: &str = "/v1/status";
/// The inventory, as lines.
pub const V1_METRICS: &str = "/v1/metrics";
/// What is below the prefix and is not served: [`crate::NotServedLine`].
pub const V1_NOT_SERVED: &str = "/v1/not-served";
/// The metrics that this node should not hold: [`crate::MisplacedLine`].
pub const V1_MISPLACED: &str = "/v1/misplaced";
/// A sample of the metrics, the same names on every node: [`crate::SampleLine`].
pub const V1_SAMPLE: &str = "/v1/sample";
/// What a move to another ring would do with the metrics of this node: [`crate::PlanRequest`].
pub const V1_PLAN: &str = "/v1/plan";
/// A tar stream of metrics: see [`crate::archive`].
pub const V1_ARCHIVE: &str = "/v1/archive";
/// Takes an archive stream and heals this node's copies.
pub const V1_HEAL: &str = "/v1/heal";
/// Heals this node's copies from an archive stream that the daemon fetches from a peer:
/// [`crate::PullRequest`].
pub const V1_PULL: &str = "/v1/pull";
/// Whether files hold points that another file has: [`crate::ConfirmRequest`].
pub const V1_CONFIRM: &str = "/v1/confirm";
/// What files hold, as figures that can be compared: [`crate::DigestRequest`].
pub const V1_DIGESTS: &str = "/v1/digests";
/// Which slots of a part of a file hold points: [`crate::PointsRequest`].
pub const V1_POINTS: &str = "/v1/points";
/// Conditional delete: [`crate::DeleteRequest`].
pub const V1_DELETE: &str = "/v1/delete";

/// A go-carbon's figures about itself: [`crate::CarbonInfo`].
pub const CARBON_INFO: &str = "/admin/info";

/// The media type of answers that are one JSON value per line.
pub const NDJSON: &str = "application/x-ndjson";
/// The media type of an archive stream.
pub const TAR: &str = "application/x-tar";
