//! How far clocks may differ.

use std::time::Duration;

use super::units::time;

/// The argument of the commands that compare clocks.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct ClockArgs {
    /// How far the clocks of the nodes and of this host may differ, such as 30s; beyond that nothing is deleted. Each buckyd
    /// has a flag of the same name
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) max_clock_difference: Duration,
}
