//! A reshape from a node whose clock is ahead: a fill would give the slots of the oldest points to the next turn.

use bucky_api::clock::{ClockOffset, ClockReading};
use bucky_whisper::{OpenMode, WhisperFile};

use super::*;

const HOUR: u32 = 3600;

/// A file of hourly points, at the clock `now`.
fn hourly(retention: &str, now: u32, hours: &[u32]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.wsp");
    let options = CreateOptions {
        retentions: vec![retention.parse().unwrap()],
        x_files_factor: "0.0".parse().unwrap(),
        aggregation: Aggregation::Average,
        layout: FileLayout::Dense,
    };
    bucky_whisper::create(&path, &options).unwrap();
    let mut file = WhisperFile::open(&path, OpenMode::Update, Duration::from_secs(1)).unwrap();
    for hour in hours {
        file.update(f64::from(*hour), hour * HOUR, now).unwrap();
    }
    drop(file);
    fs::read(path).unwrap()
}

#[test]
fn the_oldest_points_of_an_owner_stay_when_a_clock_that_is_ahead_has_the_next_turn_of_their_slots()
{
    for file_limit_bytes in [1024 * 1024, 100] {
        let fixture = Fixture::with(StoreOptions { file_limit_bytes, ..options() });
        let now = unix_now();
        let this_hour = now / HOUR;
        // By the source's clock it has expired.
        let oldest = this_hour - 71;
        fixture.put("a.b", &hourly("1h:3d", now, &[oldest, oldest + 1, this_hour]));
        let source = hourly("1h:6d", now + HOUR, &[this_hour - 100, this_hour + 1]);
        let reading = |seconds: u32| ClockReading::from_unix_millis(i64::from(seconds) * 1000);
        let rules = HealRules {
            on_schema_difference: OnSchemaDifference::Reshape,
            sender: Some(ClockOffset::of_sender(reading(now + HOUR), reading(now))),
            ..HealRules::default()
        };
        let (line, aside) = heal(&fixture, rules, &source);
        assert_eq!(
            (line.outcome, line.points, aside),
            (HealOutcome::Filled, 2, Some(1)),
            "{line:?}"
        );
        let content = fs::read(fixture.path("a.b")).unwrap();
        let view = Image::parse(&content).unwrap().archive(0).unwrap();
        for hour in [this_hour - 100, oldest, oldest + 1, this_hour, this_hour + 1] {
            let is_there = view.points_valid(now).any(|point| point.timestamp == hour * HOUR);
            // The test may begin in the last second of an hour.
            assert!(is_there || unix_now() / HOUR != this_hour, "{hour} is lost of {this_hour}");
        }
    }
}
