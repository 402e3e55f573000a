//! A metric as it was copied from its source.

use std::time::Duration;

use bucky_api::client::Fetched;
use bucky_api::go::MetricStat;
use bucky_whisper::{Digest, Image, MetricName, is_compressed};
use bytes::Bytes;

use super::rest::rest;
use super::setback::{GoSetback, client, lasting};
use crate::chain;
use crate::fleet::Node;
use crate::run::failure_kind::FailureKind;
use crate::transfer::renames::Renames;

/// A metric as it was at its source.
pub(super) struct Copied {
    pub(super) metric: MetricName,
    /// Its name at its owners.
    pub(super) stored_as: MetricName,
    /// What the source reported of the file.
    pub(super) stat: MetricStat,
    pub(super) content: Bytes,
    pub(super) digest: Digest,
    /// How long before the copy it was last written, by the clock of its daemon; `None` if unknown.
    pub(super) rest: Option<Duration>,
}

/// The metric as `source` has it now, or `None` if it does not have it.
pub(super) async fn fetch(
    source: &Node,
    metric: &MetricName,
    renames: &Renames,
) -> Result<Option<Copied>, GoSetback> {
    let got = source.daemon.go_get(metric.as_str()).await;
    let got = got.map_err(|error| client(source, &error))?;
    source.answered();
    let Some(Fetched { stat, content, answered_at }) = got else { return Ok(None) };
    if !is_compressed(&content) {
        // Nothing is sent on unchecked: a Go daemon accepts anything (D45).
        Image::parse(&content)
            .map_err(|error| lasting(source, FailureKind::SourceDamaged, chain(&error)))?;
    }
    let digest = Digest::of(&content);
    let stored_as = renames.of(metric).unwrap_or(metric).clone();
    let rest = rest(stat.mod_time, answered_at);
    Ok(Some(Copied { metric: metric.clone(), stored_as, stat, content, digest, rest }))
}
