//! One look at one batch of tombstones: heal what changed, ask the owners, unlink what all have confirmed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bucky_api::archive::{ArchiveWriter, FileMeta};
use bucky_api::{
    ClientError, ConfirmLine, ConfirmMetric, ConfirmOutcome, ConfirmRequest, Daemon, DaemonAddr,
    Encoding, HealLine, Slot, chain,
};
use bucky_whisper::{Digest, Image, MetricName};
use bytes::Bytes;

use super::Sweeper;
use crate::blocking::blocking;
use crate::slots;
use crate::store::{BatchId, Burial, Tombstone, unix_now};

/// How many tombstones are worked on together.
const CHUNK: usize = 500;
/// How many bytes of files are sent in one stream.
const STREAM_BYTES: usize = 32 * 1024 * 1024;

/// What is left of a batch, and why.
#[derive(Default)]
pub(super) struct RoundOutcome {
    pub(super) left: u64,
    pub(super) reasons: BTreeMap<String, u64>,
}

impl RoundOutcome {
    fn hold(&mut self, reason: String) {
        self.left += 1;
        *self.reasons.entry(reason).or_default() += 1;
    }
}

/// A tombstone as it is now.
struct Body {
    tombstone: Tombstone,
    /// The digest of its content now.
    digest: Digest,
    /// What the owners are asked for.
    slots: Vec<Slot>,
}

impl Body {
    fn has_changed(&self) -> bool {
        self.digest != self.tombstone.digest
    }
}

impl Sweeper {
    /// Works on `batch` once.
    pub(super) async fn round(&self, batch: &BatchId) -> RoundOutcome {
        let mut outcome = RoundOutcome::default();
        let store = Arc::clone(&self.store);
        let id = batch.clone();
        let tombstones = match blocking(move || store.tombstones(&id)).await {
            Ok(Ok(tombstones)) => tombstones,
            Ok(Err(error)) => {
                outcome.hold(chain(&error));
                return outcome;
            }
            Err(error) => {
                outcome.hold(error.to_string());
                return outcome;
            }
        };
        for chunk in tombstones.chunks(CHUNK) {
            self.work_on(batch, chunk, &mut outcome).await;
        }
        if outcome.left == 0 {
            let store = Arc::clone(&self.store);
            let id = batch.clone();
            match blocking(move || store.close_batch(&id)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    outcome.hold("a tombstone appeared while its batch was being closed".into())
                }
                Ok(Err(error)) => outcome.hold(chain(&error)),
                Err(error) => outcome.hold(error.to_string()),
            }
        }
        outcome
    }

    async fn work_on(&self, batch: &BatchId, tombstones: &[Tombstone], outcome: &mut RoundOutcome) {
        let bodies = self.read(batch, tombstones, outcome).await;
        let owners: BTreeSet<&DaemonAddr> =
            bodies.iter().flat_map(|body| &body.tombstone.owners).collect();
        // Why a tombstone must wait, by its number.
        let mut waits: HashMap<usize, String> = HashMap::new();
        for owner in owners {
            let of_owner: Vec<&Body> =
                bodies.iter().filter(|body| body.tombstone.owners.contains(owner)).collect();
            self.confirm_at(batch, owner, &of_owner, &mut waits).await;
        }
        let mut buried = 0;
        for body in &bodies {
            if let Some(reason) = waits.remove(&body.tombstone.seq) {
                outcome.hold(reason);
                continue;
            }
            let (store, id) = (Arc::clone(&self.store), batch.clone());
            let (seq, digest) = (body.tombstone.seq, body.digest);
            match blocking(move || store.bury(&id, seq, digest)).await {
                Ok(Ok(Burial::Done)) => buried += 1,
                Ok(Ok(Burial::Changed)) => outcome.hold("a writer still writes to it".into()),
                Ok(Err(error)) => outcome.hold(chain(&error)),
                Err(error) => outcome.hold(error.to_string()),
            }
        }
        tracing::debug!(buried, "tombstones confirmed and removed");
    }

    /// The tombstones as they are now; those that cannot be read wait.
    async fn read(
        &self,
        batch: &BatchId,
        tombstones: &[Tombstone],
        outcome: &mut RoundOutcome,
    ) -> Vec<Body> {
        let (store, id, tombstones) = (Arc::clone(&self.store), batch.clone(), tombstones.to_vec());
        let read = blocking(move || {
            let now = unix_now();
            let read = tombstones.into_iter().map(|tombstone| {
                match store.read_tombstone(&id, tombstone.seq) {
                    Ok(file) => {
                        let slots = Image::parse(&file.content)
                            .map(|image| slots::sample(&image, now))
                            .unwrap_or_default();
                        Ok(Body { tombstone, digest: file.digest, slots })
                    }
                    Err(error) => Err(chain(&error)),
                }
            });
            read.collect::<Vec<_>>()
        });
        match read.await {
            Ok(read) => read
                .into_iter()
                .filter_map(|body| body.map_err(|reason| outcome.hold(reason)).ok())
                .collect(),
            Err(error) => {
                outcome.hold(error.to_string());
                Vec::new()
            }
        }
    }

    /// Asks one owner for the points of `bodies`, and heals what changed or is not there.
    async fn confirm_at(
        &self,
        batch: &BatchId,
        owner: &DaemonAddr,
        bodies: &[&Body],
        waits: &mut HashMap<usize, String>,
    ) {
        let daemon = self.client.daemon(owner.clone());
        let mut wait = |body: &Body, reason: String| {
            waits.entry(body.tombstone.seq).or_insert(reason);
        };
        let (changed, same): (Vec<&Body>, Vec<&Body>) =
            bodies.iter().partition(|body| body.has_changed());
        let mut to_heal = changed;
        match ask(&daemon, &same).await {
            Ok(lines) => {
                let found: HashMap<&MetricName, &ConfirmLine> =
                    lines.iter().map(|line| (&line.metric, line)).collect();
                for body in same {
                    match found.get(&body.tombstone.metric).map(|line| (line.outcome, line)) {
                        Some((ConfirmOutcome::Complete, _)) => {}
                        Some((ConfirmOutcome::Missing | ConfirmOutcome::Incomplete, _)) => {
                            to_heal.push(body)
                        }
                        Some((ConfirmOutcome::Unreadable, line)) => {
                            wait(body, format!("{owner} cannot read it: {}", line.reason));
                        }
                        None => wait(body, format!("{owner} said nothing about it")),
                    }
                }
            }
            Err(error) => same.into_iter().for_each(|body| wait(body, chain(&error))),
        }
        self.heal_at(batch, &daemon, &to_heal, waits).await;
    }

    /// Sends tombstones to an owner once more. What is healed so counts as confirmed unless it was missing: then the
    /// next round asks again.
    async fn heal_at(
        &self,
        batch: &BatchId,
        daemon: &Daemon,
        bodies: &[&Body],
        waits: &mut HashMap<usize, String>,
    ) {
        let mut rest = bodies;
        while !rest.is_empty() {
            let (stream, taken) = self.stream(batch, rest).await;
            let (now, later) = rest.split_at(taken);
            rest = later;
            let lines = match stream {
                Ok(stream) => heal(daemon, stream).await.map_err(|error| chain(&error)),
                Err(error) => Err(error),
            };
            let healed: Result<HashMap<MetricName, HealLine>, String> = lines
                .map(|lines| lines.into_iter().map(|line| (line.metric.clone(), line)).collect());
            for body in now {
                let reason = match &healed {
                    Err(error) => Some(error.clone()),
                    Ok(lines) => match lines.get(&body.tombstone.metric) {
                        Some(line)
                            if line.outcome.is_healed() && line.digest == Some(body.digest) =>
                        {
                            // Asked again in the next round, as everything is that was not there.
                            (!body.has_changed()).then(|| {
                                format!("{} lacked points and was healed again", daemon.addr())
                            })
                        }
                        Some(line) if line.outcome.is_healed() => {
                            Some("a writer still writes to it".into())
                        }
                        Some(line) => {
                            Some(format!("{} could not heal it: {}", daemon.addr(), line.reason))
                        }
                        None => Some(format!("{} said nothing about it", daemon.addr())),
                    },
                };
                if let Some(reason) = reason {
                    waits.entry(body.tombstone.seq).or_insert(reason);
                }
            }
        }
    }

    /// An archive stream of the first of `bodies`, as many as fit, and how many those are (at least one).
    async fn stream(&self, batch: &BatchId, bodies: &[&Body]) -> (Result<Bytes, String>, usize) {
        let wanted: Vec<(usize, MetricName)> =
            bodies.iter().map(|body| (body.tombstone.seq, body.tombstone.metric.clone())).collect();
        let (store, id) = (Arc::clone(&self.store), batch.clone());
        let made = blocking(move || {
            let mut archive = ArchiveWriter::new(Vec::new());
            let mut bytes = 0;
            let mut taken = 0;
            for (seq, metric) in wanted {
                if bytes >= STREAM_BYTES {
                    break;
                }
                taken += 1;
                let file = match store.read_tombstone(&id, seq) {
                    Ok(file) => file,
                    Err(error) => return (Err(chain(&error)), taken),
                };
                bytes += file.content.len();
                let FileMeta { mode, mtime } = file.meta;
                if let Err(error) =
                    archive.append(&metric, FileMeta { mode, mtime }, file.digest, &file.content)
                {
                    return (Err(error.to_string()), taken);
                }
            }
            (archive.finish().map(Bytes::from).map_err(|error| error.to_string()), taken)
        });
        made.await.unwrap_or_else(|error| (Err(error.to_string()), bodies.len()))
    }
}

async fn ask(daemon: &Daemon, bodies: &[&Body]) -> Result<Vec<ConfirmLine>, ClientError> {
    if bodies.is_empty() {
        return Ok(Vec::new());
    }
    let metrics = bodies
        .iter()
        .map(|body| ConfirmMetric {
            name: body.tombstone.metric.clone(),
            slots: body.slots.clone(),
        })
        .collect();
    daemon.confirm(&ConfirmRequest { metrics }).await?.collect().await
}

async fn heal(daemon: &Daemon, stream: Bytes) -> Result<Vec<HealLine>, ClientError> {
    let stream = futures_util::stream::once(async { Ok(stream) });
    daemon.heal(Encoding::Identity, stream).await?.collect().await
}
