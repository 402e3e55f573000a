//! Sources that were cut off: refused with a way out, or salvaged and kept aside if the request asks for it.

use bucky_whisper::Point;

use super::*;

/// A file that was cut off in its second archive, and the complete one.
fn cut() -> (Vec<u8>, Vec<u8>) {
    let whole = whisper(&[1, 2, 3, 90]);
    (whole[..whole.len() - 30].to_vec(), whole)
}

fn fine_points(content: &[u8]) -> Vec<Point> {
    let image = Image::parse(content).unwrap();
    image.archive(0).unwrap().points_valid(test_now()).collect()
}

/// The files that are kept aside.
fn kept(fixture: &Fixture) -> Vec<PathBuf> {
    let folders = fs::read_dir(fixture.prefix.path().join(".bucky/replaced")).unwrap();
    folders.map(|folder| folder.unwrap().path().join("old")).collect()
}

#[test]
fn without_the_option_nothing_is_salvaged_and_the_message_says_how() {
    let fixture = Fixture::new();
    let (cut, _) = cut();
    let line = fixture.heal(&[member("a", &cut)]).remove(0);
    assert_eq!((line.outcome, line.problem), (HealOutcome::Refused, Some(Problem::SourceDamaged)));
    assert!(line.reason.contains("`bucky rebalance --salvage`"), "{}", line.reason);
    assert!(!fixture.path("a").exists());
    // Nothing is left of these.
    for nothing in [&b"no whisper file"[..], &cut[..50], &[]] {
        let line = fixture.heal(&[member("a", nothing)]).remove(0);
        assert!(!line.reason.contains("salvage"), "{}", line.reason);
    }
}

#[test]
fn the_rest_of_a_cut_file_is_created_or_filled_and_the_receipt_is_for_the_cut_file() {
    let fixture = Fixture { on_cut: OnCut::Salvage, ..Fixture::new() };
    let (cut, whole) = cut();
    fixture.put("there", &whisper(&[5]));
    let lines = fixture.heal(&[member("new", &cut), member("there", &cut)]);
    let outcomes: Vec<HealOutcome> = lines.iter().map(|line| line.outcome).collect();
    assert_eq!(outcomes, [HealOutcome::Created, HealOutcome::Filled], "{lines:?}");
    assert!(lines.iter().all(|line| line.digest == Some(Digest::of(&cut))));
    let new = fs::read(fixture.path("new")).unwrap();
    assert_eq!(fine_points(&new), fine_points(&whole));
    assert_eq!(new.len(), whole.len());
    let there = fine_points(&fs::read(fixture.path("there")).unwrap());
    assert!(fine_points(&whole).iter().all(|point| there.contains(point)), "{there:?}");
    assert_eq!(fixture.heal(&[member("new", &cut)])[0].outcome, HealOutcome::Unchanged);
}

#[test]
fn a_cut_source_is_kept_aside_for_good_and_a_whole_one_becomes_a_tombstone() {
    let fixture = Fixture { on_cut: OnCut::Salvage, ..Fixture::new() };
    let (cut, whole) = cut();
    fixture.put("a.cut", &cut);
    fixture.put("a.whole", &whole);
    assert_eq!(fixture.delete("a.cut", Digest::of(&whole)).outcome, DeleteOutcome::Changed);
    let line = fixture.delete("a.cut", Digest::of(&cut));
    assert_eq!(line.outcome, DeleteOutcome::Deleted, "{line:?}");
    assert_eq!(line.kept.map(PathBuf::from), kept(&fixture).pop());
    assert!(!fixture.path("a.cut").exists());
    assert_eq!(fixture.leftovers(), Vec::<PathBuf>::new(), "no tombstone");
    let line = fixture.delete("a.whole", Digest::of(&whole));
    assert_eq!((line.outcome, line.kept), (DeleteOutcome::Deleted, None));
    assert_eq!(fixture.leftovers().len(), 1);

    // A restart tidies up after crashes, and leaves it in place.
    let prefix = fixture.prefix.path().to_owned();
    let Fixture { store, prefix: _prefix, .. } = fixture;
    drop(store);
    let inventory = Arc::new(Inventory::new(&prefix, Duration::from_secs(60)));
    let store = Store::open(&prefix, None, inventory, options()).unwrap();
    assert_eq!(store.replaced().unwrap().files, 1);
    let folder = fs::read_dir(prefix.join(".bucky/replaced")).unwrap().next().unwrap().unwrap();
    assert_eq!(fs::read(folder.path().join("old")).unwrap(), cut);
    let manifest = fs::read_to_string(folder.path().join("manifest")).unwrap();
    assert!(manifest.contains("a.cut") && manifest.contains("behind the file's end"), "{manifest}");
}
