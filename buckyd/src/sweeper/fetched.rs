//! Owners that cannot prove what they hold: a daemon of the Go tool, or one of ours below API level 3. Their files are fetched
//! and looked at here.

use std::sync::Arc;

use bucky_api::client::Fetched;
use bucky_api::go::MetricStat;
use bucky_api::token::Operation;
use bucky_api::{Daemon, DaemonAddr, chain};
use bucky_whisper::{AggregationSix, Coverage, FillOptions, Image, ImageError};

use super::Sweeper;
use super::owner::{Trouble, clocks_with, healed_again, within};
use super::round::{Body, WRITTEN_TO};
use crate::blocking::blocking;
use crate::store::{BatchId, FileReader, Snapshot};

/// How many times its length an owner's file takes while it is looked at: as it is, and as a fill would make it.
const LOOK_TIMES: u64 = 3;

impl Sweeper {
    /// Confirms one tombstone by the owner's file. None where that holds all of it, else why the tombstone must wait.
    pub(super) async fn confirm_by_its_file(
        &self,
        batch: &BatchId,
        owner: &DaemonAddr,
        body: &Body,
    ) -> Result<Option<String>, Trouble> {
        let operations = [Operation::Read, Operation::Update];
        let daemon = &self.peers.daemon(owner, &operations, [&body.tombstone.metric])?;
        let metric = body.tombstone.metric.as_str();
        // The owner's file is held, and looked at, before anything else is.
        let stat = within(daemon, daemon.go_stat(metric)).await?;
        let limit_bytes = stat.map_or(0, |stat| usize::try_from(stat.size).unwrap_or(0));
        // What it says need not be a length: one that no memory has room for is refused.
        let bytes = (limit_bytes as u64).saturating_mul(LOOK_TIMES);
        let share = self.store.memory().receiving.share(bytes).await;
        let _share = share.map_err(|error| error.to_string())?;
        let found = within(daemon, daemon.go_get_at_most(metric, limit_bytes)).await?;
        let (store, id, seq) = (Arc::clone(&self.store), batch.clone(), body.tombstone.seq);
        let file = blocking(move || {
            let mut files = FileReader::new(&store);
            store.read_tombstone(&id, seq, &mut files).map_err(|error| chain(&error))
        });
        let file = file.await.map_err(|error| error.to_string())??;
        if file.digest() != body.digest {
            return Ok(Some(WRITTEN_TO.into()));
        }
        let given = match found {
            None => file.content.clone(),
            Some(Fetched { content, .. }) => match given_to(&content, &file, body, daemon) {
                Ok(None) => return Ok(None),
                Ok(Some(given)) => given,
                Err(reason) => return Ok(Some(reason)),
            },
        };
        let stat = MetricStat {
            name: metric.to_owned(),
            size: i64::try_from(given.len()).unwrap_or(i64::MAX),
            mode: i64::from(file.meta.mode),
            mod_time: i64::try_from(file.meta.mtime).unwrap_or(0),
            encoding: 0,
        };
        within(daemon, daemon.go_fill(metric, &stat, given.into())).await?;
        Ok(Some(healed_again(daemon)))
    }
}

/// What an owner without `/v1` is given whose file is `content`: that file with the points of the tombstone, as the Go tool's
/// fill overwrites the good point behind a gap with what it gets. None where it holds all of them.
///
/// # Errors
/// Why the tombstone has to wait.
fn given_to(
    content: &[u8],
    tombstone: &Snapshot,
    body: &Body,
    daemon: &Daemon,
) -> Result<Option<Vec<u8>>, String> {
    if content == tombstone.content {
        return Ok(None);
    }
    let addr = daemon.addr();
    let (source, destination) = match (Image::parse(&tombstone.content), Image::parse(content)) {
        (Ok(source), Ok(destination)) => (source, destination),
        (Err(ImageError::Compressed), _) | (_, Err(ImageError::Compressed)) => {
            return Err(format!(
                "{addr} has other content, and one of the two files is compressed: their points cannot be merged"
            ));
        }
        (_, Err(error)) => return Err(format!("{addr}'s file is corrupt: {}", chain(&error))),
        (Err(error), _) => return Err(chain(&error)),
    };
    let clocks = clocks_with(daemon);
    // Which points are filled does not depend on what aggregation 6 means.
    let options = FillOptions { clocks, aggregation_six: AggregationSix::AvgZero };
    let plan = bucky_whisper::fill(&source, &destination, options);
    let coverage = Coverage::of(&source, &destination, clocks);
    let tombstone_of = &body.tombstone;
    let (rule, given_up) = (tombstone_of.on_schema_difference, tombstone_of.points_given_up);
    if rule.accepts_at_most(&coverage, given_up) {
        return Ok(None);
    }
    if plan.is_empty() {
        return Err(no_place(addr, &source, &destination));
    }
    let mut given = content.to_vec();
    plan.apply(&mut given);
    Ok(Some(given))
}

/// Why a tombstone waits whose points have no place at an owner: the same words for all metrics of these layouts.
fn no_place(owner: &DaemonAddr, source: &Image<'_>, destination: &Image<'_>) -> String {
    format!(
        "{owner} has no place for some of its points: the deleted file has {}, the owner's file {}",
        source.header().layout(),
        destination.header().layout()
    )
}
