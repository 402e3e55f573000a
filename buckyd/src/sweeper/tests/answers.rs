//! Owners with `/v1` that give the answers of a test.

use super::*;

#[tokio::test]
async fn a_tombstone_that_an_owner_did_not_mention_is_not_confirmed() {
    let content = whisper(&[1, 2]);
    let digest = Digest::of(&content);
    for outcomes in [
        // Two tombstones of one metric. The points of the first are incomplete.
        &[ConfirmOutcome::Incomplete, ConfirmOutcome::Complete][..],
        // An answer that ends, in good order, after one of two lines.
        &[ConfirmOutcome::Complete],
        &[],
    ] {
        let fixture = Fixture::new();
        let heal = healed(&[HealOutcome::Filled]);
        let owner = Owner { confirm: confirmed(outcomes), heal }.start().await;
        let folder =
            fixture.tombstones(&owner, &[("a", &content, digest), ("a", &content, digest)]);
        fixture.sweep().await;
        assert!(folder.join("0").exists(), "{outcomes:?}");
        assert!(fixture.sweeper.status().waiting >= 1);
    }
}

#[tokio::test]
async fn a_tombstone_that_was_healed_again_is_checked_again_before_it_is_unlinked() {
    let content = whisper(&[1, 2]);
    for (confirm, digest) in [
        (&[ConfirmOutcome::Missing][..], Digest::of(&content)),
        // Changed by a late writer, so it is healed without a question.
        (&[], Digest::of(b"as it was healed")),
    ] {
        let fixture = Fixture::new();
        let heal = healed(&[HealOutcome::Created, HealOutcome::Filled, HealOutcome::Unchanged]);
        let owner = Owner { confirm: confirmed(confirm), heal }.start().await;
        let folder = fixture.tombstones(&owner, &[("a", &content, digest)]);
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
        (0..20).map(|_| fixture.tombstones(&silent, &[("a", &content, digest)])).collect();
    let fine: Vec<_> =
        (0..3).map(|_| fixture.tombstones(&owner, &[("b", &content, digest)])).collect();
    let begun = Instant::now();
    fixture.sweep().await;
    // One for the batches that were tried at the same time. One more for each time that the others took so
    // long that the owner was tried again.
    let waits = 1 + begun.elapsed().as_secs() / RETRY_FIRST.as_secs();
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked <= BATCHES_AT_ONCE as u64 * waits, "{asked} in {:?}", begun.elapsed());
    // On a busy machine the other owner may not have answered in time.
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
    let folder = fixture.tombstones(&silent, &[("a", &whisper(&[1]), Digest::of(&whisper(&[1])))]);
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

/// An owner's file after carbon has created it again, and compressed files with other content. A compressed
/// tombstone has no slots to ask for, so nothing would be missing in them.
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
    let folder = fixture.tombstones(&owner, &[("a", &content, digest)]);
    fixture.sweep().await;
    assert!(folder.join("0").exists());
    assert!(fixture.sweeper.status().held[0].reason.contains("compressed"));
}

/// The owner's file has other points as well. It is asked about maps of all points, and not about a sample.
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
            let clocks = Clocks::at(bucky_api::clock::unix_now());
            let image = Image::parse(&owners_file).unwrap();
            let is_whole = Coverage::of_maps(&maps, &image, clocks).is_whole();
            let outcome: &[_] =
                if is_whole { &[ConfirmOutcome::Complete] } else { &[ConfirmOutcome::Incomplete] };
            confirmed(outcome)(request)
        };
        let heal = healed(&[HealOutcome::Filled]);
        let owner = Owner { confirm: Arc::new(confirm), heal }.start().await;
        let folder = fixture.tombstones(&owner, &[("a", &content, digest)]);
        fixture.sweep().await;
        assert_eq!(folder.exists(), lacks.is_some());
    }
}

#[tokio::test]
async fn a_tombstone_that_is_not_a_valid_file_waits_for_an_operator_whatever_its_owners_say() {
    let whole = whisper(&[1, 2, 3]);
    for content in [&b""[..], b"not whisper at all", &whole[..whole.len() - 100]] {
        let fixture = Fixture::new();
        let heal = healed(&[HealOutcome::Unchanged]);
        let owner = Owner { confirm: confirmed(&[ConfirmOutcome::Complete]), heal }.start().await;
        let folder = fixture.tombstones(&owner, &[("a", content, Digest::of(content))]);
        fixture.sweep().await;
        assert!(folder.join("0").exists());
        let held = fixture.sweeper.status().held;
        assert!(held[0].reason.contains("not a valid Whisper file"), "{held:?}");
    }
}
