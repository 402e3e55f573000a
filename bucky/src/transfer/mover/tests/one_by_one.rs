//! Moves in which Go daemons take part.

use super::*;
use crate::run::failure_kind::FailureKind;

#[tokio::test]
async fn a_go_daemons_metric_is_healed_at_ours_and_then_deleted() {
    let content = whisper(&[1, 2, 3]);
    let (theirs, ours) = (files("m", &content, 1_000), GoFiles::default());
    let a = healing_daemon(Arc::clone(&ours)).await;
    let b = go_daemon(Arc::clone(&theirs), |content| content, |_| ()).await;
    let (mover, source) = mover(vec![FakeMember::v1("a", a), FakeMember::go("b", b)], true);
    let (_, end) = run_batch(&mover, &source, batch(&[0], &["m", "not.there"])).await;
    assert_eq!((names(&end), failures(&end)), (vec!["m".to_owned()], vec![]));
    assert_eq!(end.gone, ["not.there".parse().unwrap()]);
    assert_eq!(ours.lock().unwrap()["m"], (content, 1_000));
    assert!(theirs.lock().unwrap().is_empty());
    assert_eq!((mover.records.tally.counts().moved, mover.records.tally.counts().gone), (1, 1));
}

/// D30, at a Go daemon: a write after the copy shows in size, modification time or, if it is recent, content.
#[tokio::test]
async fn a_go_daemons_metric_that_was_written_to_after_the_copy_is_copied_again() {
    let (before, after) = (whisper(&[2, 3]), whisper(&[1, 2, 3]));
    // The same second: neither size nor modification time shows it.
    let (theirs, ours) = (files("m", &before, i64::from(unix_now())), GoFiles::default());
    let written = AtomicUsize::new(0);
    let content = after.clone();
    let a = healing_daemon(Arc::clone(&ours)).await;
    let b = go_daemon(
        Arc::clone(&theirs),
        |content| content,
        move |files| {
            if written.fetch_add(1, Ordering::SeqCst) == 0 {
                files.lock().unwrap().get_mut("m").unwrap().0.clone_from(&content);
            }
        },
    )
    .await;
    let (mover, source) = mover(vec![FakeMember::v1("a", a), FakeMember::go("b", b)], true);
    let (_, end) = run_batch(&mover, &source, batch(&[0], &["m"])).await;
    assert_eq!((names(&end), failures(&end)), (vec!["m".to_owned()], vec![]));
    assert_eq!(ours.lock().unwrap()["m"].0, after);
    assert!(theirs.lock().unwrap().is_empty());
}

/// Moves `m` from a Go daemon with this clock; `m` was last written `age` seconds earlier. A write after this
/// number of reads adds `later` seconds to its modification time. Returns how often it was read, and what the
/// owner has.
async fn move_written(
    clock: Option<SystemTime>,
    age: i64,
    written_after: usize,
    later: i64,
) -> (usize, Vec<u8>) {
    let at = clock.unwrap_or_else(SystemTime::now).duration_since(UNIX_EPOCH).unwrap();
    let changed = at.as_secs() as i64 - age;
    let (theirs, ours) = (files("m", &whisper(&[2, 3]), changed), GoFiles::default());
    let reads = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reads);
    let after_get = move |files: &GoFiles| {
        if count.fetch_add(1, Ordering::SeqCst) + 1 == written_after {
            let with_point = (whisper(&[1, 2, 3]), changed + later);
            files.lock().unwrap().insert("m".to_owned(), with_point);
        }
    };
    let a = healing_daemon(Arc::clone(&ours)).await;
    let b = go_daemon_at(Arc::clone(&theirs), |content| content, after_get, clock).await;
    let (mover, source) = mover(vec![FakeMember::v1("a", a), FakeMember::go("b", b)], true);
    let (_, end) = run_batch(&mover, &source, batch(&[0], &["m"])).await;
    assert_eq!((names(&end), failures(&end)), (vec!["m".to_owned()], vec![]));
    assert!(theirs.lock().unwrap().is_empty());
    let content = ours.lock().unwrap()["m"].0.clone();
    (reads.load(Ordering::SeqCst), content)
}

fn hours_ago(hours: u64) -> Option<SystemTime> {
    Some(SystemTime::now() - Duration::from_secs(hours * 3600))
}

/// The modification time is by the daemon's clock, and the run may take long. What counts is how long before
/// the copy it was.
#[tokio::test]
async fn a_write_to_a_go_daemons_metric_after_its_copy_is_never_lost() {
    for (clock, age, written_after, later) in [
        // In the second of the copy, after the copy.
        (hours_ago(0), 0, 1, 0),
        (hours_ago(2), 0, 1, 0),
        (hours_ago(2), 30, 1, 0),
        (None, 0, 1, 0),
        (None, 7200, 1, 0),
        // Written in a second in the future.
        (hours_ago(0), -5, 1, 0),
        // While it is read again, before it is deleted.
        (hours_ago(0), 30, 2, 31),
        (None, 30, 2, 31),
        (hours_ago(0), 0, 2, 0),
        (None, 0, 2, 0),
        // It had not been written to for long, so any write shows.
        (hours_ago(0), 7200, 1, 7200),
    ] {
        let (_, content) = move_written(clock, age, written_after, later).await;
        assert_eq!(content, whisper(&[1, 2, 3]), "{clock:?} {age} {written_after} {later}");
    }
}

#[tokio::test]
async fn a_go_daemons_metric_that_had_rested_is_read_once() {
    for (clock, age) in [(hours_ago(2), 300), (hours_ago(0), 7200)] {
        assert_eq!(move_written(clock, age, 0, 0).await, (1, whisper(&[2, 3])), "{age}");
    }
}

/// `--rest` also goes by the daemon's clock.
#[tokio::test]
async fn a_go_daemons_metric_that_is_in_use_by_its_own_clock_stays() {
    let two_minutes = Duration::from_secs(120);
    for (clock, age, stays) in
        [(hours_ago(1), 60, true), (hours_ago(0), 60, true), (hours_ago(1), 180, false)]
    {
        let changed = clock.unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 - age;
        let theirs = files("m", &whisper(&[2, 3]), changed);
        let a = healing_daemon(GoFiles::default()).await;
        let b = go_daemon_at(Arc::clone(&theirs), |content| content, |_| (), clock).await;
        let members = vec![FakeMember::v1("a", a), FakeMember::go("b", b)];
        let (mut mover, source) = mover(members, true);
        mover.sources.rest = two_minutes;
        let (_, end) = run_batch(&mover, &source, batch(&[0], &["m"])).await;
        assert_eq!(failures(&end).len(), usize::from(stays), "{:?}", failures(&end));
        assert_eq!(theirs.lock().unwrap().contains_key("m"), stays);
    }
}

/// D2, D8: a Go daemon answers 200 although its fill dropped points; the source must stay then.
#[tokio::test]
async fn a_metric_that_a_go_daemon_did_not_store_is_not_deleted() {
    let (content, part) = (whisper(&[1, 2, 3]), whisper(&[1, 3]));
    let (from, to) = (files("m", &content, 1_000), GoFiles::default());
    let a = go_daemon(Arc::clone(&to), move |_| part.clone(), |_| ()).await;
    let b = go_daemon(Arc::clone(&from), |content| content, |_| ()).await;
    let (mover, source) = mover(vec![FakeMember::go("a", a), FakeMember::go("b", b)], true);
    let (_, end) = run_batch(&mover, &source, batch(&[0], &["m"])).await;
    assert_eq!(
        failures(&end),
        ["m: incomplete fill: the fill of the Go daemon left out 1 point; the source stays"]
    );
    assert!(from.lock().unwrap().contains_key("m"));
}

#[tokio::test]
async fn a_go_daemon_that_takes_all_is_a_destination() {
    let content = whisper(&[1, 2, 3]);
    let (from, to) = (files("m", &content, 1_000), GoFiles::default());
    let a = go_daemon(Arc::clone(&to), |content| content, |_| ()).await;
    let b = go_daemon(Arc::clone(&from), |content| content, |_| ()).await;
    let (mover, source) = mover(vec![FakeMember::go("a", a), FakeMember::go("b", b)], true);
    let (_, end) = run_batch(&mover, &source, batch(&[0], &["m"])).await;
    assert_eq!((names(&end), failures(&end)), (vec!["m".to_owned()], vec![]));
    assert_eq!(to.lock().unwrap()["m"].0, content);
    assert!(from.lock().unwrap().is_empty());
}

/// D45: the Go tool stores anything, and sends it on.
#[tokio::test]
async fn a_file_that_is_not_valid_is_not_sent_on() {
    let (from, to) = (files("m", b"29 bytes of text and no more.", 1_000), GoFiles::default());
    let a = healing_daemon(Arc::clone(&to)).await;
    let b = go_daemon(Arc::clone(&from), |content| content, |_| ()).await;
    let (mover, source) = mover(vec![FakeMember::v1("a", a), FakeMember::go("b", b)], true);
    let (_, end) = run_batch(&mover, &source, batch(&[0], &["m"])).await;
    assert_eq!(end.failed[0].1.kind, FailureKind::SourceDamaged);
    assert!(to.lock().unwrap().is_empty() && from.lock().unwrap().contains_key("m"));
}
