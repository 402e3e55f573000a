//! Owners' files that another storage schema made: nothing counts as healed while a point has no place.

use std::io::{Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use bucky_api::NoPlaceReason;
use bucky_whisper::{Clocks, Coverage};

use super::*;

const LONG: [&str; 2] = ["60s:2h", "5m:1d"];
const SHORT: [&str; 1] = ["60s:1h"];

fn rules(on_schema_difference: OnSchemaDifference) -> HealRules {
    HealRules { on_schema_difference, ..HealRules::default() }
}

fn layout(fixture: &Fixture) -> String {
    Image::parse(&fs::read(fixture.path("a.b")).unwrap()).unwrap().header().layout()
}

fn holds(fixture: &Fixture, source: &[u8]) -> bool {
    let owner = fs::read(fixture.path("a.b")).unwrap();
    let (source, owner) = (Image::parse(source).unwrap(), Image::parse(&owner).unwrap());
    Coverage::of(&source, &owner, Clocks::at(unix_now())).is_whole()
}

#[test]
fn an_owner_that_has_no_place_for_a_point_fills_the_rest_and_gives_no_receipt() {
    let fixture = Fixture::new();
    let source = whisper_of(&LONG, &[100, 30, 2]);
    fixture.put("a.b", &whisper_of(&SHORT, &[1]));
    let (line, _) = heal(&fixture, rules(OnSchemaDifference::Keep), &source);
    assert_eq!((line.outcome, line.problem), (HealOutcome::Refused, Some(Problem::NoPlace)));
    assert!(!line.outcome.is_healed());
    assert_eq!((line.points, line.held), (2, Some(2)), "{line:?}");
    let difference = line.difference.unwrap();
    assert_eq!(difference.source.archives, "60s:2h,5m:1d");
    assert_eq!(difference.owner.archives, "60s:1h");
    let reasons: Vec<(u32, NoPlaceReason)> =
        difference.gaps.iter().map(|gap| (gap.seconds_per_point, gap.reason)).collect();
    assert_eq!(reasons, [(60, NoPlaceReason::ShorterRetention), (300, NoPlaceReason::NoArchive)]);
    assert_eq!(
        fine_points(&fs::read(fixture.path("a.b")).unwrap()),
        3,
        "what has a place is there"
    );
    // Again: nothing is filled any more, and it is still not a receipt.
    let (line, _) = heal(&fixture, rules(OnSchemaDifference::Keep), &source);
    assert_eq!((line.outcome, line.points), (HealOutcome::Refused, 0));
}

#[test]
fn a_finer_owner_that_lacks_the_sources_archive_is_not_complete() {
    let fixture = Fixture::new();
    let source = whisper_of(&["5m:1d"], &[600, 300]);
    fixture.put("a.b", &whisper_of(&["60s:2h", "10m:2d"], &[]));
    std::thread::sleep(Duration::from_millis(1_100));
    let (line, _) = heal(&fixture, rules(OnSchemaDifference::Keep), &source);
    assert_eq!(line.problem, Some(Problem::NoPlace), "{line:?}");
    assert_eq!(line.difference.unwrap().points_without_place(), 2);
}

#[test]
fn a_reshaped_owner_has_the_archives_and_points_of_both_and_the_old_file_waits_as_a_tombstone() {
    let fixture = Fixture::new();
    let source = whisper_of(&LONG, &[100, 30, 2]);
    let owner = whisper_of(&SHORT, &[1, 30]);
    fixture.put("a.b", &owner);
    fs::set_permissions(fixture.path("a.b"), fs::Permissions::from_mode(0o664)).unwrap();
    let (line, aside) = heal(&fixture, rules(OnSchemaDifference::Reshape), &source);
    assert_eq!((line.outcome, line.problem), (HealOutcome::Filled, None), "{line:?}");
    assert_eq!(line.difference.unwrap().reshaped_from.unwrap().archives, "60s:1h");
    assert_eq!(aside, Some(1));
    assert_eq!(layout(&fixture), "60s:2h,5m:1d");
    assert!(holds(&fixture, &source) && holds(&fixture, &owner));
    let mode = fs::metadata(fixture.path("a.b")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o664);
    let batches = fixture.store.tombstone_batches().unwrap();
    let tombstones = fixture.store.tombstones(&batches[0].0).unwrap();
    assert!(fixture.store.is_untouched(&batches[0].0, 0), "although it was filled a moment ago");
    assert_eq!((tombstones.len(), tombstones[0].owners.len()), (1, 0));
    let old = fixture
        .store
        .read_tombstone(&batches[0].0, 0, &mut VolumeReader::new(&fixture.store))
        .unwrap();
    let old = Image::parse(&old.content).unwrap();
    let before = Image::parse(&owner).unwrap();
    assert_eq!(old.header(), before.header());
    assert!(Coverage::of(&before, &old, Clocks::at(unix_now())).is_whole());
    assert_eq!(fixture.leftovers().len(), 1, "the tombstone, and no temporary file");
    // Again: there is nothing to reshape.
    let (line, aside) = heal(&fixture, rules(OnSchemaDifference::Reshape), &source);
    assert_eq!((line.outcome, aside), (HealOutcome::Unchanged, None), "{line:?}");
}

#[test]
fn a_reshape_that_no_layout_allows_is_refused_and_changes_nothing() {
    let fixture = Fixture::new();
    let source = whisper_of(&["3m:1d"], &[100, 30]);
    let owner = whisper_of(&["2m:1d"], &[50]);
    fixture.put("a.b", &owner);
    let (line, aside) = heal(&fixture, rules(OnSchemaDifference::Reshape), &source);
    assert_eq!((line.outcome, line.problem), (HealOutcome::Refused, Some(Problem::NoPlace)));
    assert!(line.reason.contains("cannot be reshaped"), "{line:?}");
    assert!(aside.is_none_or(|count| count == 0), "{aside:?}");
    assert_eq!(fs::read(fixture.path("a.b")).unwrap(), owner);
    assert_eq!(fixture.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn coarsen_accepts_points_under_a_valid_coarser_one_and_drop_gives_all_up() {
    let source = whisper_of(&["60s:2h"], &[100, 99, 98, 97, 96, 95]);
    for (rule, is_healed) in [
        (OnSchemaDifference::Keep, false),
        (OnSchemaDifference::Coarsen, true),
        (OnSchemaDifference::Drop, true),
    ] {
        let fixture = Fixture::new();
        fixture.put("a.b", &whisper_of(&["5m:1d"], &[400]));
        let (line, _) = heal(&fixture, rules(rule), &source);
        assert_eq!(line.outcome.is_healed(), is_healed, "{rule}: {line:?}");
        assert_eq!(line.difference.unwrap().points_without_place(), 6, "{rule}");
    }
    // No coarser archive covers points that only a shorter archive lacks.
    let fixture = Fixture::new();
    fixture.put("a.b", &whisper_of(&SHORT, &[1]));
    let (line, _) = heal(&fixture, rules(OnSchemaDifference::Coarsen), &source);
    assert!(!line.outcome.is_healed());
}

#[test]
fn a_preview_reports_what_a_heal_would_and_writes_nothing() {
    let fixture = Fixture::new();
    let source = whisper_of(&LONG, &[100, 30, 2]);
    let owner = whisper_of(&SHORT, &[1]);
    let preview = HealRules { preview: true, ..HealRules::default() };
    let (line, _) = heal(&fixture, preview, &source);
    assert_eq!(line.outcome, HealOutcome::Created);
    assert!(!fixture.path("a.b").exists() && fixture.leftovers().is_empty());
    fixture.put("a.b", &owner);
    let (line, _) = heal(&fixture, preview, &source);
    assert_eq!((line.problem, line.points), (Some(Problem::NoPlace), 2));
    assert_eq!(fs::read(fixture.path("a.b")).unwrap(), owner);
}

#[test]
fn a_file_that_is_not_valid_is_never_deleted() {
    let fixture = Fixture::new();
    let whole = whisper(&[1, 2]);
    let mut unknown = whole.clone();
    unknown[..4].copy_from_slice(&99_u32.to_be_bytes());
    let not_whole: [&[u8]; 4] =
        [b"", b"somebody's only copy", &whole[..whole.len() - 100], &unknown];
    for content in not_whole {
        if Image::parse(content).is_ok() {
            // whisper.py reads it as well.
            continue;
        }
        fixture.put("a.b", content);
        let line = fixture.delete("a.b", Digest::of(content));
        assert_eq!(line.outcome, DeleteOutcome::Failed, "{line:?}");
        assert!(line.reason.contains("not a valid Whisper file"), "{line:?}");
        assert_eq!(fs::read(fixture.path("a.b")).unwrap(), content);
    }
    for content in [&whole[..], b"whisper_compressed and its points"] {
        fixture.put("a.b", content);
        assert_eq!(fixture.delete("a.b", Digest::of(content)).outcome, DeleteOutcome::Deleted);
    }
}

/// A carbon without WHISPER_LOCK_WRITES opens, writes and closes, again and again, while its file is
/// reshaped. Every point that it has written is in the new file, or in the tombstone from which the file is
/// filled later.
#[test]
fn a_writer_without_a_lock_loses_nothing_by_a_reshape() {
    let fixture = Fixture::new();
    let source = whisper_of(&LONG, &[110, 30]);
    fixture.put("a.b", &whisper_of(&SHORT, &[59]));
    let path = fixture.path("a.b");
    let (stop, newest) = (AtomicBool::new(false), test_now());
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = Vec::new();
            for round in 0_u32.. {
                if stop.load(Ordering::Relaxed) && round > 50 {
                    break;
                }
                let age = 58 - round % 58;
                let value = f64::from(round);
                let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
                let content = fs::read(&path).unwrap();
                let Ok(image) = Image::parse(&content) else { continue };
                let view = image.archive(0).unwrap();
                let slot = (newest - age * 60) / 60 * 60;
                let position = view.position_of(slot).unwrap();
                file.seek(SeekFrom::Start(view.slot_offset(position))).unwrap();
                let point = bucky_whisper::Point { timestamp: slot, value };
                // The open file may be another one than was just read. Then the slot is elsewhere.
                let same = file.metadata().unwrap().len() == content.len() as u64;
                if same {
                    file.write_all(&point.encode()).unwrap();
                    written.push(slot);
                }
            }
            written
        });
        let (line, _) = heal(&fixture, rules(OnSchemaDifference::Reshape), &source);
        assert_eq!(line.outcome, HealOutcome::Filled, "{line:?}");
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    // As the sweeper does after the grace time.
    let (batch, _) = fixture.store.tombstone_batches().unwrap().remove(0);
    let old =
        fixture.store.read_tombstone(&batch, 0, &mut VolumeReader::new(&fixture.store)).unwrap();
    heal(&fixture, HealRules::default(), &old.content);
    let content = fs::read(&path).unwrap();
    let view = Image::parse(&content).unwrap().archive(0).unwrap();
    for slot in written {
        assert!(view.valid(slot, unix_now()).is_some(), "{slot} is lost");
    }
    assert!(holds(&fixture, &source));
}
