//! The ring that a command uses: from a file, or the cluster's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bucky_ring::{Relay, Ring, RingError, Shortfall};

use super::cluster::{ClusterArgs, discover};
use super::heading;
use super::ring_file::{RingChoiceArgs, load, say_warnings};
use crate::chain;
use crate::outcome::UsageError;
use crate::output::Output;

/// The file of a ring.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct RingArgs {
    /// Use the ring in this file: a relay's configuration, or the answer to GET /hashring
    ///
    /// What `bucky ring from` reads. `-` is standard input.
    #[arg(long, visible_alias = "ring-from", value_name = "FILE", help_heading = heading::SELECTION)]
    ring: Option<PathBuf>,
    #[command(flatten)]
    choice: RingChoiceArgs,
}

impl RingArgs {
    /// The ring of the file at `path`.
    pub(crate) fn in_file(path: PathBuf, choice: RingChoiceArgs) -> Self {
        Self { ring: Some(path), choice }
    }

    /// The file, if one was given.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.ring.as_deref()
    }

    /// The ring in the file, if one was given. Warns of what must be known about it.
    ///
    /// # Errors
    /// [`UsageError`] if the file has no ring that can be used.
    pub(crate) async fn read(&self, output: &Output) -> anyhow::Result<Option<Ring>> {
        let Some(path) = self.ring.clone() else { return Ok(None) };
        let unusable = |reason: String| {
            UsageError::because(format!("cannot use the ring in {}: {reason}", path.display()))
        };
        let found = load(self.choice.of(path.clone())).await;
        let found = found.map_err(|error| unusable(format!("{error:#}")))?.found;
        say_warnings(&found.warnings, output);
        if let Some(need) = found.needs.first() {
            return Err(unusable(need.to_string()));
        }
        let is_carbon = found.spec.relay == Relay::Carbon;
        let ring = match Ring::new(found.spec.clone()) {
            // Nothing can be moved with such a ring, but carbon runs with it, and returns the owners that there
            // are.
            Err(error @ (RingError::TooFewNodes { .. } | RingError::TooFewHosts { .. }))
                if is_carbon =>
            {
                output
                    .say(format_args!("bucky: {}; carbon then writes fewer copies", chain(&error)));
                Ring::with_shortfall(found.spec, Shortfall::GiveWhatThereIs)
            }
            ring => ring,
        };
        ring.map(Some).map_err(|error| unusable(chain(&error)))
    }

    /// The ring in the file, or that of the cluster. In the second case, also the name of the daemon at
    /// `--host`.
    ///
    /// # Errors
    /// [`UsageError`] if the file has no ring; [`crate::outcome::UnhealthyError`] if the cluster does not agree
    /// on one.
    pub(crate) async fn ring_of(
        &self,
        cluster: &ClusterArgs,
        output: &Output,
    ) -> anyhow::Result<(Arc<Ring>, Option<String>)> {
        if let Some(ring) = self.read(output).await? {
            return Ok((Arc::new(ring), None));
        }
        let cluster = discover(cluster, output).await?;
        cluster.require_healthy()?;
        Ok((cluster.ring()?, Some(cluster.document.name.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ring_document_may_begin_with_a_byte_order_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring.json");
        let document = r#"{"Nodes":[{"Server":"a","Port":1}],"Algo":"carbon","Replicas":1}"#;
        std::fs::write(&path, format!("\u{feff}{document}")).unwrap();
        let (output, _, _) = Output::captured();
        let args = RingArgs { ring: Some(path), ..RingArgs::default() };
        assert_eq!(args.read(&output).await.unwrap().unwrap().nodes().len(), 1);
    }

    #[tokio::test]
    async fn a_relays_configuration_is_a_ring_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.conf");
        std::fs::write(&path, "cluster a carbon_ch b:2003=x c:2003=y;\n").unwrap();
        let (output, _, _) = Output::captured();
        let args = RingArgs { ring: Some(path.clone()), ..RingArgs::default() };
        assert_eq!(args.read(&output).await.unwrap().unwrap().spec().relay, Relay::CarbonCRelay);
        std::fs::write(&path, "cluster a carbon_ch b:2003=x c:0=y;\n").unwrap();
        let error = format!("{:#}", args.read(&output).await.unwrap_err());
        assert!(error.contains("relay.conf:1:30: port \"0\""), "{error}");
    }
}
