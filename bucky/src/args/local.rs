//! Which metrics are local: written by each node about itself.

use super::heading;
use crate::outcome::UsageError;

/// Arguments that say which metrics are local, for nodes that do not know it themselves.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct LocalArgs {
    /// Names that begin with this belong to the node that has them
    ///
    /// Applies to Go daemons and to nodes that are drained. Each buckyd knows its own prefix.
    #[arg(long, value_name = "PREFIX", default_value = "carbon.agents.", help_heading = heading::SELECTION, hide_short_help = true)]
    pub(crate) go_carbon_prefix: String,
    /// Leave out the metrics with the prefix of --go-carbon-prefix (default)
    #[arg(long, hide = true, overrides_with = "no_filter_cache_metrics")]
    pub(crate) filter_cache_metrics: bool,
    /// Treat metrics with the prefix of --go-carbon-prefix like all others
    #[arg(long, overrides_with = "filter_cache_metrics", help_heading = heading::SELECTION, hide_short_help = true)]
    pub(crate) no_filter_cache_metrics: bool,
}

impl LocalArgs {
    /// The prefix of local metrics, if there is one.
    ///
    /// # Errors
    /// [`UsageError`] for an empty one, which would match every metric.
    pub(crate) fn prefix(&self) -> anyhow::Result<Option<String>> {
        if self.no_filter_cache_metrics {
            return Ok(None);
        }
        if self.go_carbon_prefix.is_empty() {
            return Err(UsageError::because(
                "an empty -go-carbon-prefix would leave out every metric; to leave out none, give \
                 -filter-cache-metrics=false",
            ));
        }
        Ok(Some(self.go_carbon_prefix.clone()))
    }
}
