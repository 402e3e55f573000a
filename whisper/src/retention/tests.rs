use proptest::prelude::*;

use super::*;

fn retention(seconds_per_point: u32, points: u32) -> Retention {
    Retention::new(seconds_per_point, points).unwrap()
}

#[test]
fn retentions_are_read_as_operators_write_them() {
    let cases = [
        ("60s:1d", 60, 1_440),
        ("1m:30d", 60, 43_200),
        ("10:8640", 10, 8_640),
        ("1min:1year", 60, 525_600),
        ("1h:5y", 3_600, 43_800),
        ("7s:1m", 7, 8),
        (" 1d:1w\n", 86_400, 7),
    ];
    for (text, seconds_per_point, points) in cases {
        assert_eq!(text.parse(), Ok(retention(seconds_per_point, points)), "{text:?}");
    }
}

#[test]
fn an_invalid_retention_is_refused_with_the_reason() {
    let not_a_time = |text: &str| RetentionParseError::NotATime { text: text.to_owned() };
    let too_large = |text: &str| RetentionParseError::TooLarge { text: text.to_owned() };
    let cases = [
        ("60", RetentionParseError::NoColon { text: "60".to_owned() }),
        ("", RetentionParseError::NoColon { text: String::new() }),
        (":60", not_a_time("")),
        ("60x:1d", not_a_time("60x")),
        ("60:1d:1d", not_a_time("1d:1d")),
        ("-60:1d", not_a_time("-60")),
        ("60:1.5d", not_a_time("1.5d")),
        ("6٣:1d", not_a_time("6٣")),
        ("0:1d", RetentionParseError::ZeroPrecision),
        ("60:0", RetentionParseError::ZeroPoints),
        ("1h:1m", RetentionParseError::ZeroPoints),
        ("4294967296:1", too_large("4294967296")),
        ("1:4294967296", too_large("4294967296")),
        ("1:99999999999999999999", too_large("99999999999999999999")),
        ("1:999999999999999999y", too_large("999999999999999999y")),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<Retention>(), Err(expected), "{text:?}");
    }
}

#[test]
fn a_retention_is_shown_in_the_largest_whole_units() {
    let cases = [
        (60, 1_440, "1m:1d"),
        (10, 8_640, "10s:1d"),
        (90, 1, "90s:90s"),
        (31_536_000, 2, "1y:2y"),
        (604_800, 1, "1w:1w"),
    ];
    for (seconds_per_point, points, text) in cases {
        assert_eq!(retention(seconds_per_point, points).to_string(), text);
    }
}

#[test]
fn a_list_is_refused_for_the_first_rule_that_does_not_hold() {
    let (second, minute) = (retention(1, 60), retention(60, 10));
    assert_eq!(validate_retentions(&[minute, second]), Ok(()), "in any order");
    assert_eq!(validate_retentions(&[]), Err(RetentionError::None));

    let other = retention(60, 20);
    let expected = RetentionError::SamePrecision { first: minute, second: other };
    assert_eq!(validate_retentions(&[minute, other]), Err(expected));

    let coarser = retention(7, 60);
    let finer = retention(2, 60);
    let expected = RetentionError::DoesNotDivide { finer, coarser };
    assert_eq!(validate_retentions(&[coarser, finer]), Err(expected));

    let coarser = retention(60, 1);
    let expected = RetentionError::CoversNoMore { finer: second, coarser };
    assert_eq!(validate_retentions(&[second, coarser]), Err(expected));

    let finer = retention(1, 59);
    let expected = RetentionError::TooFewPoints { finer, coarser: minute, needed: 60 };
    assert_eq!(validate_retentions(&[finer, minute]), Err(expected));
}

#[test]
fn an_x_files_factor_is_a_share() {
    for share in [0.0, 0.5, 1.0] {
        assert_eq!(XFilesFactor::new(share).map(XFilesFactor::get), Ok(share));
    }
    for share in [-0.01, 1.01, f32::NAN, f32::INFINITY] {
        assert!(XFilesFactor::new(share).is_err(), "{share}");
        assert!(share.to_string().parse::<XFilesFactor>().is_err(), "{share}");
    }
    assert_eq!("0.25".parse(), Ok(XFilesFactor(0.25)));
    assert!("half".parse::<XFilesFactor>().is_err());
}

#[test]
fn enough_is_the_share_or_more_and_nothing_is_never_enough() {
    let half = XFilesFactor::default();
    assert!(half.is_met(1, 2) && half.is_met(3, 6) && !half.is_met(2, 5));
    let none = XFilesFactor(0.0);
    assert!(none.is_met(1, 1_000) && !none.is_met(0, 1_000) && !none.is_met(0, 0));
    let all = XFilesFactor(1.0);
    assert!(all.is_met(7, 7) && !all.is_met(6, 7));
    // In 32 bits 0.3 is a little more than 3/10. whisper.py compares the stored value.
    assert!(!XFilesFactor(0.3).is_met(3, 10));
}

proptest! {
    #[test]
    fn every_retention_reads_back_from_its_text(seconds_per_point in 1u32.., points in 1u32..) {
        let retention = retention(seconds_per_point, points);
        prop_assert_eq!(retention.to_string().parse(), Ok(retention));
    }

    #[test]
    fn every_retention_of_whole_units_reads_back_from_its_text(minutes in 1u32..100_000, points in 1u32..10_000) {
        let retention = retention(minutes * 60, points);
        prop_assert_eq!(retention.to_string().parse(), Ok(retention));
    }

    #[test]
    fn texts_from_outside_never_panic(text in "\\PC*", timelike in "[0-9smhdwy:]{0,30}") {
        let _ = text.parse::<Retention>();
        let _ = timelike.parse::<Retention>();
    }
}
