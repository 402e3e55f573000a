//! What becomes of points that have no place in a file because another storage schema made it.

use bucky_api::OnSchemaDifference;

use super::heading;
use crate::outcome::UsageError;

/// Arguments of all commands that fill files.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct SchemaArgs {
    /// For points without a place at the owner: keep, reshape, coarsen or drop
    ///
    /// Such points exist where another storage schema created the owner's file. `keep` keeps the source and
    /// reports it (exit code 1). `reshape` gives the owner's file the archives of both files. `coarsen` accepts a
    /// valid point of a coarser archive in place of the finer ones. `drop` loses the points.
    #[arg(long, value_name = "ACTION", default_value = "keep", help_heading = heading::WHAT_MOVES)]
    pub(crate) on_schema_difference: OnSchemaDifference,
    /// Do not ask before points are lost (with --on-schema-difference drop)
    #[arg(long, help_heading = heading::WHAT_MOVES, hide_short_help = true)]
    pub(crate) yes: bool,
}

impl SchemaArgs {
    /// What was said, for a command that does not look at everything first.
    ///
    /// # Errors
    /// [`UsageError`] where points are to be given up and that was not confirmed.
    pub(crate) fn confirmed(&self) -> anyhow::Result<OnSchemaDifference> {
        if self.on_schema_difference == OnSchemaDifference::Drop && !self.yes {
            return Err(UsageError::because(
                "--on-schema-difference drop loses points for good; to confirm, give --yes as well",
            ));
        }
        Ok(self.on_schema_difference)
    }
}
