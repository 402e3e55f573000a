//! The mover against daemons that answer as a test wants.

mod one_by_one;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bucky_api::go::MetricStat;
use bucky_api::{DeleteOutcome, HealLine, HealOutcome, Problem};
use bucky_whisper::{CreateOptions, FileLayout, MetricName, OpenMode, Point, WhisperFile, create};

use super::fake::{
    FakeMember, GoFiles, batch, go_daemon, go_daemon_at, healed, healing_daemon, heals_all, mover,
    pulled, source,
};
use crate::fake_daemon::{Reply, daemon, daemon_at};
use crate::run::failure_kind::FailureKind;
use crate::transfer::batch_end::BatchEnd;
use crate::transfer::batch_run::run_batch;

fn names(end: &BatchEnd) -> Vec<String> {
    let mut names: Vec<String> = end.done.iter().map(ToString::to_string).collect();
    names.sort();
    names
}

fn failures(end: &BatchEnd) -> Vec<String> {
    let failures = end.failed.iter();
    let mut texts: Vec<String> = failures
        .map(|(metric, failure)| format!("{metric}: {}: {}", failure.kind, failure.reason))
        .collect();
    texts.sort();
    texts
}

#[tokio::test]
async fn a_metric_that_all_owners_healed_is_deleted_with_their_receipt() {
    let (a, b) = (daemon(heals_all("x")).await, daemon(heals_all("x")).await);
    let (c, deletes) = source(|_, _| DeleteOutcome::Deleted).await;
    let members = vec![
        FakeMember::v1("a", a.clone()),
        FakeMember::v1("b", b.clone()),
        FakeMember::v1("c", c),
    ];
    let (mover, source) = mover(members, true);
    let (_, end) = run_batch(&mover, &source, batch(&[0, 1], &["m.one", "m.two"])).await;
    assert!(end.is_finished && end.failed.is_empty());
    assert_eq!(names(&end), ["m.one", "m.two"]);
    let deletes = deletes.lock().unwrap();
    assert_eq!(deletes.len(), 1);
    for metric in &deletes[0].metrics {
        assert_eq!(metric.digest, bucky_whisper::Digest::of(b"x"));
        assert_eq!(metric.owners, [a.clone(), b.clone()]);
    }
    let counts = mover.records.tally.counts();
    assert_eq!((counts.moved, counts.created, counts.bytes), (2, 2, 40));
}

#[tokio::test]
async fn without_a_delete_the_source_is_not_even_asked() {
    let a = daemon(heals_all("x")).await;
    let (b, deletes) = source(|_, _| DeleteOutcome::Deleted).await;
    let (mover, source) = mover(vec![FakeMember::v1("a", a), FakeMember::v1("b", b)], false);
    let (_, end) = run_batch(&mover, &source, batch(&[0], &["m"])).await;
    assert_eq!(names(&end), ["m"]);
    assert!(deletes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_metric_that_one_owner_refuses_is_named_and_not_deleted() {
    let a = daemon(heals_all("x")).await;
    let b = daemon(|request| {
        let line = |metric| match pulled(&request).iter().position(|name| name == metric) {
            Some(0) => HealLine {
                outcome: HealOutcome::Refused,
                digest: None,
                problem: Some(Problem::DestinationDamaged),
                reason: "header cut off".into(),
                ..healed(metric, "")
            },
            _ => healed(metric, "x"),
        };
        Reply::lines(&pulled(&request).iter().map(line).collect::<Vec<_>>())
    })
    .await;
    let (c, deletes) = source(|_, _| DeleteOutcome::Deleted).await;
    let members = vec![FakeMember::v1("a", a), FakeMember::v1("b", b), FakeMember::v1("c", c)];
    let (mover, source) = mover(members, true);
    let (_, end) = run_batch(&mover, &source, batch(&[0, 1], &["m.bad", "m.good"])).await;
    assert_eq!(names(&end), ["m.good"]);
    assert_eq!(failures(&end), ["m.bad: owner's file damaged: header cut off"]);
    assert_eq!(deletes.lock().unwrap()[0].metrics.len(), 1);
}

/// D30: the Go tool loses points that are written between copy and delete.
#[tokio::test]
async fn a_source_that_has_changed_is_healed_again_before_it_is_deleted() {
    let pulls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&pulls);
    let a = daemon(move |request| {
        let content = if counted.fetch_add(1, Ordering::SeqCst) == 0 { "before" } else { "after" };
        Reply::lines(
            &pulled(&request).iter().map(|metric| healed(metric, content)).collect::<Vec<_>>(),
        )
    })
    .await;
    let changed =
        |round, _: &_| if round == 0 { DeleteOutcome::Changed } else { DeleteOutcome::Deleted };
    let (b, deletes) = source(changed).await;
    let (mover, source) = mover(vec![FakeMember::v1("a", a), FakeMember::v1("b", b)], true);
    let (_, end) = run_batch(&mover, &source, batch(&[0], &["m"])).await;
    assert_eq!(names(&end), ["m"]);
    assert_eq!(pulls.load(Ordering::SeqCst), 2);
    let digests: Vec<_> =
        deletes.lock().unwrap().iter().map(|request| request.metrics[0].digest).collect();
    assert_eq!(
        digests,
        [bucky_whisper::Digest::of(b"before"), bucky_whisper::Digest::of(b"after")]
    );
    assert_eq!(mover.records.tally.counts().moved, 1);
}

#[tokio::test]
async fn a_source_that_changes_all_the_time_is_left_and_named() {
    let a = daemon(heals_all("x")).await;
    let (b, _) = source(|_, _| DeleteOutcome::Changed).await;
    let (mover, source) = mover(vec![FakeMember::v1("a", a), FakeMember::v1("b", b)], true);
    let (_, end) = run_batch(&mover, &source, batch(&[0], &["m"])).await;
    assert!(end.is_finished && end.done.is_empty());
    assert_eq!(end.failed[0].1.kind, FailureKind::KeepsChanging);
}

#[tokio::test]
async fn owners_that_healed_from_two_contents_give_no_receipt() {
    let pulls = Arc::new(AtomicUsize::new(0));
    let a = daemon(heals_all("late")).await;
    let b = daemon(move |request| {
        let content = if pulls.fetch_add(1, Ordering::SeqCst) == 0 { "early" } else { "late" };
        Reply::lines(
            &pulled(&request).iter().map(|metric| healed(metric, content)).collect::<Vec<_>>(),
        )
    })
    .await;
    let (c, deletes) = source(|_, _| DeleteOutcome::Deleted).await;
    let members = vec![FakeMember::v1("a", a), FakeMember::v1("b", b), FakeMember::v1("c", c)];
    let (mover, source) = mover(members, true);
    let (_, end) = run_batch(&mover, &source, batch(&[0, 1], &["m"])).await;
    assert_eq!(names(&end), ["m"]);
    let deletes = deletes.lock().unwrap();
    assert_eq!(deletes.iter().filter(|request| !request.metrics.is_empty()).count(), 1);
    assert_eq!(deletes[0].metrics[0].digest, bucky_whisper::Digest::of(b"late"));
}

#[tokio::test]
async fn a_metric_that_fails_its_batch_stands_alone_in_the_end() {
    let a = daemon(|request| {
        let metrics = pulled(&request);
        if metrics.iter().any(|metric| metric.as_str() == "m3") {
            return Reply::status(413);
        }
        Reply::lines(&metrics.iter().map(|metric| healed(metric, "x")).collect::<Vec<_>>())
    })
    .await;
    let (b, _) = source(|_, _| DeleteOutcome::Deleted).await;
    let (mover, source) = mover(vec![FakeMember::v1("a", a), FakeMember::v1("b", b)], true);
    let (_, end) =
        run_batch(&mover, &source, batch(&[0], &["m0", "m1", "m2", "m3", "m4", "m5", "m6"])).await;
    assert_eq!(names(&end), ["m0", "m1", "m2", "m4", "m5", "m6"]);
    assert_eq!(end.failed.len(), 1);
    assert!(
        failures(&end)[0].starts_with("m3: transfer failed") && failures(&end)[0].contains("413")
    );
}

#[tokio::test]
async fn a_busy_owner_is_waited_for_and_what_may_pass_is_tried_again() {
    let pulls = Arc::new(AtomicUsize::new(0));
    let a = daemon(move |request| match pulls.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(503),
        1 => Reply::lines(&[HealLine {
            outcome: HealOutcome::Failed,
            digest: None,
            problem: Some(Problem::Busy),
            reason: "locked".into(),
            ..healed(&pulled(&request)[0], "")
        }]),
        _ => Reply::lines(&[healed(&pulled(&request)[0], "x")]),
    })
    .await;
    let (b, _) = source(|_, _| DeleteOutcome::Deleted).await;
    let (mover, source) = mover(vec![FakeMember::v1("a", a), FakeMember::v1("b", b)], true);
    let (_, end) = run_batch(&mover, &source, batch(&[0], &["m"])).await;
    assert_eq!((names(&end), end.failed.len()), (vec!["m".to_owned()], 0));
}

/// A restart during a run must not cost the rest of the run.
#[tokio::test]
async fn an_owner_that_is_restarted_is_waited_for() {
    // An address of its own, so that no other test can take the port in the meantime: none listens there or
    // connects from there.
    let spare = std::net::TcpListener::bind("127.0.38.1:0").unwrap();
    let address = spare.local_addr().unwrap().to_string();
    drop(spare);
    let restarted = address.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        daemon_at(&restarted, heals_all("x")).await;
    });
    let (b, deletes) = source(|_, _| DeleteOutcome::Deleted).await;
    let members =
        vec![FakeMember::v1("a", address.parse().unwrap()), FakeMember::v1("b", b.clone())];
    let (mover, source) = mover(members, true);
    let batches = (0..4).map(|number| {
        let (mover, source) = (&mover, &source);
        async move { run_batch(mover, source, batch(&[0], &[&format!("m{number}")])).await.1 }
    });
    for end in futures_util::future::join_all(batches).await {
        assert_eq!((end.done.len(), failures(&end)), (1, Vec::new()));
    }
    assert_eq!(deletes.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn an_owner_that_answers_for_ever_is_not_believed() {
    let a = daemon(|request| {
        let mut lines = vec![healed(&"other".parse().unwrap(), "x"); 10_000];
        lines.extend(pulled(&request).iter().map(|metric| healed(metric, "x")));
        Reply::lines(&lines)
    })
    .await;
    let (b, deletes) = source(|_, _| DeleteOutcome::Deleted).await;
    let (mover, source) = mover(vec![FakeMember::v1("a", a), FakeMember::v1("b", b)], true);
    let (_, end) = run_batch(&mover, &source, batch(&[0], &["m"])).await;
    assert!(
        failures(&end)[0].contains("more lines than the request's limit of 1"),
        "{:?}",
        failures(&end)
    );
    assert!(deletes.lock().unwrap().is_empty());
}

/// A node that is drained as `localhost` is another node for each owner: nothing was moved, and everything
/// was reported as done.
#[tokio::test]
async fn a_metric_that_its_source_has_is_not_gone_whatever_the_owner_finds() {
    let a = daemon(|request| {
        let line = |metric: &MetricName| HealLine {
            outcome: HealOutcome::Failed,
            digest: None,
            problem: Some(Problem::SourceMissing),
            ..healed(metric, "")
        };
        Reply::lines(&pulled(&request).iter().map(line).collect::<Vec<_>>())
    })
    .await;
    let b = daemon(|request| {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("HEAD", "/metrics/m"));
        let stat = MetricStat { name: "m".into(), size: 1, mode: 0, mod_time: 0, encoding: 0 };
        Reply { headers: vec![("x-metric-stat", stat.to_header())], ..Reply::ok("") }
    })
    .await;
    let (mover, source) = mover(vec![FakeMember::v1("a", a), FakeMember::v1("b", b)], true);
    let (_, end) = run_batch(&mover, &source, batch(&[0], &["m"])).await;
    let failures = failures(&end);
    assert!(end.done.is_empty() && failures.len() == 1);
    assert!(
        failures[0].starts_with("m: source missing: it does not find the metric at"),
        "{failures:?}"
    );
}

#[tokio::test]
async fn a_source_that_is_gone_is_not_a_failure_and_nothing_is_deleted() {
    let a = daemon(|request| {
        let line = HealLine {
            outcome: HealOutcome::Refused,
            digest: None,
            problem: Some(Problem::SourceMissing),
            ..healed(&pulled(&request)[0], "")
        };
        Reply::lines(&[line])
    })
    .await;
    let (b, deletes) = source(|_, _| DeleteOutcome::Deleted).await;
    let (mover, source) = mover(vec![FakeMember::v1("a", a), FakeMember::v1("b", b)], true);
    let (_, end) = run_batch(&mover, &source, batch(&[0], &["m"])).await;
    assert_eq!((end.gone.len(), end.done.len(), end.failed.len()), (1, 0, 0));
    assert_eq!(mover.records.tally.counts().gone, 1);
    assert!(deletes.lock().unwrap().is_empty());
}

/// D29: the Go tool copies onto the same store and then deletes.
#[tokio::test]
async fn nothing_is_moved_onto_its_own_store() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let addr = daemon(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Reply::status(500)
    })
    .await;
    let alias = FakeMember { store: "b", ..FakeMember::v1("a", addr.clone()) };
    let (mover, source) = mover(vec![alias, FakeMember::v1("b", addr)], true);
    let (_, end) = run_batch(&mover, &source, batch(&[0], &["m"])).await;
    assert!(end.is_finished && end.done.is_empty() && end.failed.is_empty());
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

fn unix_now() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    u32::try_from(now).unwrap()
}

/// A Whisper file with points of these ages in minutes. All files count from one time, so that points of two
/// files fall into the same minutes even if a minute ends between the two calls.
pub(super) fn whisper(points: &[u32]) -> Vec<u8> {
    static NOW: LazyLock<u32> = LazyLock::new(unix_now);
    let now = *NOW;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.wsp");
    let options = CreateOptions {
        retentions: vec!["60s:1h".parse().unwrap()],
        aggregation: bucky_whisper::Aggregation::Average,
        x_files_factor: bucky_whisper::XFilesFactor::new(0.5).unwrap(),
        layout: FileLayout::Dense,
    };
    create(&path, &options).unwrap();
    let mut file = WhisperFile::open(&path, OpenMode::Update, Duration::from_secs(1)).unwrap();
    let points: Vec<Point> = points
        .iter()
        .map(|back| Point { timestamp: now - back * 60, value: f64::from(*back) })
        .collect();
    file.update_many(&points, now).unwrap();
    std::fs::read(&path).unwrap()
}

fn files(name: &str, content: &[u8], mtime: i64) -> GoFiles {
    Arc::new(Mutex::new([(name.to_owned(), (content.to_vec(), mtime))].into()))
}

/// `bucky heal` is not a move: a source stays, whatever else the run may do.
#[tokio::test]
async fn a_metric_that_is_brought_stays_at_its_source() {
    let a = daemon(heals_all("x")).await;
    let (b, deletes) = source(|_, _| DeleteOutcome::Deleted).await;
    let members = vec![FakeMember::v1("a", a), FakeMember::v1("b", b)];
    let (ours, from) = mover(members, true);
    let owner = Arc::clone(ours.fleet.member(0).unwrap());
    let metric: MetricName = "m".parse().unwrap();
    let report = ours.bring(&from, &owner, vec![metric.clone()]).await;
    assert_eq!((report.done, report.failed.len()), (vec![metric.clone()], 0));
    assert_eq!(ours.records.tally.counts().created, 1);
    assert!(deletes.lock().unwrap().is_empty());

    let files = files("m", &whisper(&[1, 2, 3]), 1_000);
    let theirs = go_daemon(Arc::clone(&files), |content| content, |_| ()).await;
    let healed = GoFiles::default();
    let a = healing_daemon(Arc::clone(&healed)).await;
    let (ours, from) = mover(vec![FakeMember::v1("a", a), FakeMember::go("b", theirs)], true);
    let owner = Arc::clone(ours.fleet.member(0).unwrap());
    let report = ours.bring(&from, &owner, vec![metric.clone()]).await;
    assert_eq!((report.done, report.failed.len()), (vec![metric], 0));
    assert_eq!(healed.lock().unwrap().len(), 1);
    assert_eq!(files.lock().unwrap().len(), 1, "it was deleted at its source");
}
