//! How far clocks may differ.

use std::time::Duration;

use super::heading;
use super::units::time;

/// The argument of the commands that compare clocks.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct ClockArgs {
    /// Delete nothing while clocks differ by more than this
    ///
    /// The clocks of all nodes and of this host count. Each buckyd has a flag of the same name.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time, help_heading = heading::LIMITS, hide_short_help = true)]
    pub(crate) max_clock_difference: Duration,
}
