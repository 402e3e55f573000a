//! What a tombstone needs before it is unlinked, held against owners that misbehave.

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

    /// One to which all files of these tests are too long for memory.
    fn of_long_files() -> Self {
        Self::of(Duration::from_secs(60), StoreOptions { file_limit_bytes: 700, ..options() })
    }

    /// The same, with an owner's answer waited for for so long.
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

    /// A batch of tombstones, each of a metric with a content, healed with a digest.
    fn bury(&self, owner: &DaemonAddr, tombstones: &[(&str, &[u8], Digest)]) -> PathBuf {
        self.bury_for(std::slice::from_ref(owner), tombstones)
    }

    /// The same, of these owners.
    fn bury_for(&self, owners: &[DaemonAddr], tombstones: &[(&str, &[u8], Digest)]) -> PathBuf {
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

    /// Looks at every batch, also at one that was to be left alone for a while.
    async fn sweep(&self) {
        for waiting in self.sweeper.batches().values_mut() {
            if let Some(held) = &mut waiting.held {
                held.retry_at = Instant::now();
            }
        }
        self.sweeper.look().await.unwrap();
        self.sweeper.sweep(self.sweeper.queue()).await;
    }
}

type Confirm = dyn Fn(ConfirmRequest) -> Vec<ConfirmLine> + Send + Sync;
type Heal = dyn Fn(Vec<Member>) -> Vec<HealLine> + Send + Sync;

/// An owner that answers what a test wants.
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

/// Heals with the first of these outcomes, the next time with the second, and so on with the last.
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

#[tokio::test]
async fn what_an_owner_did_not_speak_of_is_not_confirmed() {
    let content = whisper(&[1, 2]);
    let digest = Digest::of(&content);
    for outcomes in [
        // Two tombstones of one metric, and of the first the points are not all there.
        &[ConfirmOutcome::Incomplete, ConfirmOutcome::Complete][..],
        // An answer that stops, in good order, after one of two.
        &[ConfirmOutcome::Complete],
        &[],
    ] {
        let fixture = Fixture::new();
        let heal = healed(&[HealOutcome::Filled]);
        let owner = Owner { confirm: confirmed(outcomes), heal }.start().await;
        let folder = fixture.bury(&owner, &[("a", &content, digest), ("a", &content, digest)]);
        fixture.sweep().await;
        assert!(folder.join("0").exists(), "{outcomes:?}");
        assert!(fixture.sweeper.status().waiting >= 1);
    }
}

#[tokio::test]
async fn what_had_to_be_created_or_filled_again_is_looked_at_once_more_before_it_is_unlinked() {
    let content = whisper(&[1, 2]);
    for (confirm, digest) in [
        (&[ConfirmOutcome::Missing][..], Digest::of(&content)),
        // Changed by a late writer, so that it is healed without being asked for.
        (&[], Digest::of(b"as it was healed")),
    ] {
        let fixture = Fixture::new();
        let heal = healed(&[HealOutcome::Created, HealOutcome::Filled, HealOutcome::Unchanged]);
        let owner = Owner { confirm: confirmed(confirm), heal }.start().await;
        let folder = fixture.bury(&owner, &[("a", &content, digest)]);
        for _ in 0..2 {
            fixture.sweep().await;
            assert!(folder.join("0").exists());
            assert!(fixture.sweeper.status().held[0].reason.contains("healed again"));
        }
        fixture.sweep().await;
        assert!(!folder.exists());
        assert_eq!(fixture.sweeper.status(), TombstoneStatus::default());
    }
}

#[tokio::test]
async fn an_owner_that_never_answers_costs_one_wait_whatever_the_number_of_its_batches() {
    let fixture = Fixture::within(Duration::from_secs(1));
    let content = whisper(&[1]);
    let digest = Digest::of(&content);
    let (silent, asked) = start_silent().await;
    let heal = healed(&[HealOutcome::Unchanged]);
    let owner = Owner { confirm: confirmed(&[ConfirmOutcome::Complete]), heal }.start().await;
    let waiting: Vec<_> =
        (0..20).map(|_| fixture.bury(&silent, &[("a", &content, digest)])).collect();
    let fine: Vec<_> = (0..3).map(|_| fixture.bury(&owner, &[("b", &content, digest)])).collect();
    let begun = Instant::now();
    fixture.sweep().await;
    // Those that were worked on at the same time; and the same again where all the others took so long that it was its turn
    // to be tried again.
    let waits = 1 + begun.elapsed().as_secs() / RETRY_FIRST.as_secs();
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked <= BATCHES_AT_ONCE as u64 * waits, "{asked} in {:?}", begun.elapsed());
    // A machine that is busy elsewhere may have kept the other owner from answering in time.
    for _ in 0..20 {
        if fine.iter().any(|folder| folder.exists()) {
            tokio::time::sleep(RETRY_FIRST).await;
            fixture.sweep().await;
        }
    }
    assert!(fine.iter().all(|folder| !folder.exists()));
    assert!(waiting.iter().all(|folder| folder.join("0").exists()));
    let status = fixture.sweeper.status();
    assert_eq!((status.waiting, status.held.len(), status.held[0].count), (20, 1, 20));
    assert!(status.held[0].reason.contains("did not answer"), "{status:?}");
}

#[tokio::test]
async fn a_daemon_that_is_stopped_does_not_wait_for_an_owner() {
    let fixture = Fixture::new();
    let (silent, asked) = start_silent().await;
    let folder = fixture.bury(&silent, &[("a", &whisper(&[1]), Digest::of(&whisper(&[1])))]);
    let (stop, stopping) = watch::channel(false);
    let running = tokio::spawn(Arc::new(fixture.sweeper).run(stopping));
    let waits_for_it = async {
        while asked.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(50), waits_for_it).await.expect("it is asked");
    let begun = Instant::now();
    stop.send_replace(true);
    running.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(folder.join("0").exists());
}

/// The Go tool's daemon, as far as single metrics go: takes what it lacks.
type GoStore = Arc<Mutex<HashMap<String, Bytes>>>;

async fn start_go_owner(store: &GoStore) -> DaemonAddr {
    async fn fetch(State(store): State<GoStore>, Path(name): Path<String>) -> impl IntoResponse {
        let Some(content) = store.lock().unwrap().get(&name).cloned() else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let size = i64::try_from(content.len()).unwrap();
        let stat = MetricStat { name, size, ..MetricStat::default() };
        ([(METRIC_STAT_HEADER, stat.to_header())], content).into_response()
    }
    async fn fill(
        State(store): State<GoStore>,
        Path(name): Path<String>,
        headers: HeaderMap,
        body: Bytes,
    ) {
        let stat = MetricStat::parse(headers[METRIC_STAT_HEADER].to_str().unwrap()).unwrap();
        assert_eq!((stat.name, stat.size), (name.clone(), i64::try_from(body.len()).unwrap()));
        store.lock().unwrap().insert(name, body);
    }
    let router =
        Router::new().route("/metrics/{name}", get(fetch).post(fill)).with_state(Arc::clone(store));
    serve(router).await
}

#[tokio::test]
async fn an_owner_without_v1_confirms_by_its_files() {
    let fixture = Fixture::new();
    let content = whisper(&[1, 2, 3]);
    let digest = Digest::of(&content);
    let store = GoStore::default();
    // One is whole, with a point of the owner's own; one was emptied by carbon; one is not there.
    store.lock().unwrap().insert("whole".into(), whisper(&[1, 2, 3, 7]).into());
    store.lock().unwrap().insert("emptied".into(), whisper(&[]).into());
    let owner = start_go_owner(&store).await;
    let folder = fixture.bury(
        &owner,
        &[
            ("whole", &content, digest),
            ("emptied", &content, digest),
            ("gone", &content, digest),
            ("changed", &content, Digest::of(b"as it was healed")),
        ],
    );
    fixture.sweep().await;
    assert!(!folder.join("0").exists());
    for (seq, metric) in [(1, "emptied"), (2, "gone"), (3, "changed")] {
        assert!(folder.join(seq.to_string()).exists(), "{metric}");
        let there = store.lock().unwrap()[metric].clone();
        let (source, owner) = (Image::parse(&content).unwrap(), Image::parse(&there).unwrap());
        let clocks = Clocks::at(crate::store::unix_now());
        assert!(Coverage::of(&source, &owner, clocks).is_whole(), "{metric}");
    }
    fixture.sweep().await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_tombstone_that_an_owner_without_v1_refuses_waits_with_its_reason() {
    let fixture = Fixture::new();
    let content = whisper(&[1]);
    let refuse = async || (StatusCode::INTERNAL_SERVER_ERROR, "disk full\n");
    let router =
        Router::new().route("/metrics/{name}", get(async || StatusCode::NOT_FOUND).post(refuse));
    let owner = serve(router).await;
    let folder = fixture.bury(&owner, &[("a", &content, Digest::of(&content))]);
    fixture.sweep().await;
    assert!(folder.join("0").exists());
    assert!(fixture.sweeper.status().held[0].reason.contains("disk full"));
}

/// What an owner's file is after a carbon there has made it anew, and compressed files of other content: no slot of a
/// compressed tombstone can be asked for, so that nothing would be missed in them.
#[tokio::test]
async fn d11_a_compressed_tombstone_is_asked_for_by_its_whole_content() {
    let fixture = Fixture::new();
    let content = b"whisper_compressed and its points".to_vec();
    let digest = Digest::of(&content);
    let asked = move |request: ConfirmRequest| {
        let metric = &request.metrics[0];
        assert_eq!((metric.archives.is_none(), metric.digest), (true, Some(digest)));
        confirmed(&[ConfirmOutcome::Incomplete])(request)
    };
    let refused = |members: Vec<Member>| {
        let line = |member: Member| HealLine {
            metric: member.metric,
            stored_as: None,
            outcome: HealOutcome::Refused,
            points: 0,
            held: None,
            difference: None,
            bytes: 0,
            digest: Some(member.digest),
            problem: Some(bucky_api::Problem::Compressed),
            reason: "one of the two files is compressed".into(),
        };
        members.into_iter().map(line).collect()
    };
    let owner = Owner { confirm: Arc::new(asked), heal: Arc::new(refused) }.start().await;
    let folder = fixture.bury(&owner, &[("a", &content, digest)]);
    fixture.sweep().await;
    assert!(folder.join("0").exists());
    assert!(fixture.sweeper.status().held[0].reason.contains("compressed"));
}

/// A crash before a reshape's exchange leaves the new file where the old one should be: the metric is reshaped by it.
#[tokio::test]
async fn a_reshape_that_a_crash_cut_short_is_finished_and_its_tombstone_goes() {
    for fixture in [Fixture::new(), Fixture::of_long_files()] {
        let own = fixture.prefix.path().join("a.wsp");
        fs::write(&own, whisper_of(&["60s:1h"], &[1, 2])).unwrap();
        let new = whisper_of(&["60s:2h", "5m:1d"], &[1, 2, 100]);
        let folder = fixture.bury_for(&[], &[("a", &new, Digest::of(b""))]);
        for _ in 0..5 {
            fixture.sweep().await;
        }
        assert!(!folder.exists(), "{:?}", fixture.sweeper.status());
        assert_eq!(fixture.sweeper.status(), TombstoneStatus::default());
        let content = fs::read(&own).unwrap();
        let own = Image::parse(&content).unwrap();
        assert_eq!(own.header().layout(), "60s:2h,5m:1d");
        assert!(fs::read_dir(fixture.prefix.path().join(".bucky/tmp")).unwrap().next().is_none());
    }
}

/// The metric was moved away, or deleted, after it was reshaped: its old file brings it back only if somebody wrote to that.
#[tokio::test]
async fn the_old_file_of_a_metric_that_is_gone_creates_it_only_if_it_was_written_to() {
    let fixtures = [Fixture::new, Fixture::of_long_files];
    for (is_written, fixture) in
        [false, true].into_iter().flat_map(|is| fixtures.map(|of| (is, of())))
    {
        let folder = fixture.bury_for(&[], &[("a", &whisper(&[1, 3]), Digest::of(b""))]);
        let mut file = fs::File::options().append(true).open(folder.join("0")).unwrap();
        crate::store::mark_as_set_aside(&file).unwrap();
        if is_written {
            file.write_all(b"\0").unwrap();
            file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        }
        // As a backup does that sets the times of access back: that is no write.
        file.set_permissions(fs::Permissions::from_mode(0o640)).unwrap();
        for _ in 0..3 {
            fixture.sweep().await;
        }
        assert!(!folder.exists());
        assert_eq!(fixture.prefix.path().join("a.wsp").exists(), is_written);
    }
}

/// A daemon below API level 3 calls a file complete of which only a sample is there: its files are fetched and looked at.
#[tokio::test]
async fn d11_nothing_is_confirmed_by_the_word_of_an_older_daemon() {
    let compressed = b"whisper_compressed and its points".to_vec();
    let plain = whisper(&[1, 2]);
    for (tombstone, there, is_held) in [
        (&compressed, compressed.clone(), false),
        (&compressed, b"whisper_compressed, anew".to_vec(), true),
        (&compressed, whisper(&[]), true),
        (&plain, whisper(&[1, 2, 3]), false),
        (&plain, whisper(&[2]), true),
    ] {
        let fixture = Fixture::new();
        let fetch = async move || {
            let size = i64::try_from(there.len()).unwrap();
            let stat = MetricStat { name: "a".into(), size, ..MetricStat::default() };
            ([(METRIC_STAT_HEADER, stat.to_header())], there)
        };
        let refuse = async || (StatusCode::INTERNAL_SERVER_ERROR, "disk full\n");
        let complete = async |Json(request): Json<ConfirmRequest>| {
            lines(&confirmed(&[ConfirmOutcome::Complete])(request))
        };
        let old = Status { api_level: 2, ..status() };
        let router = Router::new()
            .route("/v1/status", get(async || Json(old)))
            .route("/v1/confirm", post(complete))
            .route("/metrics/a", get(fetch).post(refuse));
        let owner = serve(router).await;
        let folder = fixture.bury(&owner, &[("a", tombstone, Digest::of(tombstone))]);
        fixture.sweep().await;
        assert_eq!(folder.join("0").exists(), is_held);
    }
}

/// The owner's file has other points as well: it is asked by maps of all points, and not for a sample.
#[tokio::test]
async fn an_owner_with_another_content_is_asked_for_every_point() {
    let content = whisper(&(1..100).collect::<Vec<u32>>());
    let digest = Digest::of(&content);
    for lacks in [None, Some(50)] {
        let fixture = Fixture::new();
        let ages: Vec<u32> = (0..100).filter(|age| Some(*age) != lacks).collect();
        let owners_file = whisper(&ages);
        let confirm = move |request: ConfirmRequest| {
            let metric = &request.metrics[0];
            let Some(archives) = &metric.archives else {
                return confirmed(&[ConfirmOutcome::Incomplete])(request);
            };
            let maps: Vec<_> = archives.iter().map(|map| map.to_map().unwrap()).collect();
            let clocks = Clocks::at(crate::store::unix_now());
            let image = Image::parse(&owners_file).unwrap();
            let is_whole = Coverage::of_maps(&maps, &image, clocks).is_whole();
            let outcome: &[_] =
                if is_whole { &[ConfirmOutcome::Complete] } else { &[ConfirmOutcome::Incomplete] };
            confirmed(outcome)(request)
        };
        let heal = healed(&[HealOutcome::Filled]);
        let owner = Owner { confirm: Arc::new(confirm), heal }.start().await;
        let folder = fixture.bury(&owner, &[("a", &content, digest)]);
        fixture.sweep().await;
        assert_eq!(folder.exists(), lacks.is_some());
    }
}

#[tokio::test]
async fn a_tombstone_that_is_no_whole_file_waits_for_a_person_whatever_its_owners_say() {
    let whole = whisper(&[1, 2, 3]);
    for content in [&b""[..], b"not whisper at all", &whole[..whole.len() - 100]] {
        let fixture = Fixture::new();
        let heal = healed(&[HealOutcome::Unchanged]);
        let owner = Owner { confirm: confirmed(&[ConfirmOutcome::Complete]), heal }.start().await;
        let folder = fixture.bury(&owner, &[("a", content, Digest::of(content))]);
        fixture.sweep().await;
        assert!(folder.join("0").exists());
        let held = fixture.sweeper.status().held;
        assert!(held[0].reason.contains("not a valid Whisper file"), "{held:?}");
    }
}

/// The old file of a metric that was reshaped: what came late goes to the metric's own file, and then it can go.
#[tokio::test]
async fn the_old_file_of_a_reshaped_metric_is_confirmed_by_the_metrics_own_file() {
    for fixture in [Fixture::new(), Fixture::of_long_files()] {
        let own = fixture.prefix.path().join("a.wsp");
        fs::write(&own, whisper(&[3, 4])).unwrap();
        let folder = fixture.bury_for(&[], &[("a", &whisper(&[1, 3]), Digest::of(b""))]);
        fixture.sweep().await;
        assert!(folder.join("0").exists(), "it had to be filled from it");
        fixture.sweep().await;
        assert!(!folder.exists(), "{:?}", fixture.sweeper.status());
        let content = fs::read(&own).unwrap();
        let (late, own) = (whisper(&[1, 3]), Image::parse(&content).unwrap());
        let late = Image::parse(&late).unwrap();
        assert!(Coverage::of(&late, &own, Clocks::at(crate::store::unix_now())).is_whole());
    }
}

#[tokio::test]
async fn d11_an_owner_without_v1_confirms_a_compressed_tombstone_by_the_same_content_and_is_sent_no_other()
 {
    let content = b"whisper_compressed and its points".to_vec();
    let digest = Digest::of(&content);
    for (there, is_held) in [
        (Some(content.clone()), false),
        (Some(b"whisper_compressed and others".to_vec()), true),
        (Some(whisper(&[1])), true),
    ] {
        let fixture = Fixture::new();
        let store = GoStore::default();
        store.lock().unwrap().extend(there.clone().map(|there| ("a".to_owned(), there.into())));
        let owner = start_go_owner(&store).await;
        let folder = fixture.bury(&owner, &[("a", &content, digest)]);
        fixture.sweep().await;
        assert_eq!(folder.exists(), is_held);
        assert_eq!(Some(&store.lock().unwrap()["a"][..]), there.as_deref());
        let held = fixture.sweeper.status().held;
        assert_eq!(held.iter().any(|held| held.reason.contains("compressed")), is_held, "{held:?}");
    }
}
