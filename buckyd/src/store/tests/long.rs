//! Files that are too long for the memory, which is small here. The rules are those for short files.

use std::sync::atomic::{AtomicBool, Ordering};

use bucky_whisper::{Clocks, Coverage};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Longer than any file that is held in memory here: 4,924 bytes.
const LONG: [&str; 2] = ["60s:2h", "5m:1d"];
const SHORT: [&str; 1] = ["60s:1h"];
const LIMIT_BYTES: u64 = 4_000;

fn fixture() -> Fixture {
    Fixture::with(StoreOptions { file_limit_bytes: LIMIT_BYTES, ..options() })
}

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

fn make_old(path: &Path) {
    let old = SystemTime::now() - Duration::from_secs(60);
    File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
}

#[test]
fn a_reshape_takes_long_files_on_either_side_and_makes_long_ones_of_short_ones() {
    let cases: [(&[&str], &[&str], &str); 4] = [
        (&SHORT, &LONG, "60s:2h,5m:1d"),
        (&LONG, &["60s:1h", "10m:1d"], "60s:2h,5m:1d,10m:1450m"),
        (&LONG, &["60s:4h", "5m:1d", "15m:2d"], "60s:4h,5m:1d,15m:2d"),
        (&["60s:2h"], &["5m:1d"], "60s:2h,5m:1d"),
    ];
    for (owners, sources, expected) in cases {
        let fixture = fixture();
        let source = whisper_of(sources, &[100, 30, 2]);
        let owner = whisper_of(owners, &[1, 30]);
        fixture.put("a.b", &owner);
        fs::set_permissions(fixture.path("a.b"), fs::Permissions::from_mode(0o664)).unwrap();
        let (line, aside) = heal(&fixture, rules(OnSchemaDifference::Reshape), &source);
        assert_eq!((line.outcome, line.problem), (HealOutcome::Filled, None), "{line:?}");
        assert_eq!(line.digest, Some(Digest::of(&source)));
        let before = Image::parse(&owner).unwrap();
        let reshaped_from = line.difference.unwrap().reshaped_from.unwrap();
        assert_eq!(reshaped_from.archives, before.header().layout());
        assert_eq!(aside, Some(1));
        assert_eq!(layout(&fixture), expected);
        assert!(holds(&fixture, &source) && holds(&fixture, &owner));
        let mode = fs::metadata(fixture.path("a.b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o664);
        let batch = fixture.store.tombstone_batches().unwrap().remove(0).0;
        assert!(fixture.store.is_untouched(&batch, 0), "although it was filled a moment ago");
        let (old, _) = fixture.store.open_tombstone(&batch, 0).unwrap();
        assert_eq!(old.metadata().unwrap().len(), owner.len() as u64);
        assert_eq!(fixture.leftovers().len(), 1, "the tombstone, and no temporary file");
        // Again: there is nothing to reshape.
        let (line, aside) = heal(&fixture, rules(OnSchemaDifference::Reshape), &source);
        assert_eq!((line.outcome, aside), (HealOutcome::Unchanged, None), "{line:?}");
    }
}

#[test]
fn a_new_long_file_has_its_room_on_the_disk_unless_the_old_one_had_holes() {
    for has_holes in [false, true] {
        let fixture = fixture();
        let mut owner = whisper_of(&["1s:1d"], &[1, 30]);
        if has_holes {
            let file = {
                fixture.put("a.b", &[]);
                File::options().write(true).open(fixture.path("a.b")).unwrap()
            };
            bucky_whisper::write_sparse(&file, &owner).unwrap();
            owner = fs::read(fixture.path("a.b")).unwrap();
        } else {
            fixture.put("a.b", &owner);
        }
        let source = whisper_of(&["1s:1d", "60s:3d"], &[100]);
        let (line, _) = heal(&fixture, rules(OnSchemaDifference::Reshape), &source);
        assert_eq!(line.outcome, HealOutcome::Filled, "{line:?}");
        let made = fs::metadata(fixture.path("a.b")).unwrap();
        assert_eq!(
            made.blocks() * 512 < made.len(),
            has_holes,
            "{} of {}",
            made.blocks(),
            made.len()
        );
        assert!(holds(&fixture, &owner) && holds(&fixture, &source));
    }
}

#[test]
fn a_long_reshape_that_no_layout_allows_is_refused_and_changes_nothing() {
    let fixture = fixture();
    let source = whisper_of(&["3m:10d"], &[100, 30]);
    let owner = whisper_of(&["2m:10d"], &[50]);
    fixture.put("a.b", &owner);
    let (line, aside) = heal(&fixture, rules(OnSchemaDifference::Reshape), &source);
    assert_eq!((line.outcome, line.problem), (HealOutcome::Refused, Some(Problem::NoPlace)));
    assert!(line.reason.contains("cannot be reshaped: the archives"), "{line:?}");
    assert!(aside.is_none_or(|count| count == 0), "{aside:?}");
    assert_eq!(fs::read(fixture.path("a.b")).unwrap(), owner);
    assert_eq!(fixture.leftovers(), Vec::<PathBuf>::new());
}

/// whisper.py would not create it, and only a fill in memory can handle such archives.
#[test]
fn a_long_file_with_archives_that_do_not_go_together_is_refused_with_the_reason() {
    let fixture = fixture();
    let mut source = whisper_of(&LONG, &[3]);
    source[32..36].copy_from_slice(&90_u32.to_be_bytes());
    let owner = whisper_of(&SHORT, &[1]);
    fixture.put("a.b", &owner);
    for way in [OnSchemaDifference::Reshape, OnSchemaDifference::Drop] {
        let (line, _) = heal(&fixture, rules(way), &source);
        assert_eq!(line.problem, Some(Problem::TooLarge), "{line:?}");
        assert!(line.reason.contains("not laid out as whisper.py does it"), "{line:?}");
    }
    assert_eq!(fs::read(fixture.path("a.b")).unwrap(), owner);
    assert_eq!(fixture.leftovers(), Vec::<PathBuf>::new());
}

/// By this kind of problem the client knows to close the node for the rest of the run.
#[test]
fn a_long_fill_reports_a_full_disk_as_such() {
    let file = tempfile::tempfile().unwrap();
    let full = std::io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
    let error = bucky_whisper::LargeFillError::Io(full);
    let failure = crate::store::fill_large::not_filled(&file, Path::new("a/b.wsp"), &error);
    assert_eq!(failure.problem, Problem::NoSpace, "{}", failure.reason);
}

#[test]
fn coarsen_accepts_points_of_long_files_under_a_valid_coarser_one_and_drop_gives_all_up() {
    let source = whisper_of(&["60s:10h"], &[100, 99, 98, 97, 96, 95]);
    let owner = whisper_of(&["5m:10d"], &[400]);
    assert!(source.len().min(owner.len()) as u64 > LIMIT_BYTES);
    for (rule, is_healed) in [
        (OnSchemaDifference::Keep, false),
        (OnSchemaDifference::Coarsen, true),
        (OnSchemaDifference::Drop, true),
    ] {
        let fixture = fixture();
        fixture.put("a.b", &owner);
        let (line, _) = heal(&fixture, rules(rule), &source);
        assert_eq!(line.outcome.is_healed(), is_healed, "{rule}: {line:?}");
        let difference = line.difference.unwrap();
        assert_eq!(difference.points_without_place(), 6, "{rule}");
        assert_eq!(difference.points_coarser(), 6, "{rule}");
    }
    // No coarser archive covers points that only a shorter archive lacks.
    let fixture = fixture();
    fixture.put("a.b", &whisper_of(&SHORT, &[1]));
    let (line, _) = heal(&fixture, rules(OnSchemaDifference::Coarsen), &source);
    assert_eq!((line.outcome, line.problem), (HealOutcome::Refused, Some(Problem::NoPlace)));
    let (line, _) = heal(&fixture, rules(OnSchemaDifference::Drop), &source);
    assert!(line.outcome.is_healed(), "{line:?}");
}

#[test]
fn a_corrupt_file_is_replaced_and_kept_where_it_or_what_comes_is_long() {
    let (short, long) = (whisper_of(&SHORT, &[3]), whisper_of(&LONG, &[3]));
    let corrupt_long = vec![7; 10_000];
    let cases = [(&b"corrupt"[..], &long), (&corrupt_long, &short), (&corrupt_long, &long)];
    for (corrupt, source) in cases {
        let fixture = fixture();
        fixture.put("a.b", corrupt);
        let replace = HealRules { on_corrupt: OnCorrupt::Replace, ..HealRules::default() };
        let (line, _) = heal(&fixture, replace, source);
        assert_eq!(line.problem, Some(Problem::Busy), "carbon may be about to write the rest");
        make_old(&fixture.path("a.b"));
        let (line, _) = heal(&fixture, HealRules::default(), source);
        assert_eq!(line.problem, Some(Problem::DestinationDamaged), "{line:?}");
        assert!(line.reason.contains("--replace-corrupt"), "{line:?}");
        assert_eq!(fs::read(fixture.path("a.b")).unwrap(), corrupt);
        let (line, _) = heal(&fixture, replace, source);
        assert_eq!(line.outcome, HealOutcome::Replaced, "{line:?}");
        assert_eq!(line.digest, Some(Digest::of(source)));
        assert_eq!(&fs::read(fixture.path("a.b")).unwrap(), source);
        let kept = line.reason.split_once("kept as ").unwrap().1.split_once(';').unwrap().0;
        assert_eq!(fs::read(kept).unwrap(), corrupt);
        assert_eq!(fixture.store.replaced().unwrap().files, 1);
        assert_eq!(fixture.leftovers(), Vec::<PathBuf>::new());
    }
}

#[test]
fn the_rest_of_a_long_file_that_was_cut_off_is_accepted_on_request() {
    let whole = whisper(&[1, 2, 3, 90]);
    // Half a slot is left of the second archive. Then a file that is short by now.
    for left in [whole.len() - 30, 16 + 24 + 120 * 12 + 30] {
        let cut = &whole[..left];
        let fixture = fixture();
        let (line, _) = heal(&fixture, HealRules::default(), cut);
        assert_eq!(line.problem, Some(Problem::SourceDamaged), "{line:?}");
        assert!(line.reason.contains("`bucky rebalance --salvage`"), "{line:?}");
        assert!(!fixture.path("a.b").exists());
        let salvage = HealRules { on_cut: OnCut::Salvage, ..HealRules::default() };
        let (line, _) = heal(&fixture, salvage, cut);
        assert_eq!(line.outcome, HealOutcome::Created, "{line:?}");
        assert_eq!(line.digest, Some(Digest::of(cut)), "the receipt is for the cut file");
        let new = fs::read(fixture.path("a.b")).unwrap();
        assert_eq!(new, bucky_whisper::salvage(cut).unwrap().bytes);
        let (line, _) = heal(&fixture, salvage, cut);
        assert_eq!(line.outcome, HealOutcome::Unchanged, "{line:?}");
        fs::write(fixture.path("a.b"), whisper(&[5])).unwrap();
        let (line, _) = heal(&fixture, salvage, cut);
        assert_eq!(line.outcome, HealOutcome::Filled, "{line:?}");
        assert!(holds(&fixture, &new));
        assert_eq!(fixture.leftovers(), Vec::<PathBuf>::new());
    }
    // Nothing is left of a file that was cut off in its first archive.
    let fixture = fixture();
    let salvage = HealRules { on_cut: OnCut::Salvage, ..HealRules::default() };
    let whole = whisper_of(&["60s:10h", "5m:3d"], &[1]);
    let (line, _) = heal(&fixture, salvage, &whole[..5_000]);
    assert_eq!(line.problem, Some(Problem::SourceDamaged), "{line:?}");
    assert!(!line.reason.contains("salvage"), "{line:?}");
}

#[test]
fn a_preview_of_long_files_reports_what_a_heal_would_and_leaves_nothing() {
    let preview = HealRules { preview: true, ..HealRules::default() };
    let (short, long) = (whisper_of(&SHORT, &[1]), whisper_of(&LONG, &[100, 30, 2]));
    let other = whisper_of(&["60s:1h", "10m:1d"], &[4, 700]);
    for (owner, source) in [(&short, &long), (&long, &other)] {
        let fixture = fixture();
        let (line, _) = heal(&fixture, preview, source);
        assert_eq!(line.outcome, HealOutcome::Created, "{line:?}");
        assert!(!fixture.path("a.b").exists() && fixture.leftovers().is_empty());
        fixture.put("a.b", owner);
        let (line, _) = heal(&fixture, preview, source);
        assert_eq!(line.problem, Some(Problem::NoPlace), "{line:?}");
        assert!(line.points > 0, "{line:?}");
        let points = line.points;
        let reported = line.difference.unwrap().points_without_place();
        assert_eq!(&fs::read(fixture.path("a.b")).unwrap(), owner);
        assert_eq!(fixture.leftovers(), Vec::<PathBuf>::new());
        // A heal gives the same result.
        let (line, _) = heal(&fixture, HealRules::default(), source);
        assert_eq!((line.problem, line.points), (Some(Problem::NoPlace), points), "{line:?}");
        assert_eq!(line.difference.unwrap().points_without_place(), reported);
    }
    let fixture = fixture();
    fixture.put("a.b", &long);
    let (line, _) = heal(&fixture, preview, &long);
    assert_eq!(line.outcome, HealOutcome::Unchanged, "{line:?}");
}

/// Schemas, some of which fit together and some do not.
const LAYOUTS: [&[&str]; 7] = [
    &["60s:1h"],
    &["60s:2h", "5m:1d"],
    &["60s:30m", "5m:5h", "15m:2d"],
    &["5m:1d"],
    &["40s:1h"],
    &["2m:90m", "1h:3d"],
    &["20s:20m", "60s:3h"],
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The result does not depend on whether the files fit into memory.
    #[test]
    fn long_and_short_files_are_healed_by_the_same_rules(
        owner in select(LAYOUTS.to_vec()), source in select(LAYOUTS.to_vec()),
        owners in vec(1_u32..300, 0..30), sources in vec(1_u32..300, 1..60),
        way in select(vec![
            OnSchemaDifference::Keep, OnSchemaDifference::Reshape,
            OnSchemaDifference::Coarsen, OnSchemaDifference::Drop,
        ]),
        preview: bool,
    ) {
        // The oldest first, as carbon writes them: in rings that are written in order.
        let in_order = |mut ages: Vec<u32>| {
            ages.sort_unstable_by(|one, other| other.cmp(one));
            ages
        };
        let reach = |layout: &[&str]| if layout == ["40s:1h"] || layout == ["60s:1h"] { 59 } else { 119 };
        let within = |layout: &[&str], ages: Vec<u32>| -> Vec<u32> {
            // None of these can leave an archive while the test runs.
            let is_clear = |age: &u32| (2..8).contains(&(*age % 10)) && *age <= reach(layout);
            in_order(ages).into_iter().filter(is_clear).collect()
        };
        let owner = whisper_of(owner, &within(owner, owners));
        let source = whisper_of(source, &within(source, sources));
        let rules = HealRules { preview, ..rules(way) };
        // For equal content a short file reports no more than that.
        prop_assume!(owner != source);
        let healed = [1 << 20, 100].map(|file_limit_bytes| {
            let fixture = Fixture::with(StoreOptions { file_limit_bytes, ..options() });
            fixture.put("a.b", &owner);
            make_old(&fixture.path("a.b"));
            let (line, aside) = heal(&fixture, rules, &source);
            let left = fixture.leftovers().len() as u64;
            assert_eq!(left, aside.unwrap_or_default());
            (line, aside, points_of(&fs::read(fixture.path("a.b")).unwrap()))
        });
        let [short, long] = &healed;
        prop_assert_eq!(&short.0, &long.0);
        prop_assert_eq!((short.1.unwrap_or_default(), &short.2), (long.1.unwrap_or_default(), &long.2));
    }
}

/// The schema and all points, by archive.
fn points_of(content: &[u8]) -> (String, Vec<Vec<(u32, u64)>>) {
    let image = Image::parse(content).unwrap();
    let points = image.archives().map(|view| {
        let points = view.points_valid(test_now());
        points.map(|point| (point.timestamp, point.value.to_bits())).collect()
    });
    (image.header().layout(), points.collect())
}

/// A carbon without WHISPER_LOCK_WRITES opens, writes and closes, again and again, while its file is
/// reshaped. Every point that it has written is in the new file, or in the tombstone from which the file is
/// filled later.
#[test]
fn a_writer_without_a_lock_loses_nothing_by_a_long_reshape() {
    let fixture = fixture();
    let source = whisper_of(&["60s:10h", "5m:20d"], &[110, 30]);
    fixture.put("a.b", &whisper_of(&["60s:8h"], &[479]));
    let path = fixture.path("a.b");
    let stop = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = Vec::new();
            for round in 0_u32.. {
                if stop.load(Ordering::Relaxed) && round > 50 {
                    break;
                }
                let slot = (test_now() - (478 - round % 478) * 60) / 60 * 60;
                let file = File::options().read(true).write(true).open(&path).unwrap();
                let Ok(mut file) = bucky_whisper::WhisperFile::of_locked(file, &path) else {
                    continue;
                };
                file.update(f64::from(round), slot, test_now()).unwrap();
                written.push(slot);
                // There must be a moment without a write, or the content of the file would never be known.
                std::thread::sleep(Duration::from_millis(3));
            }
            written
        });
        let (line, aside) = heal(&fixture, rules(OnSchemaDifference::Reshape), &source);
        stop.store(true, Ordering::Relaxed);
        let written = writer.join().unwrap();
        assert_eq!((line.outcome, aside), (HealOutcome::Filled, Some(1)), "{line:?}");
        written
    });
    // As the sweeper does after the grace time.
    let (batch, _) = fixture.store.tombstone_batches().unwrap().remove(0);
    let (old, _) = fixture.store.open_tombstone(&batch, 0).unwrap();
    let mut late = VolumeBatch::new(&fixture.store);
    assert!(late.fill_from_open(&name("a.b"), &old, Digest::of(&[])));
    assert!(late.finish().0[0].outcome.is_healed());
    let content = fs::read(&path).unwrap();
    let view = Image::parse(&content).unwrap().archive(0).unwrap();
    for slot in written {
        assert!(view.valid(slot, unix_now()).is_some(), "{slot} is lost");
    }
    assert!(holds(&fixture, &source));
}
