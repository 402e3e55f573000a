//! Requests and answers of the `/v1` routes.

mod archive;
mod confirm;
mod delete;
mod digests;
mod heal;
mod metrics;
mod not_served;
mod plan;
mod points;
mod problem;
mod sample;
mod schema;
mod status;

pub use self::archive::*;
pub use self::confirm::*;
pub use self::delete::*;
pub use self::digests::*;
pub use self::heal::*;
pub use self::metrics::*;
pub use self::not_served::*;
pub use self::plan::*;
pub use self::points::*;
pub use self::problem::*;
pub use self::sample::*;
pub use self::schema::*;
pub use self::status::*;

/// The level of the `/v1` contract that this build speaks.
pub const API_LEVEL: u32 = 3;
/// From this level on an owner proves that it holds every point: a heal reports the points without a place,
/// and a confirmation looks for all points. Nothing is deleted because of what a daemon below it says.
pub const PROOF_LEVEL: u32 = 3;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
