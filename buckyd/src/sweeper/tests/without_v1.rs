//! Owners that cannot prove what they hold.

use super::*;

/// The files of a Go tool's daemon.
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
    // One file is complete, with a point of the owner's own. One was emptied by carbon. One does not exist.
    store.lock().unwrap().insert("whole".into(), whisper(&[1, 2, 3, 7]).into());
    store.lock().unwrap().insert("emptied".into(), whisper(&[]).into());
    let owner = start_go_owner(&store).await;
    let folder = fixture.tombstones(
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
        let clocks = Clocks::at(bucky_api::clock::unix_now());
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
    let folder = fixture.tombstones(&owner, &[("a", &content, Digest::of(&content))]);
    fixture.sweep().await;
    assert!(folder.join("0").exists());
    assert!(fixture.sweeper.status().held[0].reason.contains("disk full"));
}

/// A daemon below API level 3 calls a file complete if a sample is there. Its files are fetched and compared.
#[tokio::test]
async fn d11_an_older_daemon_confirms_nothing_by_its_answers() {
    let compressed = b"whisper_compressed and its points".to_vec();
    let plain = whisper(&[1, 2]);
    for (tombstone, there, is_held) in [
        (&compressed, compressed.clone(), false),
        (&compressed, b"whisper_compressed, again".to_vec(), true),
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
        let folder = fixture.tombstones(&owner, &[("a", tombstone, Digest::of(tombstone))]);
        fixture.sweep().await;
        assert_eq!(folder.join("0").exists(), is_held);
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
        let folder = fixture.tombstones(&owner, &[("a", &content, digest)]);
        fixture.sweep().await;
        assert_eq!(folder.exists(), is_held);
        assert_eq!(Some(&store.lock().unwrap()["a"][..]), there.as_deref());
        let held = fixture.sweeper.status().held;
        assert_eq!(held.iter().any(|held| held.reason.contains("compressed")), is_held, "{held:?}");
    }
}
