//! Readings, offsets and doubts.

use super::*;

fn reading(unix_millis: i64) -> ClockReading {
    ClockReading::from_unix_millis(unix_millis)
}

fn offset(ahead_millis: i64, error_millis: i64) -> ClockOffset {
    ClockOffset { ahead_millis, error_millis }
}

#[test]
fn a_time_that_no_whisper_file_can_hold_is_refused() {
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    assert_eq!(whisper_time(at(0)), Ok(0));
    assert_eq!(whisper_time(at(u64::from(u32::MAX))), Ok(u32::MAX));
    assert_eq!(whisper_time(at(u64::from(u32::MAX) + 1)), Err(ClockOutOfRange));
    assert_eq!(whisper_time(UNIX_EPOCH - Duration::from_secs(1)), Err(ClockOutOfRange));
}

#[test]
fn a_reading_is_written_as_it_is_read() {
    for (millis, text) in [
        (1_796_067_712_345, "1796067712.345"),
        (0, "0.000"),
        (7, "0.007"),
        (-1, "-0.001"),
        (-86_400_000, "-86400.000"),
        (999_999_999_999_999, "999999999999.999"),
    ] {
        assert_eq!(reading(millis).to_string(), text);
        assert_eq!(ClockReading::parse_header(text), Some(reading(millis)), "{text}");
    }
}

#[test]
fn an_invalid_header_counts_as_none() {
    for junk in [
        "",
        ".",
        "-",
        "-.",
        "1",
        "1.",
        ".123",
        "1.12",
        "1.1234",
        "1,123",
        "+1.123",
        " 1.123",
        "1.123 ",
        "--1.123",
        "1.-12",
        "1e3.123",
        "1234567890123.000",
        "0x10.000",
        "١.123",
        "NaN",
        "inf",
        "1.12a",
    ] {
        assert_eq!(ClockReading::parse_header(junk), None, "{junk:?}");
    }
}

#[test]
fn times_before_1970_are_readings_too() {
    let before = UNIX_EPOCH - Duration::from_millis(1500);
    assert_eq!(ClockReading::from(before), reading(-1500));
}

#[test]
fn whisper_can_express_the_seconds_from_2001_to_2106() {
    for (seconds, expected) in [
        (-1, false),
        (0, false),
        (999_999_999, false),
        (1_000_000_000, true),
        (1_796_067_712, true),
        (4_294_967_295, true),
        (4_294_967_296, false),
    ] {
        assert_eq!(reading(seconds * 1000).is_expressible(), expected, "{seconds}");
    }
}

#[test]
fn the_peers_reading_was_taken_at_some_moment_of_the_exchange() {
    // Sent at 100.000, received at 102.000; the peer read 161.000 in between.
    let found = ClockOffset::in_answer(reading(161_000), reading(102_000), Duration::from_secs(2));
    assert_eq!((found.ahead_millis(), found.error()), (60_000, Duration::from_millis(1001)));
    let date = UNIX_EPOCH + Duration::from_secs(161);
    let dated = ClockOffset::in_dated_answer(date, reading(102_000), Duration::from_secs(2));
    assert_eq!((dated.ahead_millis(), dated.error()), (60_500, Duration::from_millis(1501)));
}

#[test]
fn clocks_differ_too_much_only_if_no_delay_explains_it() {
    let limit = Duration::from_secs(30);
    for (ahead, error, expected) in [
        (0, 0, false),
        (30_000, 0, false),
        (30_001, 0, true),
        (-30_001, 0, true),
        (30_500, 500, false),
        (-31_000, 500, true),
        (i64::MIN, 0, true),
        (i64::MAX, i64::MAX, false),
    ] {
        assert_eq!(offset(ahead, error).exceeds(limit), expected, "{ahead} ± {error}");
        assert_eq!(may_trust(Some(offset(ahead, error)), limit).is_err(), expected);
    }
    assert_eq!(may_trust(None, limit), Ok(()));
}

#[test]
fn the_more_exact_measurement_stands_until_a_newer_one_contradicts_it() {
    let exact = offset(100, 5);
    assert_eq!(offset(0, 2000).refined_by(exact), exact);
    assert_eq!(exact.refined_by(offset(1500, 2000)), exact);
    assert_eq!(exact.refined_by(offset(103, 5)), offset(103, 5));
    let jumped = offset(60_000, 2000);
    assert_eq!(exact.refined_by(jumped), jumped);
}

#[test]
fn the_peers_time_is_given_in_whisper_seconds() {
    assert_eq!(offset(61_999, 0).seconds_at(1000), 1061);
    assert_eq!(offset(-1, 0).seconds_at(1000), 999);
    assert_eq!(offset(-2_000_000, 0).seconds_at(1000), 0);
    assert_eq!(offset(5000, 0).seconds_at(u32::MAX), u32::MAX);
}

#[test]
fn an_offset_is_written_in_two_units() {
    for (ahead, text) in [
        (400, "0 s ahead"),
        (-45_000, "45 s behind"),
        (7_800_000, "2 h 10 min ahead"),
        (3_600_000, "1 h ahead"),
        (-90_061_000, "1 d 1 h behind"),
        (2_000_000_000_000, "63 years 137 d ahead"),
    ] {
        assert_eq!(offset(ahead, 0).to_string(), text);
    }
    let doubt = may_trust(Some(offset(-45_000, 0)), MAX_CLOCK_DIFFERENCE).unwrap_err();
    assert_eq!(doubt.to_string(), "its clock is 45 s behind (--max-clock-difference is 30 s)");
}
