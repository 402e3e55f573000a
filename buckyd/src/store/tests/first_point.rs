//! A file that a writer without a lock has just created, and to which it writes the first points during a
//! fill.

use std::os::unix::fs::FileExt;

use super::*;

/// For how long a file counts as just created.
const JUST_MADE: Duration = Duration::from_secs(1);

/// A file without points, as `whisper.create` makes it, at this time.
fn made(fixture: &Fixture, metric: &str, time: SystemTime) -> File {
    fixture.put(metric, &whisper(&[]));
    let file = OpenOptions::new().write(true).open(fixture.path(metric)).unwrap();
    file.set_modified(time).unwrap();
    file
}

/// Runs `story` until it has a result. On a busy machine a file is sometimes no longer just created when its
/// turn comes. Such a run is repeated.
fn first_result<T>(story: impl Fn() -> Option<T>) -> T {
    (0..100).find_map(|_| story()).expect("a machine that does in a second what takes half of it")
}

/// What a writer writes that has found both archives without a base: points of these ages, at their
/// beginnings.
fn write_first_points(file: &File, ages: &[u32]) {
    let content = whisper(&[]);
    let image = Image::parse(&content).unwrap();
    let now = test_now();
    for archive in image.archives() {
        let step = archive.archive().seconds_per_point;
        let mut written: Vec<u32> = ages.iter().map(|age| (now - age * 60) / step * step).collect();
        written.dedup();
        let points: Vec<[u8; 12]> = written
            .iter()
            .map(|timestamp| bucky_whisper::Point { timestamp: *timestamp, value: 7.0 }.encode())
            .collect();
        file.write_all_at(points.as_flattened(), archive.slot_offset(0)).unwrap();
    }
}

/// Both believe that theirs is the first point. One would overwrite the other's slots.
#[test]
fn a_fill_waits_for_the_first_point_of_a_file_that_was_just_made() {
    let fixture = Fixture::new();
    let source = whisper(&[30, 29, 28, 27, 26]);
    let line = first_result(|| {
        let begun = Instant::now();
        let writer = made(&fixture, "a", SystemTime::now());
        let (line, age) = std::thread::scope(|scope| {
            let heal = scope.spawn(|| fixture.heal(&[member("a", &source)]).remove(0));
            std::thread::sleep(Duration::from_millis(100));
            write_first_points(&writer, &[2, 1, 0]);
            let age = begun.elapsed();
            (heal.join().unwrap(), age)
        });
        // A fill that has waited long enough for the first point reports that.
        (age < JUST_MADE && line.problem != Some(Problem::Busy)).then_some(line)
    });
    assert_eq!((line.outcome, line.points > 0), (HealOutcome::Filled, true), "{}", line.reason);
    assert_eq!(
        fine_points(&fs::read(fixture.path("a")).unwrap()),
        8,
        "five of one and three of the other"
    );
}

#[test]
fn a_file_that_gets_no_first_point_is_busy_at_first_and_then_filled() {
    let fixture = Fixture::new();
    let source = whisper(&[3, 2]);
    let line = first_result(|| {
        let begun = Instant::now();
        // A little ahead, so that it is just created for that much longer.
        let ahead = JUST_MADE * 9 / 10;
        drop(made(&fixture, "a", SystemTime::now() + ahead));
        let line = fixture.heal(&[member("a", &source)]).remove(0);
        (begun.elapsed() < JUST_MADE + ahead).then_some(line)
    });
    assert_eq!((line.outcome, line.problem), (HealOutcome::Failed, Some(Problem::Busy)));
    assert!(line.reason.contains("no points yet"), "{}", line.reason);
    drop(made(&fixture, "a", SystemTime::now() - JUST_MADE * 2));
    assert_eq!(fixture.heal(&[member("a", &source)])[0].outcome, HealOutcome::Filled);
    assert_eq!(fine_points(&fs::read(fixture.path("a")).unwrap()), 2);
}

/// If the clock was ahead, the file would be young until that time.
#[test]
fn a_time_of_change_in_the_future_makes_no_file_young() {
    let fixture = Fixture::new();
    let ahead = SystemTime::now() + Duration::from_secs(3600);
    drop(made(&fixture, "a", ahead));
    assert_eq!(fixture.heal(&[member("a", &whisper(&[3]))])[0].outcome, HealOutcome::Filled);
    fixture.put("b", b"no Whisper file");
    let file = OpenOptions::new().write(true).open(fixture.path("b")).unwrap();
    file.set_modified(ahead).unwrap();
    let line = fixture.heal(&[member("b", &whisper(&[3]))]).remove(0);
    assert_eq!(line.problem, Some(Problem::DestinationDamaged), "{}", line.reason);
}
