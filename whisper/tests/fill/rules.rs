//! The rules R1 to R3 as pictures: one letter for each slot, the newest last.
//!
//! A digit is that value, `-` is -1, `i` is infinity, `n` is a stored NaN, `.` is an empty slot. A picture is
//! as long as its archive, so it shows the whole window at [`NOW`]. There the slots of 10, 30 and 90 seconds
//! end together: three letters of a finer picture lie under one letter of the next coarser picture, counted
//! from the right.

use crate::file::{Archive, File, filled, plan};

/// The last second of a slot of 90 seconds.
const NOW: u32 = 1_700_000_010 + 89;

const AVERAGE: u32 = 1;
const SUM: u32 = 2;
const LAST: u32 = 3;
const AVG_ZERO: u32 = 6;

type Pictures<'a> = &'a [(u32, &'a str)];

fn draw(aggregation: u32, x_files_factor: f32, pictures: Pictures<'_>) -> Vec<u8> {
    let archives = pictures.iter().map(|(step, picture)| draw_archive(*step, picture)).collect();
    File { aggregation, x_files_factor, archives }.bytes()
}

fn draw_archive(step: u32, picture: &str) -> Archive {
    let points = u32::try_from(picture.len()).unwrap();
    let mut archive = Archive::empty(step, points);
    for (slot, letter) in (0..points).zip(picture.chars()) {
        let t = NOW - NOW % step - step * (points - 1 - slot);
        match letter {
            '.' => {}
            'n' => archive.store(t, f64::NAN),
            'i' => archive.store(t, f64::INFINITY),
            '-' => archive.store(t, -1.0),
            digit => archive.store(t, f64::from(digit.to_digit(10).unwrap())),
        }
    }
    archive
}

fn look(bytes: &[u8]) -> Vec<(u32, String)> {
    let file = File::parse(bytes);
    file.archives.iter().map(|archive| (archive.step, look_at(archive))).collect()
}

fn look_at(archive: &Archive) -> String {
    let points = u32::try_from(archive.slots.len()).unwrap();
    let slots = (0..points).rev().map(|age| NOW - NOW % archive.step - archive.step * age);
    slots.map(|t| archive.valid(t, NOW).map_or('.', letter)).collect()
}

fn letter(value: f64) -> char {
    let digits = "0123456789".chars().zip(0_i32..);
    let known = digits.map(|(letter, digit)| (letter, f64::from(digit)));
    let mut known = known.chain([('-', -1.0), ('i', f64::INFINITY)]);
    known.find(|(_, known)| *known == value).map_or('?', |(letter, _)| letter)
}

/// Fills and compares; then fills the result again, which must change nothing.
fn check(name: &str, source: &[u8], destination: &[u8], expected: Pictures<'_>) {
    let after = filled(source, destination, NOW);
    let expected: Vec<(u32, String)> =
        expected.iter().map(|(step, picture)| (*step, (*picture).to_owned())).collect();
    assert_eq!(look(&after), expected, "{name}");
    assert!(plan(source, &after, NOW).is_empty(), "{name}: a second fill changes something");
}

#[test]
fn missing_points_are_taken_and_existing_points_stay() {
    for (name, source, destination, expected) in [
        ("a gap of one (D8 b)", "2222222222", "11111.1111", "1111121111"),
        ("the point after a longer gap (D8 a)", "2222222222", "111...1111", "1112221111"),
        ("every other point (D8 b)", "2.2.2.2.2.", ".1.1.1.1.1", "2121212121"),
        ("both have every other point", "2.2.2.2.2.", "1.1.1.1.1.", "1.1.1.1.1."),
        ("the newest end", "2222222222", "11111111..", "1111111122"),
        ("the oldest end", "2222222222", "..11111111", "2211111111"),
        ("an empty destination", "2.2.222222", "..........", "2.2.222222"),
        ("an empty source", "..........", "1.1.1.1..1", "1.1.1.1..1"),
        ("nothing anywhere", "..........", "..........", ".........."),
        ("zero is a value of the destination", "2222222222", "0000.00000", "0000200000"),
        ("zero is a value of the source", "0000000000", "11.11..111", "1101100111"),
        ("negative and infinite values", "-i-i-i-i-i", "....ii..--", "-i-iii-i--"),
        ("NaN in the destination is a gap", "2222222222", "11n11nn111", "1121122111"),
        ("NaN in the source is a gap", "n2n2n2n2n2", "..........", ".2.2.2.2.2"),
        ("NaN at both ends is a gap", "nnnnnnnnnn", "1n1n1n1n1n", "1.1.1.1.1."),
    ] {
        let source = draw(AVERAGE, 0.5, &[(10, source)]);
        check(name, &source, &draw(AVERAGE, 0.5, &[(10, destination)]), &[(10, expected)]);
    }
}

#[test]
fn a_coarser_slot_is_rolled_up_again_if_the_finer_archive_gained_a_point() {
    fn case(
        name: &str,
        aggregation: u32,
        x_files_factor: f32,
        source: Pictures<'_>,
        destination: Pictures<'_>,
        expected: Pictures<'_>,
    ) {
        let source = draw(aggregation, x_files_factor, source);
        check(name, &source, &draw(aggregation, x_files_factor, destination), expected);
    }
    case(
        "only the slot with the gain, from the destination's own points and the new one",
        SUM,
        0.5,
        &[(10, "111111111"), (30, "....33")],
        &[(10, "2222.2222"), (30, "...949")],
        &[(10, "222212222"), (30, "...959")],
    );
    case(
        "a gain at either end of the span",
        SUM,
        0.5,
        &[(10, "111111111"), (30, "......")],
        &[(10, "222.2222."), (30, "...444")],
        &[(10, "222122221"), (30, "...455")],
    );
    case(
        "a slot that the source filled at the same time",
        SUM,
        0.5,
        &[(10, "....11..."), (30, "..7999")],
        &[(10, "....1...."), (30, "......")],
        &[(10, "....11..."), (30, "..7929")],
    );
    case(
        "too little known: the destination's value stays, the source's is taken",
        SUM,
        1.0,
        &[(10, "..1..1..."), (30, "..7777")],
        &[(10, ".1......."), (30, "..9.9.")],
        &[(10, ".11..1..."), (30, "..9797")],
    );
    case(
        "just enough known: 2 of 3 are 0.66, not 0.7",
        SUM,
        0.66,
        &[(10, "..1......"), (30, "......")],
        &[(10, ".1......."), (30, "...9..")],
        &[(10, ".11......"), (30, "...2..")],
    );
    case(
        "an x-files factor of 0 needs one point, not none",
        SUM,
        0.0,
        &[(10, ".....1..."), (30, "......")],
        &[(10, "........."), (30, "......")],
        &[(10, ".....1..."), (30, "....1.")],
    );
    case(
        "zeros are known",
        AVERAGE,
        1.0,
        &[(10, "000000000"), (30, "......")],
        &[(10, "0.00.00.0"), (30, "......")],
        &[(10, "000000000"), (30, "...000")],
    );
    for (aggregation, expected) in [(AVERAGE, "...3.."), (AVG_ZERO, "...2..")] {
        case(
            "an unknown slot counts as zero for avg_zero alone",
            aggregation,
            0.5,
            &[(10, "3........"), (30, "......")],
            &[(10, "..3......"), (30, "......")],
            &[(10, "3.3......"), (30, expected)],
        );
    }
    case(
        "all the way up, each from the next finer",
        SUM,
        0.5,
        &[(10, "1........"), (30, "......"), (90, "...")],
        &[(10, ".11111111"), (30, ".11233"), (90, ".98")],
        &[(10, "111111111"), (30, ".11333"), (90, ".99")],
    );
    case(
        "a middle archive's own gain goes up as well",
        SUM,
        0.5,
        &[(10, "........."), (30, "1.1..."), (90, "...")],
        &[(10, "........."), (30, ".1...."), (90, "...")],
        &[(10, "........."), (30, "111..."), (90, ".3.")],
    );
}

#[test]
fn a_roll_up_whose_finer_points_have_expired_is_not_recomputed() {
    // The finer window has eight slots: the oldest slot under the fourth coarser slot has expired.
    for aggregation in 1..=8 {
        let source = draw(aggregation, 0.0, &[(10, "11111111"), (30, "......")]);
        let destination = draw(aggregation, 0.0, &[(10, ".2222222"), (30, "..9922")]);
        let expected: Pictures<'_> = &[(10, "12222222"), (30, "..9922")];
        check(&format!("aggregation {aggregation}"), &source, &destination, expected);
    }
}

#[test]
fn a_counter_does_not_spike_where_its_history_meets_fresh_data() {
    // The source has the history, the destination the points from after the ring had changed.
    let source = draw(LAST, 0.0, &[(10, "1234....."), (30, "01234."), (90, ".24")]);
    let destination = draw(LAST, 0.0, &[(10, "....56789"), (30, "....69"), (90, "..9")]);
    let expected: Pictures<'_> = &[(10, "123456789"), (30, "012369"), (90, ".29")];
    check("last", &source, &destination, expected);
}

#[test]
fn filling_a_file_from_its_own_copy_changes_nothing_though_its_roll_ups_are_not_those_of_its_points()
 {
    // D8 c: the coarser values do not match the finer ones.
    let pictures: Pictures<'_> = &[(10, "1.11..011"), (30, ".5n.81"), (90, "7.2")];
    let file = draw(AVERAGE, 0.5, pictures);
    assert!(plan(&file, &file, NOW).is_empty());
    // A copy with another header, and one with other bytes after the archives.
    assert!(plan(&draw(SUM, 0.0, pictures), &file, NOW).is_empty());
    let longer = [file.as_slice(), &[1, 2, 3]].concat();
    assert!(plan(&longer, &file, NOW).is_empty());
}

#[test]
fn an_archive_that_the_source_lacks_is_rolled_up_from_finer_ones_and_never_from_coarser_ones() {
    let case = |name, source, destination, expected| {
        let source = draw(LAST, 0.0, source);
        check(name, &source, &draw(SUM, 0.5, destination), expected);
    };
    case(
        "by the destination's aggregation and x-files factor",
        &[(10, "111.1..1.")],
        &[(30, "......")],
        &[(30, "...3..")],
    );
    case(
        "the destination's value stays",
        &[(10, "111111111")],
        &[(30, "..99..")],
        &[(30, "..9933")],
    );
    case(
        "a span that has half expired is not rolled up",
        &[(10, "11111111")],
        &[(30, "......")],
        &[(30, "....33")],
    );
    case(
        "the next finer archive answers first",
        &[(10, "111111111"), (30, "...222")],
        &[(90, "...")],
        &[(90, "..6")],
    );
    case(
        "nothing finer",
        &[(30, "111111")],
        &[(10, "........."), (90, "...")],
        &[(10, "........."), (90, ".33")],
    );
    case(
        "what is rolled up for one archive goes up to the next",
        &[(10, "111111111")],
        &[(30, "......"), (90, "...")],
        &[(30, "...333"), (90, "..9")],
    );
}

#[test]
fn a_still_finer_archive_answers_where_the_next_finer_one_cannot() {
    let destination = draw(SUM, 0.5, &[(90, "...")]);
    for (name, next_finer) in [("too little known", "....2."), ("too short", "22")] {
        let source = draw(LAST, 0.0, &[(10, "111111111"), (30, next_finer)]);
        check(name, &source, &destination, &[(90, "..9")]);
    }
}

#[test]
fn archives_may_have_other_lengths_than_those_of_the_source() {
    let case = |name, source, destination, expected| {
        let source = draw(SUM, 0.5, source);
        check(name, &source, &draw(SUM, 0.5, destination), expected);
    };
    case("a longer source", &[(10, "222222222")], &[(10, "1.1")], &[(10, "121")]);
    case("a shorter source", &[(10, "222")], &[(10, "1.......1")], &[(10, "1.....221")]);
    case(
        "an archive more in the source",
        &[(10, "222"), (30, "999")],
        &[(10, "1.1")],
        &[(10, "121")],
    );
    case(
        "an archive more in the destination",
        &[(10, "222")],
        &[(10, "1.1"), (90, "...")],
        &[(10, "121"), (90, "...")],
    );
}

#[test]
fn archives_are_filled_finest_first_whatever_their_order_in_the_file() {
    let source = draw(SUM, 0.5, &[(90, "..9"), (10, "111111111"), (30, "......")]);
    let destination = draw(SUM, 0.5, &[(30, "......"), (90, "..."), (10, "1.1......")]);
    let expected: Pictures<'_> = &[(30, "...333"), (90, "..9"), (10, "111111111")];
    check("unordered", &source, &destination, expected);
}

#[test]
fn nothing_is_rolled_up_between_archives_whose_steps_do_not_divide_or_that_are_too_short() {
    let destination = draw(SUM, 0.0, &[(10, "11.111111"), (25, "......")]);
    let source = draw(SUM, 0.0, &[(10, "222222222"), (25, "......")]);
    check("25 is no multiple of 10", &source, &destination, &[(10, "112111111"), (25, "......")]);

    let destination = draw(SUM, 0.0, &[(10, "1."), (30, "......")]);
    let source = draw(SUM, 0.0, &[(10, "22"), (30, "......")]);
    check("two slots are not three", &source, &destination, &[(10, "12"), (30, "......")]);
}

#[test]
fn of_two_archives_with_the_same_step_the_first_counts() {
    let source = draw(SUM, 0.5, &[(10, "222222"), (10, "333333")]);
    let destination = draw(SUM, 0.5, &[(10, "1.1.1."), (10, "4....4")]);
    check("doubled", &source, &destination, &[(10, "121212"), (10, "4....4")]);
}
