//! What becomes of points that have no place in a file because another storage schema made it.

use bucky_api::OnSchemaDifference;

use crate::outcome::UsageError;

/// Arguments of all commands that fill files.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct SchemaArgs {
    /// Points that have no place at the owner, because its file was made by another storage schema: keep leaves the source and
    /// reports it (exit 1); reshape gives the owner's file the archives of both; coarsen accepts a valid point of a coarser
    /// archive for those under it; drop gives them up
    #[arg(long, value_name = "keep|reshape|coarsen|drop", default_value = "keep")]
    pub(crate) on_schema_difference: OnSchemaDifference,
    /// Give points up without asking (with --on-schema-difference drop)
    #[arg(long)]
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
                "--on-schema-difference drop gives points up for good: give --yes as well if that is what you want",
            ));
        }
        Ok(self.on_schema_difference)
    }
}
