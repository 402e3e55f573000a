use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    Aggregation, AggregationSix, Clocks, FillOptions, Header, Point, Retention, XFilesFactor, fill,
};

const NOW: u32 = 1_700_000_040;

/// A file with these points, in an archive of 10 minutes by 60 s.
fn content(points: &[Point]) -> Vec<u8> {
    let retention: Retention = "60s:10m".parse().unwrap();
    let factor = XFilesFactor::new(0.0).unwrap();
    let header = Header::for_retentions(&[retention], Aggregation::Last, factor).unwrap();
    let mut bytes = header.encode();
    bytes.resize(usize::try_from(header.file_size_bytes()).unwrap(), 0);
    let start = usize::try_from(header.size_bytes()).unwrap();
    for (slot, point) in points.iter().enumerate() {
        bytes[start + slot * 12..start + slot * 12 + 12].copy_from_slice(&point.encode());
    }
    bytes
}

fn point(age: u32) -> Point {
    Point { timestamp: NOW - NOW % 60 - age * 60, value: f64::from(age) }
}

fn valid(file: &File) -> Vec<u32> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let image = Image::parse(&bytes).unwrap();
    let newest = point(0).timestamp;
    let ages = |point: Point| (newest - point.timestamp) / 60;
    image.archives().flat_map(|archive| archive.points_valid(NOW)).map(ages).collect()
}

fn first_points(file: &File) {
    let start = content(&[]).len() - 10 * 12;
    let points = [point(1).encode(), point(0).encode()];
    file.write_all_at(points.as_flattened(), start as u64).unwrap();
}

fn options() -> FillOptions {
    FillOptions { clocks: Clocks::at(NOW), aggregation_six: AggregationSix::default() }
}

/// A writer without a lock looks at an archive without a base before we do, and writes after we did.
#[test]
fn a_first_point_that_came_before_our_write_is_not_overwritten() {
    let (source, empty) = (content(&[point(5), point(4), point(3)]), content(&[]));
    let (source, looked_at) = (Image::parse(&source).unwrap(), Image::parse(&empty).unwrap());
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&empty, 0).unwrap();
    let plan = fill(&source, &looked_at, options());
    first_points(&file);
    assert_eq!(write_in_place(&plan, &looked_at, &file).unwrap(), Written::Disturbed);
    assert_eq!(valid(&file), [1, 0], "the writer's points are as they were");
    let mut there = empty.clone();
    file.read_exact_at(&mut there, 0).unwrap();
    let there = Image::parse(&there).unwrap();
    let plan = fill(&source, &there, options());
    assert_eq!(write_in_place(&plan, &there, &file).unwrap(), Written::Whole);
    assert_eq!(valid(&file), [5, 4, 3, 1, 0]);
}

#[test]
fn a_first_point_that_comes_during_our_write_is_noticed() {
    let (source, empty) = (content(&[point(5), point(4), point(3)]), content(&[]));
    let (source, looked_at) = (Image::parse(&source).unwrap(), Image::parse(&empty).unwrap());
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&empty, 0).unwrap();
    let plan = fill(&source, &looked_at, options());
    assert_eq!(write_in_place(&plan, &looked_at, &file).unwrap(), Written::Whole);
    let run = plan.runs().next().unwrap();
    assert!(is_still_there(run, &file).unwrap());
    first_points(&file);
    assert!(!is_still_there(run, &file).unwrap());
}

/// Longer than any process in these tests keeps a file open.
const LEASE_LIMIT: Duration = Duration::from_secs(60);
/// The archives of the larger files: some have more slots than a stretch may have, some fewer.
const LARGE: [&str; 3] = ["1s:3h", "60s:1d", "1h:10d"];

/// A file with an archive for each of [`LARGE`], and points in the slots for which `keep` returns true. It
/// gets the number of the archive and the age of the slot, in slots.
fn large(keep: impl Fn(usize, u32) -> bool) -> Vec<u8> {
    let retentions = LARGE.map(|text| text.parse::<Retention>().unwrap());
    let factor = XFilesFactor::new(0.0).unwrap();
    let header = Header::for_retentions(&retentions, Aggregation::Last, factor).unwrap();
    let mut bytes = header.encode();
    for (number, archive) in header.archives.iter().enumerate() {
        let (step, points) = (archive.seconds_per_point, archive.points);
        for age in (0..points).rev() {
            let point = Point { timestamp: NOW - NOW % step - age * step, value: f64::from(age) };
            bytes.extend(if keep(number, age) { point.encode() } else { [0; Point::SIZE_BYTES] });
        }
    }
    bytes
}

/// A new file with this content, on a file system that supports leases.
fn file_at(path: &Path, content: &[u8]) -> File {
    std::fs::write(path, content).unwrap();
    File::options().read(true).write(true).open(path).unwrap()
}

fn content_of(file: &File) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut content, 0).unwrap();
    content
}

/// Writes a plan under a lease, even if it is not worth one.
fn write_leased(plan: &FillPlan, destination: &Image<'_>, file: &File) -> io::Result<Written> {
    let mut writing = PlanWriter::new(destination, file);
    writing.write_stretches(plan, Lease::take(file, LEASE_LIMIT).unwrap())?;
    writing.finish()
}

/// Patterns of missing slots: alternating runs of any length, or a random choice for each slot.
fn missing() -> impl Strategy<Value = Vec<bool>> {
    let turns = (1_usize..700, 1_usize..700).prop_map(|(here, gone)| {
        std::iter::repeat_n(false, here).chain(std::iter::repeat_n(true, gone)).collect()
    });
    prop_oneof![turns, proptest::collection::vec(any::<bool>(), 1..50)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Covers files with bytes after the archives, and with an empty archive.
    #[test]
    fn stretches_write_the_same_bytes_as_single_runs(
        gone in [missing(), missing(), missing()],
        empty in proptest::option::of(0_usize..3),
        behind in proptest::collection::vec(any::<u8>(), 0..30),
    ) {
        let source = large(|_, _| true);
        let kept = |archive: usize, age: u32| !gone[archive][age as usize % gone[archive].len()];
        let mut destination = large(|archive, age| empty != Some(archive) && kept(archive, age));
        destination.extend(behind);
        let image = Image::parse(&destination).unwrap();
        let plan = fill(&Image::parse(&source).unwrap(), &image, options());

        let folder = tempfile::tempdir().unwrap();
        let together = file_at(&folder.path().join("together"), &destination);
        prop_assert_eq!(write_leased(&plan, &image, &together).unwrap(), Written::Whole);
        let by_run = file_at(&folder.path().join("by run"), &destination);
        let mut writing = PlanWriter::new(&image, &by_run);
        plan.runs().try_for_each(|run| writing.write(run)).unwrap();
        prop_assert_eq!(writing.finish().unwrap(), Written::Whole);
        let mut applied = destination.clone();
        plan.apply(&mut applied);
        prop_assert!(content_of(&by_run) == applied);
        prop_assert!(content_of(&together) == applied);
    }

    #[test]
    fn stretches_have_the_runs_and_what_was_between_them(
        gone in [missing(), missing(), missing()],
    ) {
        let source = large(|_, _| true);
        let destination =
            large(|archive, age| !gone[archive][age as usize % gone[archive].len()]);
        let image = Image::parse(&destination).unwrap();
        let plan = fill(&Image::parse(&source).unwrap(), &image, options());
        let mut after = destination.clone();
        plan.apply(&mut after);
        let mut changed = Vec::new();
        for stretch in plan.stretches() {
            let start = usize::try_from(stretch.whole.offset).unwrap();
            prop_assert!(stretch.whole.bytes == &after[start..start + stretch.whole.bytes.len()]);
            let runs: Vec<Run<'_>> = stretch.runs().collect();
            prop_assert_eq!(runs[0].offset, stretch.whole.offset);
            for pair in runs.windows(2) {
                let between = pair[1].offset - pair[0].offset - pair[0].bytes.len() as u64;
                prop_assert!(between < 4096, "{between} bytes hold a whole page");
            }
            for run in runs {
                changed.extend(run.offset..run.offset + run.bytes.len() as u64);
            }
        }
        let of_runs =
            plan.runs().flat_map(|run| run.offset..run.offset + run.bytes.len() as u64);
        prop_assert!(changed == of_runs.collect::<Vec<u64>>());
    }
}

/// A writer adds a point in a slot that stays unchanged, between our read and the lease.
#[test]
fn a_point_written_between_two_runs_before_the_lease_stays() {
    let (source, destination) = (large(|_, _| true), large(|_, age| age % 2 == 0));
    let image = Image::parse(&destination).unwrap();
    let plan = fill(&Image::parse(&source).unwrap(), &image, options());
    let folder = tempfile::tempdir().unwrap();
    let file = file_at(&folder.path().join("a.wsp"), &destination);
    let mut applied = destination.clone();
    plan.apply(&mut applied);
    for archive in image.archives() {
        // This slot is too old for the finer archives, and lies between two slots that change.
        let age = archive.archive().points / 8 * 6;
        let position = archive.archive().points - 1 - age;
        let kept = archive.stored(position).unwrap();
        assert_ne!(kept.timestamp, 0);
        let point = Point { value: -1.0, ..kept }.encode();
        let at = archive.slot_offset(position);
        file.write_all_at(&point, at).unwrap();
        let at = usize::try_from(at).unwrap();
        applied[at..at + point.len()].copy_from_slice(&point);
    }
    assert_eq!(write_leased(&plan, &image, &file).unwrap(), Written::Whole);
    assert!(content_of(&file) == applied);
}

#[test]
fn a_lease_is_asked_for_where_runs_are_many_and_close() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wsp");
    let source = large(|_, _| true);
    // A page has 341 slots.
    for (gone, is_worth_it) in [(2, true), (100, true), (400, false), (5000, false)] {
        let destination = large(|_, age| age % gone != 1);
        let image = Image::parse(&destination).unwrap();
        let plan = fill(&Image::parse(&source).unwrap(), &image, options());
        let file = file_at(&path, &destination);
        assert_eq!(is_worth_a_lease(&plan), is_worth_it, "every {gone}th");
        let other = File::open(&path).unwrap();
        assert!(lease_for(&plan, &file).is_none(), "somebody else has it open");
        assert_eq!(write_in_place(&plan, &image, &file).unwrap(), Written::Whole);
        let mut applied = destination.clone();
        plan.apply(&mut applied);
        assert!(content_of(&other) == applied, "every {gone}th");
    }
}

/// Writes as whisper.py does: each update opens the file, without a lock.
fn update(path: &Path, offset: u64, point: Point) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    file.write_all_at(&point.encode(), offset).unwrap();
}

/// Sets the flag when it is dropped.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_point_of_a_writer_without_a_lock_is_undone() {
    let (source, destination) = (large(|_, _| true), large(|_, age| age % 2 == 0));
    let image = Image::parse(&destination).unwrap();
    let finest = image.archive(0).unwrap();
    // Slots that no fill changes, between slots that every fill writes.
    let slots: Vec<(u64, Point)> = (1..finest.archive().points)
        .step_by(2)
        .map(|position| (finest.slot_offset(position), finest.stored(position).unwrap()))
        .collect();
    assert!(slots.iter().all(|(_, point)| point.timestamp != 0));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wsp");
    let (mut leased, mut timed_out) = (0, 0);
    for round in 0..150 {
        drop(file_at(&path, &destination));
        let filled = AtomicBool::new(false);
        let written = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut written = Vec::new();
                let mut turn = 0;
                while !filled.load(Ordering::Relaxed) {
                    let (offset, point) = slots[(turn * 7919 + round) % slots.len()];
                    let point = Point { value: -f64::from(u32::try_from(turn).unwrap()), ..point };
                    update(&path, offset, point);
                    written.push((offset, point));
                    turn += 1;
                    std::thread::sleep(Duration::from_micros(round as u64 % 50));
                }
                written
            });
            // Dropped on failure too, so that the writer always ends.
            let filled = SetOnDrop(&filled);
            std::thread::sleep(Duration::from_micros(100));
            let file = File::options().read(true).write(true).open(&path).unwrap();
            let content = content_of(&file);
            let now = Image::parse(&content).unwrap();
            let plan = fill(&Image::parse(&source).unwrap(), &now, options());
            // The kernel says at once whether the writer has it open at this moment.
            let mut writing = PlanWriter::new(&now, &file);
            match Lease::take_now(&file) {
                Some(lease) => {
                    leased += 1;
                    if let Err(error) = writing.write_stretches(&plan, lease) {
                        // The machine stalled during a write. A point may be lost then, and the error says
                        // so.
                        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
                        return None;
                    }
                }
                None => plan.runs().try_for_each(|run| writing.write(run)).unwrap(),
            }
            assert_eq!(writing.finish().unwrap(), Written::Whole);
            drop(filled);
            Some(writer.join().unwrap())
        });
        let Some(written) = written else {
            timed_out += 1;
            continue;
        };
        let last: std::collections::HashMap<u64, Point> = written.into_iter().collect();
        let content = std::fs::read(&path).unwrap();
        for (offset, point) in last {
            let at = usize::try_from(offset).unwrap();
            assert_eq!(content[at..at + Point::SIZE_BYTES], point.encode(), "round {round}");
        }
        let after = Image::parse(&content).unwrap();
        assert!(after.archives().all(|archive| {
            archive.points_valid(NOW).count() == archive.archive().points as usize
        }));
    }
    assert!(leased > timed_out, "no lease was reliable");
    assert!(timed_out < 15, "a write took too long {timed_out} times");
}
