//! Arguments of the commands that take metrics one by one: `du`, `stat`, `delete`, `tar`.

use super::cluster::ClusterArgs;
use super::heading;
use super::select::SelectArgs;
use super::units::workers;

/// Which metrics, and how many at once.
#[derive(clap::Args)]
pub(crate) struct EachMetricArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    /// Print JSON
    #[arg(short = 'j', long, help_heading = heading::OUTPUT)]
    pub(crate) json: bool,
    /// Concurrent requests to a Go daemon
    #[arg(short = 'w', long, value_name = "N", default_value = "5", value_parser = workers, help_heading = heading::LIMITS)]
    pub(crate) workers: usize,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}
