//! Arguments of the commands that copy whole nodes: `copy`, `backfill2`.

use std::path::PathBuf;
use std::time::Duration;

use super::units::time;
use crate::outcome::UsageError;
use crate::transfer::Order;
use crate::transfer::options::SourceRules;

/// Arguments of the commands that copy whole nodes.
#[derive(clap::Args, Debug)]
pub(crate) struct WholeArgs {
    /// With -delete: only sources that nobody has written to for so long, such as 2m; others are copied and stay
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = time)]
    rest: Duration,
    /// Note in this file what is finished; a stopped run with the same file goes on from there
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

impl WholeArgs {
    /// `order` with these.
    ///
    /// # Errors
    /// [`UsageError`] where they make no sense together.
    pub(crate) fn apply(self, order: Order) -> anyhow::Result<Order> {
        if !order.sources.deletes && self.rest > Duration::ZERO {
            return Err(UsageError::because(
                "--rest is about sources that are deleted: give -delete",
            ));
        }
        let sources = SourceRules { rest: self.rest, ..order.sources };
        Ok(Order { sources, journal: self.journal, ..order })
    }
}
