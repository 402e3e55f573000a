//! The relay's file beside a cluster: the ring that the daemons must have.

use std::path::PathBuf;

use bucky_ring::Ring;

use super::heading;
use super::ring::RingArgs;
use super::ring_file::RingChoiceArgs;
use crate::cluster::Cluster;
use crate::cluster::ClusterFinding;
use crate::output::Output;

/// The file whose ring the daemons must have.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct RelayFileArgs {
    /// Check that the daemons have the ring of this file: the relay's configuration, or a ring document
    ///
    /// If they have another, the cluster counts as not healthy, and nothing is moved.
    #[arg(long, value_name = "FILE", help_heading = heading::SELECTION)]
    ring_from: Option<PathBuf>,
    #[command(flatten)]
    choice: RingChoiceArgs,
}

/// The ring that the daemons must have, and its file.
pub(crate) struct RingOfRelay {
    path: PathBuf,
    ring: Ring,
}

impl RelayFileArgs {
    /// The ring, if a file was given. Warns of what must be known about it.
    ///
    /// # Errors
    /// [`crate::outcome::UsageError`] if the file has no ring that can be used.
    pub(crate) async fn read(self, output: &Output) -> anyhow::Result<Option<RingOfRelay>> {
        let Some(path) = self.ring_from else { return Ok(None) };
        let ring = RingArgs::in_file(path.clone(), self.choice).read(output).await?;
        Ok(ring.map(|ring| RingOfRelay { path, ring }))
    }
}

impl RingOfRelay {
    /// Adds a finding to `cluster` if its ring is another one.
    ///
    /// # Errors
    /// [`crate::outcome::UnhealthyError`] if the cluster has no ring.
    pub(crate) fn judge(&self, cluster: &mut Cluster) -> anyhow::Result<()> {
        let differences = cluster.ring()?.spec().differences(self.ring.spec());
        if !differences.is_empty() {
            let file = self.path.display().to_string();
            cluster.findings.push(ClusterFinding::OtherThanFile { file, differences });
        }
        Ok(())
    }
}
