//! The groups of flags in the help of a command.

/// Which metrics and nodes take part.
pub(crate) const SELECTION: &str = "Selection";
/// What is done with them.
pub(crate) const WHAT_MOVES: &str = "What moves";
/// How much at once, how fast, and how full disks may get.
pub(crate) const LIMITS: &str = "Limits";
/// What is printed, and where.
pub(crate) const OUTPUT: &str = "Output";
/// Which daemon is asked, and how long it may take.
pub(crate) const CONNECTION: &str = "Connection";
/// Flags of the Go tool that few people need.
pub(crate) const GO: &str = "Go compatibility";

/// Their order in every help.
pub(crate) const ORDER: [&str; 6] = [SELECTION, WHAT_MOVES, LIMITS, OUTPUT, CONNECTION, GO];
