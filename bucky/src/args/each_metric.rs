//! Arguments of the commands that take metrics one by one: `du`, `stat`, `delete`, `tar`.

use super::cluster::ClusterArgs;
use super::units::workers;
use crate::names::SelectArgs;

/// Which metrics, and how many at once.
#[derive(clap::Args)]
pub(crate) struct EachMetricArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    /// Print JSON
    #[arg(short = 'j', long)]
    pub(crate) json: bool,
    /// Metrics of a node taken at once, where it has to be one by one
    #[arg(short = 'w', long, value_name = "N", default_value = "5", value_parser = workers)]
    pub(crate) workers: usize,
}
