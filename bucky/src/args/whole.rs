//! Arguments of the commands that copy whole nodes: `copy`, `backfill2`.

use std::path::PathBuf;
use std::time::Duration;

use super::heading;
use super::units::time;
use crate::outcome::UsageError;
use crate::transfer::MoveOrder;
use crate::transfer::options::SourceRules;

/// Arguments of the commands that copy whole nodes.
#[derive(clap::Args, Debug)]
pub(crate) struct WholeArgs {
    /// With -delete: delete only sources without a write for this long, such as 2m
    ///
    /// Sources that were written to more recently are copied and stay.
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = time, help_heading = heading::WHAT_MOVES)]
    rest: Duration,
    /// Record finished metrics in this file; the next run with it continues there
    #[arg(long, value_name = "FILE", help_heading = heading::WHAT_MOVES)]
    journal: Option<PathBuf>,
}

impl WholeArgs {
    /// Adds these arguments to `order`.
    ///
    /// # Errors
    /// [`UsageError`] if they make no sense together.
    pub(crate) fn apply(self, order: MoveOrder) -> anyhow::Result<MoveOrder> {
        if !order.sources.deletes && self.rest > Duration::ZERO {
            return Err(UsageError::because(
                "--rest needs -delete: it says which sources are deleted",
            ));
        }
        let sources = SourceRules { rest: self.rest, ..order.sources };
        Ok(MoveOrder { sources, journal: self.journal, ..order })
    }
}
