//! The ring that a command uses: from a file, or the cluster's.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use bucky_ring::{Relay, Ring, RingDocument, RingError, Shortfall};

use super::cluster::{ClusterArgs, discover};
use crate::byte_order_mark::without_mark;
use crate::chain;
use crate::outcome::UsageError;
use crate::output::Output;

/// The longest ring document that is read.
const DOCUMENT_LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// The ring in a file, or that of the cluster. In the second case, also the name of the daemon at `--host`.
///
/// # Errors
/// [`UsageError`] if the file has no ring; [`crate::outcome::UnhealthyError`] if the cluster does not agree
/// on one.
pub(crate) async fn ring_of(
    file: Option<&Path>,
    cluster: &ClusterArgs,
    output: &Output,
) -> anyhow::Result<(Arc<Ring>, Option<String>)> {
    if let Some(path) = file {
        return Ok((Arc::new(read_ring(path, output)?), None));
    }
    let cluster = discover(cluster, output).await?;
    cluster.require_healthy()?;
    Ok((cluster.ring()?, Some(cluster.document.name.clone())))
}

/// The ring in the ring document at `path`; `-` is standard input.
///
/// # Errors
/// [`UsageError`] if the file has no ring.
pub(crate) fn read_ring(path: &Path, output: &Output) -> anyhow::Result<Ring> {
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().take(DOCUMENT_LIMIT_BYTES).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(DOCUMENT_LIMIT_BYTES).read_to_end(&mut bytes))
    }
    .with_context(|| format!("cannot read the ring document {}", path.display()))?;
    let unusable = |reason: String| {
        UsageError::because(format!("cannot use the ring in {}: {reason}", path.display()))
    };
    let document = RingDocument::from_json(without_mark(&bytes))
        .map_err(|error| unusable(error.to_string()))?;
    let spec = document.to_spec().map_err(|error| unusable(chain(&error)))?;
    let is_carbon = spec.relay == Relay::Carbon;
    match Ring::new(spec.clone()) {
        // Nothing can be moved with such a ring, but carbon runs with it, and returns the owners that there
        // are.
        Err(error @ (RingError::TooFewNodes { .. } | RingError::TooFewHosts { .. }))
            if is_carbon =>
        {
            output.say(format_args!("bucky: {}; carbon then writes fewer copies", chain(&error)));
            Ring::with_shortfall(spec, Shortfall::GiveWhatThereIs)
        }
        ring => ring,
    }
    .map_err(|error| unusable(chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_document_may_begin_with_a_byte_order_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring.json");
        let document = r#"{"Nodes":[{"Server":"a","Port":1}],"Algo":"carbon","Replicas":1}"#;
        std::fs::write(&path, format!("\u{feff}{document}")).unwrap();
        let (output, _, _) = Output::captured();
        assert_eq!(read_ring(&path, &output).unwrap().nodes().len(), 1);
    }
}
