//! Which metrics are each node's own.

use crate::outcome::UsageError;

/// Arguments that say which metrics are each node's own, for nodes that do not know it themselves.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct LocalArgs {
    /// Metrics of Go daemons, and of nodes that are drained, that begin with this are each node's own
    #[arg(long, value_name = "PREFIX", default_value = "carbon.agents.")]
    pub(crate) go_carbon_prefix: String,
    /// Leave those out (the default)
    #[arg(long, hide = true, overrides_with = "no_filter_cache_metrics")]
    pub(crate) filter_cache_metrics: bool,
    /// Do not leave those out
    #[arg(long, overrides_with = "filter_cache_metrics")]
    pub(crate) no_filter_cache_metrics: bool,
}

impl LocalArgs {
    /// The prefix, where there is one.
    ///
    /// # Errors
    /// [`UsageError`] for an empty one, which would mean every metric.
    pub(crate) fn prefix(&self) -> anyhow::Result<Option<String>> {
        if self.no_filter_cache_metrics {
            return Ok(None);
        }
        if self.go_carbon_prefix.is_empty() {
            return Err(UsageError::because(
                "an empty -go-carbon-prefix would leave out every metric; give -filter-cache-metrics=false if none is meant",
            ));
        }
        Ok(Some(self.go_carbon_prefix.clone()))
    }
}
