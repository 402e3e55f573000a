//! Creating and filling files in a batch.

use super::*;

#[test]
fn a_new_metric_appears_whole_with_the_sources_mode_and_time_and_leaves_nothing_else() {
    let fixture = Fixture::new();
    let content = whisper(&[1, 2, 3]);
    for metrics in [&["a.b"][..], &["c.d", "c.e", "c.f.g", "h"][..]] {
        let members: Vec<Member> = metrics.iter().map(|metric| member(metric, &content)).collect();
        let lines = fixture.heal(&members);
        assert!(lines.iter().all(|line| line.outcome == HealOutcome::Created), "{lines:?}");
        for metric in metrics {
            assert_eq!(fs::read(fixture.path(metric)).unwrap(), content);
            let meta = fs::metadata(fixture.path(metric)).unwrap();
            assert_eq!((meta.mode() & 0o777, meta.mtime()), (0o640, 1_600_000_000));
        }
    }
    assert!(fixture.leftovers().is_empty());
}

#[test]
fn a_new_file_has_holes_where_its_source_has_them() {
    let fixture = Fixture::new();
    let mut content = whisper(&[1]);
    content.resize(content.len() + 64 * 1024, 0);
    let sparse = Member { is_sparse: true, ..member("sparse", &content) };
    let lines = fixture.heal(&[sparse, member("dense", &content)]);
    assert!(lines.iter().all(|line| line.outcome == HealOutcome::Created), "{lines:?}");
    let blocks = |metric: &str| fs::metadata(fixture.path(metric)).unwrap().blocks();
    assert!(blocks("sparse") * 512 < 64 * 1024, "{} blocks", blocks("sparse"));
    assert!(blocks("dense") * 512 >= 64 * 1024, "{} blocks", blocks("dense"));
    for metric in ["sparse", "dense"] {
        assert_eq!(fs::read(fixture.path(metric)).unwrap(), content);
    }
}

#[test]
fn a_sparse_store_writes_holes_that_read_as_the_same_bytes() {
    let fixture = Fixture::with(StoreOptions { sparse: true, ..options() });
    let mut content = whisper(&[1]);
    content.resize(content.len() + 64 * 1024, 0);
    assert_eq!(fixture.heal(&[member("a", &content)])[0].outcome, HealOutcome::Created);
    assert_eq!(fs::read(fixture.path("a")).unwrap(), content);
    assert!(fs::metadata(fixture.path("a")).unwrap().blocks() * 512 < content.len() as u64 / 2);
}

#[test]
fn a_metric_that_is_there_is_filled_in_place_and_keeps_its_inode_and_its_own_points() {
    let fixture = Fixture::new();
    fixture.put("a.b", &whisper(&[1, 3, 5]));
    let inode = fs::metadata(fixture.path("a.b")).unwrap().ino();
    let source = whisper(&[2, 3, 4]);
    let line = fixture.heal(&[member("a.b", &source)]).remove(0);
    assert_eq!((line.outcome, line.digest), (HealOutcome::Filled, Some(Digest::of(&source))));
    assert!(line.points >= 2, "{line:?}");
    assert_eq!(fs::metadata(fixture.path("a.b")).unwrap().ino(), inode);
    assert_eq!(fine_points(&fs::read(fixture.path("a.b")).unwrap()), 5);
    assert_eq!(fixture.heal(&[member("a.b", &source)])[0].outcome, HealOutcome::Unchanged);
}

#[test]
fn d14_a_file_that_appears_while_a_batch_is_under_way_is_filled_and_never_replaced() {
    let fixture = Fixture::new();
    let mut batch = VolumeBatch::new(&fixture.store);
    batch.take(&member("a.b", &whisper(&[2, 4])));
    fixture.put("a.b", &whisper(&[1, 3]));
    let line = batch.finish().0.remove(0);
    assert_eq!(line.outcome, HealOutcome::Filled, "{line:?}");
    assert_eq!(fine_points(&fs::read(fixture.path("a.b")).unwrap()), 4);
    assert!(fixture.leftovers().is_empty());
}

#[test]
fn one_metric_twice_in_a_batch_ends_with_the_points_of_both() {
    let fixture = Fixture::new();
    let lines = fixture.heal(&[
        member("a", &whisper(&[1])),
        member("a", &whisper(&[2])),
        member("b", &whisper(&[1])),
    ]);
    assert!(lines.iter().all(|line| line.outcome.is_healed()), "{lines:?}");
    assert_eq!(fine_points(&fs::read(fixture.path("a")).unwrap()), 2);
}

#[test]
fn d45_content_that_is_not_a_valid_whisper_file_is_never_stored() {
    let fixture = Fixture::new();
    let whole = whisper(&[1]);
    for content in
        [&b""[..], &b"hello"[..], &[0; 4096][..], &whole[..whole.len() - 1], &whole[..20]]
    {
        let line = fixture.heal(&[member("a", content)]).remove(0);
        assert_eq!(
            (line.outcome, line.problem),
            (HealOutcome::Refused, Some(Problem::SourceDamaged))
        );
        assert!(!fixture.path("a").exists());
    }
    let mut damaged = member("a", &whole);
    damaged.announced = Some(Digest::of(b"other"));
    assert_eq!(fixture.heal(&[damaged])[0].problem, Some(Problem::DigestMismatch));
    assert!(!fixture.path("a").exists());
}

#[test]
fn a_damaged_file_at_the_owner_is_reported_and_not_touched() {
    let fixture = Fixture::new();
    fixture.put("a", b"not whisper at all");
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    File::options().write(true).open(fixture.path("a")).unwrap().set_modified(old).unwrap();
    let line = fixture.heal(&[member("a", &whisper(&[1]))]).remove(0);
    assert_eq!(
        (line.outcome, line.problem),
        (HealOutcome::Refused, Some(Problem::DestinationDamaged))
    );
    assert!(
        line.reason.contains("a.wsp") && line.reason.contains("move it aside"),
        "{}",
        line.reason
    );
    assert_eq!(fs::read(fixture.path("a")).unwrap(), b"not whisper at all");
}

#[test]
fn a_file_that_carbon_is_just_making_is_busy_and_not_damaged() {
    let fixture = Fixture::new();
    let source = whisper(&[1]);
    fixture.put("a", b"");
    let line = fixture.heal(&[member("a", &source)]).remove(0);
    assert_eq!((line.outcome, line.problem), (HealOutcome::Failed, Some(Problem::Busy)));
}

#[test]
fn compressed_files_are_copied_and_refused_if_points_are_needed() {
    let fixture = Fixture::new();
    let compressed = [&b"whisper_compressed"[..], &[0xff; 130]].concat();
    assert_eq!(fixture.heal(&[member("a", &compressed)])[0].outcome, HealOutcome::Created);
    assert_eq!(fixture.heal(&[member("a", &compressed)])[0].outcome, HealOutcome::Unchanged);
    let line = fixture.heal(&[member("a", &whisper(&[1]))]).remove(0);
    assert_eq!((line.outcome, line.problem), (HealOutcome::Refused, Some(Problem::Compressed)));
    assert_eq!(fs::read(fixture.path("a")).unwrap(), compressed);
}

/// The message was that their points cannot be merged, although the owner's file has none.
#[test]
fn a_compressed_file_does_not_replace_a_damaged_one_and_the_damage_is_reported() {
    let fixture = Fixture::new();
    let compressed = [&b"whisper_compressed"[..], &[0xff; 130]].concat();
    fixture.put("a", b"garbage that is no header");
    let heal = || {
        let mut batch = VolumeBatch::new(&fixture.store)
            .by(HealRules { on_corrupt: OnCorrupt::Replace, ..HealRules::default() });
        batch.take(&member("a", &compressed));
        batch.finish().0.remove(0)
    };
    // Carbon may be about to write the rest.
    assert_eq!(heal().problem, Some(Problem::Busy));
    let old = SystemTime::now() - Duration::from_secs(60);
    File::options().write(true).open(fixture.path("a")).unwrap().set_modified(old).unwrap();
    let line = heal();
    assert_eq!((line.outcome, line.problem), (HealOutcome::Refused, Some(Problem::Compressed)));
    assert!(line.reason.contains("the owner's file a.wsp is corrupt"), "{}", line.reason);
    assert!(line.reason.contains("move the corrupt file aside"), "{}", line.reason);
    fs::remove_file(fixture.path("a")).unwrap();
    assert_eq!(heal().outcome, HealOutcome::Created);
}

#[test]
fn a_new_file_can_be_read_and_written_by_its_owner_whatever_the_source_allowed() {
    let fixture = Fixture::new();
    let mut members = ["a", "b", "c"].map(|metric| member(metric, &whisper(&[1])));
    members[1].meta.mode = 0;
    let lines = fixture.heal(&members);
    assert!(lines.iter().all(|line| line.outcome == HealOutcome::Created), "{lines:?}");
    assert_eq!(fs::metadata(fixture.path("b")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_source_with_points_that_the_owner_has_no_place_for_is_refused_and_so_never_deleted() {
    let fixture = Fixture::new();
    let source = whisper(&[1, 2]);
    let mut destination = whisper(&[1]);
    // At the owner, the slot of the source's older point holds a time one turn of the archive later.
    let view = Image::parse(&destination).unwrap().archive(0).unwrap();
    let older = Image::parse(&source)
        .unwrap()
        .archive(0)
        .unwrap()
        .points_valid(unix_now())
        .next()
        .unwrap()
        .timestamp;
    let at = usize::try_from(view.slot_offset(view.position_of(older).unwrap())).unwrap();
    destination[at..at + 4].copy_from_slice(&(older + 2 * 3600).to_be_bytes());
    fixture.put("a", &destination);
    let line = fixture.heal(&[member("a", &source)]).remove(0);
    assert_eq!(
        (line.outcome, line.problem),
        (HealOutcome::Refused, Some(Problem::NoPlace)),
        "{line:?}"
    );
    assert!(line.reason.contains("the source is kept"));
}
