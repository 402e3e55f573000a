//! What a tombstone needs before it is unlinked, tested with owners that misbehave.

mod answers;
mod reshaped;
mod without_v1;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use bucky_api::archive::{Limits, Member, read_archive};
use bucky_api::go::{METRIC_STAT_HEADER, MetricStat};
use bucky_api::{
    Client, ConfirmLine, ConfirmOutcome, ConfirmRequest, DaemonAddr, DiskStatus, HealLine,
    HealOutcome, InventoryState, InventoryStatus, Status, Timeouts, TransferStatus,
};
use bucky_whisper::{Clocks, Coverage, Digest, Image};
use tempfile::TempDir;

use super::*;
use crate::inventory::Inventory;
use crate::store::StoreOptions;
use crate::store::tests::{options, whisper, whisper_of};

struct Fixture {
    sweeper: Sweeper,
    prefix: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self::within(Duration::from_secs(60))
    }

    /// A fixture in which all files are too long for memory.
    fn of_long_files() -> Self {
        Self::of(Duration::from_secs(60), StoreOptions { file_limit_bytes: 700, ..options() })
    }

    /// A fixture with this time limit for an owner's answer.
    fn within(limit: Duration) -> Self {
        Self::of(limit, options())
    }

    fn of(limit: Duration, options: StoreOptions) -> Self {
        let prefix = tempfile::tempdir().unwrap();
        let inventory = Arc::new(Inventory::new(prefix.path(), Duration::from_secs(60)));
        let store =
            Arc::new(Volumes::open(prefix.path(), None, Vec::new(), inventory, options).unwrap());
        let timeouts =
            Timeouts { connect: limit, answer: limit, idle: limit, upload: limit, away: limit };
        let peers = Peers::everybody(Client::new(timeouts).unwrap());
        Self { sweeper: Sweeper::new(store, peers, Duration::ZERO), prefix }
    }

    /// A batch of tombstones: for each a metric, its content, and the digest with which it was healed.
    fn tombstones(&self, owner: &DaemonAddr, tombstones: &[(&str, &[u8], Digest)]) -> PathBuf {
        self.tombstones_for(std::slice::from_ref(owner), tombstones)
    }

    /// A batch of tombstones with these owners.
    fn tombstones_for(
        &self,
        owners: &[DaemonAddr],
        tombstones: &[(&str, &[u8], Digest)],
    ) -> PathBuf {
        let tombstones_dir = self.prefix.path().join(".bucky/tombstones");
        let folder = tombstones_dir.join(uuid::Uuid::new_v4().to_string());
        fs::create_dir(&folder).unwrap();
        let mut manifest = String::new();
        for (seq, (metric, content, digest)) in tombstones.iter().enumerate() {
            fs::write(folder.join(seq.to_string()), content).unwrap();
            let line = serde_json::json!({
                "seq": seq, "metric": metric, "digest": digest, "owners": owners,
            });
            manifest.push_str(&format!("{line}\n"));
        }
        fs::write(folder.join("manifest"), manifest).unwrap();
        folder
    }

    /// Tries every batch, also one that should be left alone for a while.
    async fn sweep(&self) {
        for waiting in self.sweeper.batches().values_mut() {
            if let Some(held) = &mut waiting.held {
                held.retry_at = Instant::now();
            }
        }
        self.sweeper.refresh().await.unwrap();
        self.sweeper.sweep(self.sweeper.queue()).await;
    }
}

type Confirm = dyn Fn(ConfirmRequest) -> Vec<ConfirmLine> + Send + Sync;
type Heal = dyn Fn(Vec<Member>) -> Vec<HealLine> + Send + Sync;

/// An owner that gives the answers of a test.
#[derive(Clone)]
struct Owner {
    confirm: Arc<Confirm>,
    heal: Arc<Heal>,
}

impl Owner {
    async fn start(self) -> DaemonAddr {
        let confirm = |State(owner): State<Self>, Json(request): Json<ConfirmRequest>| async move {
            lines(&(owner.confirm)(request))
        };
        let heal = |State(owner): State<Self>, body: Bytes| async move {
            let mut members = Vec::new();
            read_archive(&*body, Limits::default(), |member| members.push(member)).unwrap();
            lines(&(owner.heal)(members))
        };
        let router = Router::new()
            .route("/v1/status", get(async || Json(status())))
            .route("/v1/confirm", post(confirm))
            .route("/v1/heal", post(heal))
            .with_state(self);
        serve(router).await
    }
}

async fn serve(router: Router) -> DaemonAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string().parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    addr
}

/// An owner that never answers, and how often it was asked.
async fn start_silent() -> (DaemonAddr, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    let silent = Router::new().fallback(async move || {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<()>().await;
    });
    (serve(silent).await, asked)
}

fn lines<T: serde::Serialize>(values: &[T]) -> String {
    values.iter().map(|value| serde_json::to_string(value).unwrap() + "\n").collect()
}

fn status() -> Status {
    Status {
        node: "owner".into(),
        store_id: "another".into(),
        version: "0".into(),
        api_level: bucky_api::API_LEVEL,
        ring_fingerprint: String::new(),
        metrics: Some(0),
        inventory: InventoryStatus {
            state: InventoryState::Ready,
            age_seconds: None,
            scan_seconds: None,
            unplaceable: 0,
            series: None,
            unusable: 0,
            unreadable_folders: 0,
            not_served: bucky_api::NotServed::default(),
            problem: String::new(),
        },
        disk: DiskStatus::default(),
        volumes: Vec::new(),
        tombstones: TombstoneStatus::default(),
        transfers: TransferStatus { sending: 0, receiving: 0, limit: 1 },
        local_prefixes: Vec::new(),
        replaced: bucky_api::ReplacedStatus::default(),
        read_only: String::new(),
        former_members: Vec::new(),
        former_ring: None,
        ring_file: None,
        received: None,
    }
}

fn confirmed(outcomes: &'static [ConfirmOutcome]) -> Arc<Confirm> {
    Arc::new(move |request: ConfirmRequest| {
        let metrics = request.metrics.into_iter().zip(outcomes);
        metrics
            .map(|(metric, outcome)| ConfirmLine {
                metric: metric.name,
                outcome: *outcome,
                points_missing: 0,
                reason: String::new(),
            })
            .collect()
    })
}

/// Heals with the first of these outcomes, the next time with the second, and so on. The last one is
/// repeated.
fn healed(outcomes: &'static [HealOutcome]) -> Arc<Heal> {
    let calls = AtomicU64::new(0);
    Arc::new(move |members: Vec<Member>| {
        let call = usize::try_from(calls.fetch_add(1, Ordering::Relaxed)).unwrap();
        let line = |member: Member| HealLine {
            metric: member.metric,
            stored_as: None,
            outcome: outcomes[call.min(outcomes.len() - 1)],
            points: 0,
            held: None,
            difference: None,
            bytes: 0,
            digest: Some(member.digest),
            problem: None,
            reason: String::new(),
        };
        members.into_iter().map(line).collect()
    })
}
