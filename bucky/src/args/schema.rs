//! What to do with points that have no place in a file, because another storage schema created it.

use bucky_api::OnSchemaDifference;

use super::heading;
use crate::outcome::UsageError;

/// Arguments of all commands that fill files.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct SchemaArgs {
    /// For points without a place at the owner: keep, reshape, coarsen or drop
    ///
    /// Such points exist where another storage schema created the owner's file. `keep` keeps the source and
    /// reports it (exit code 1). `reshape` gives the owner's file the archives of both files. `coarsen`
    /// accepts a valid point of a coarser archive in place of the finer ones. `drop` loses the points.
    #[arg(long, value_name = "ACTION", default_value = "keep", help_heading = heading::WHAT_MOVES)]
    pub(crate) on_schema_difference: OnSchemaDifference,
    /// Do not ask before points are lost (with --on-schema-difference drop)
    #[arg(long, help_heading = heading::WHAT_MOVES, hide_short_help = true)]
    pub(crate) yes: bool,
}

impl SchemaArgs {
    /// The policy, for commands that do not read everything before they begin.
    ///
    /// # Errors
    /// [`UsageError`] if points may be lost and `--yes` was not given.
    pub(crate) fn confirmed(&self) -> anyhow::Result<OnSchemaDifference> {
        if self.on_schema_difference == OnSchemaDifference::Drop && !self.yes {
            return Err(UsageError::because(
                "--on-schema-difference drop loses points for good; to confirm, give --yes as well",
            ));
        }
        Ok(self.on_schema_difference)
    }
}
