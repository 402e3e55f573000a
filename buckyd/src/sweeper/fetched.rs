//! Owners that cannot prove what they hold: a daemon of the Go tool, or one of ours below API level 3. Their
//! files are fetched and compared here.

use std::sync::Arc;

use bucky_api::client::Fetched;
use bucky_api::go::owner::NotComparable;
use bucky_api::go::{self, MetricStat};
use bucky_api::token::Operation;
use bucky_api::{Daemon, DaemonAddr, SchemaDifference, chain};

use super::Sweeper;
use super::exchange::{Trouble, clocks_with, within};
use super::round::ReadTombstone;
use crate::blocking::blocking;
use crate::store::{Answer, BatchId, FileReader, Snapshot, Tombstone};

/// How many times its length an owner's file takes in memory while it is compared: its content, and its
/// content after a fill.
const LOOK_TIMES: u64 = 3;

impl Sweeper {
    /// Answers for an owner about one tombstone, from the owner's file. What the file lacks is sent to the
    /// owner.
    pub(super) async fn ask_by_its_file(
        &self,
        batch: &BatchId,
        owner: &DaemonAddr,
        one: &ReadTombstone,
    ) -> Result<Answer, Trouble> {
        let operations = [Operation::Read, Operation::Update];
        let daemon = &self.peers.daemon(owner, &operations, [&one.tombstone.metric])?;
        let metric = one.tombstone.metric.as_str();
        // The owner's file is fetched and compared first.
        let stat = within(daemon, daemon.go_stat(metric)).await?;
        let limit_bytes = stat.map_or(0, |stat| usize::try_from(stat.size).unwrap_or(0));
        // The announced value need not be a length. One that does not fit into memory is refused.
        let bytes = (limit_bytes as u64).saturating_mul(LOOK_TIMES);
        let share = self.store.memory().receiving.share(bytes).await;
        let _share = share.map_err(|error| error.to_string())?;
        let found = within(daemon, daemon.go_get_at_most(metric, limit_bytes)).await?;
        let (store, id, seq) = (Arc::clone(&self.store), batch.clone(), one.seq());
        let file = blocking(move || {
            let mut files = FileReader::new(&store);
            store.read_tombstone(&id, seq, &mut files).map_err(|error| chain(&error))
        });
        let file = file.await.map_err(|error| error.to_string())??;
        if file.digest() != one.digest() {
            return Ok(Answer::WrittenTo);
        }
        let sent = match found {
            None => file.content.clone(),
            Some(Fetched { content, .. }) => {
                match compared(&content, &file, &one.tombstone, daemon) {
                    Compared::Answered(answer) => return Ok(answer),
                    Compared::Lacks(sent) => sent,
                }
            }
        };
        let stat = MetricStat {
            name: metric.to_owned(),
            size: i64::try_from(sent.len()).unwrap_or(i64::MAX),
            mode: i64::from(file.meta.mode),
            mod_time: i64::try_from(file.meta.mtime).unwrap_or(0),
            encoding: 0,
        };
        within(daemon, daemon.go_fill(metric, &stat, sent.into())).await?;
        Ok(Answer::HealedAgain)
    }
}

/// The result of comparing a tombstone with `owned`, the owner's file.
enum Compared {
    /// No further request is needed.
    Answered(Answer),
    /// It lacks points. This file must be sent to it.
    Lacks(Vec<u8>),
}

fn compared(owned: &[u8], file: &Snapshot, tombstone: &Tombstone, daemon: &Daemon) -> Compared {
    let (addr, clocks) = (daemon.addr(), clocks_with(daemon));
    let no = |error: NotComparable| Answer::No(format!("{addr}: {}", chain(&error)));
    let held = match go::owner::held(&file.content, owned, clocks) {
        Ok(held) => held,
        Err(error) => return Compared::Answered(no(error)),
    };
    let rule = tombstone.on_schema_difference;
    if rule.accepts_at_most(&held.coverage, tombstone.points_given_up) {
        return Compared::Answered(Answer::Holds);
    }
    match go::owner::to_send(&file.content, owned, clocks) {
        Ok(Some(content)) => Compared::Lacks(content),
        Ok(None) => Compared::Answered(Answer::No(no_place(addr, held.difference.as_ref()))),
        Err(error) => Compared::Answered(no(error)),
    }
}

/// The reason for a tombstone whose points have no place at an owner. It is the same text for all metrics of
/// these schemas.
pub(super) fn no_place(owner: &DaemonAddr, difference: Option<&SchemaDifference>) -> String {
    let schemas = difference.map(|difference| {
        let (source, owned) = (&difference.source.archives, &difference.owner.archives);
        format!(": the deleted file has {source}, the owner's file {owned}")
    });
    format!("{owner} has no place for some of its points{}", schemas.unwrap_or_default())
}
