//! A ring from the relay's own configuration file.

use std::path::PathBuf;

use bucky_relay_config::disk::{LoadError, LoadedRing, RingFile};
use bucky_relay_config::{ChoiceError, Selector, Wanted, Warning};

use super::heading;
use crate::chain;
use crate::outcome::UsageError;
use crate::output::Output;

/// Which of the rings of a configuration file is meant.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct RingChoiceArgs {
    /// Section of carbon.conf or carbonate.conf, such as relay, relay:b or aggregator
    #[arg(long, value_name = "NAME", conflicts_with_all = ["cluster_name", "route"], help_heading = heading::SELECTION)]
    section: Vec<String>,
    /// Cluster of carbon-c-relay's configuration; or several, as old,new, with the rules that lead to them
    #[arg(id = "cluster_name", long = "cluster", value_name = "NAME", conflicts_with = "route", help_heading = heading::SELECTION)]
    cluster: Vec<String>,
    /// Route of carbon-relay-ng's configuration, by its key
    #[arg(long, value_name = "KEY", help_heading = heading::SELECTION)]
    route: Vec<String>,
    /// The relay's aggregation-rules.conf, if it is not beside the file [default: the file beside it]
    #[arg(long, value_name = "FILE", help_heading = heading::SELECTION)]
    aggregation_rules: Option<PathBuf>,
}

impl RingChoiceArgs {
    /// The file at `path`, with the ring that these arguments name.
    pub(crate) fn of(&self, path: PathBuf) -> RingFile {
        let named = [
            (Selector::Section, &self.section),
            (Selector::Cluster, &self.cluster),
            (Selector::Route, &self.route),
        ];
        let mut named = named.into_iter().filter(|(_, names)| !names.is_empty());
        let wanted = named.next().map(|(selector, names)| Wanted::of(selector, names));
        RingFile { path, program: None, wanted, aggregation_rules: self.aggregation_rules.clone() }
    }
}

/// The ring in `file`.
///
/// # Errors
/// [`UsageError`] if it is not clear which ring is meant. Any other error says what is wrong with the file.
pub(crate) async fn load(file: RingFile) -> anyhow::Result<LoadedRing> {
    let loaded = tokio::task::spawn_blocking(move || file.load()).await?;
    loaded.map_err(|error| {
        let is_usage = match &error {
            LoadError::Choice { source, .. } => matches!(
                source,
                ChoiceError::Several(_)
                    | ChoiceError::Unknown { .. }
                    | ChoiceError::WrongFlag { .. }
            ),
            LoadError::NoUseForRules { .. } => true,
            LoadError::Unreadable { .. } | LoadError::Refused(_) => false,
        };
        if is_usage { UsageError::because(chain(&error)) } else { error.into() }
    })
}

/// Says what an operator must know about a ring of a file.
pub(crate) fn say_warnings(warnings: &[Warning], output: &Output) {
    for warning in warnings {
        output.say(format_args!("bucky: warning: {warning}"));
    }
}
