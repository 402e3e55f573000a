//! Which names a pattern matches.

use proptest::prelude::*;

use super::super::{LIST, Pattern, escaped};

pub(super) fn matches(pattern: &str, name: &str) -> bool {
    pattern.parse::<Pattern>().is_ok_and(|pattern| pattern.matches(name))
}

#[test]
fn patterns_match_as_the_contract_has_it() {
    for (pattern, name, fits) in [
        ("app.*", "app.b.c", true),
        ("app.*", "app.", true),
        ("app.*", "app", false),
        ("app.*", "xapp.b", false),
        ("*", "a.b.c", true),
        ("**", "a.b.c", true),
        ("*", "", true),
        ("*", "app/a", false),
        ("**", "app/a", false),
        ("app*", "app/a", false),
        ("a?c", "abc", true),
        ("a?c", "a.c", true),
        ("a?c", "aéc", true),
        ("a?c", "ac", false),
        ("a?c", "a/c", false),
        ("[ab].x", "a.x", true),
        ("[ab].x", "c.x", false),
        ("[a-c]x", "bx", true),
        ("[a-c]x", "dx", false),
        ("[^z]*", "abc", true),
        ("[^z]*", "zbc", false),
        ("[!z]*", "abc", false),
        ("[!z]*", "!bc", true),
        ("[^z]*", "", false),
        ("[a\\-z]", "-", true),
        ("[a\\-z]", "m", false),
        ("[\\]]", "]", true),
        ("[*]", "*", true),
        ("[*]", "x", false),
        ("a]", "a]", true),
        ("\\*", "*", true),
        ("\\*", "x", false),
        ("\\a\\.b", "a.b", true),
        ("{a,b}", "a", false),
        ("{a,b}", "{a,b}", true),
        ("App.*", "app.x", false),
        ("app", "app", true),
        ("app", "app.a", false),
        ("*.cpu", "a.b.cpu", true),
        ("*.cpu", "a.cpu.b", false),
        ("a*b*c", "a.b.x.b.c", true),
        ("", "", true),
        ("", "a", false),
    ] {
        assert_eq!(matches(pattern, name), fits, "{pattern:?} and {name:?}");
    }
}

#[test]
fn a_list_needs_a_pattern_that_matches_the_one_character() {
    for (pattern, fits) in
        [("*", true), ("**", true), ("?", true), ("[*]", true), ("\\*", true), ("app.*", false)]
    {
        assert_eq!(matches(pattern, LIST), fits, "{pattern:?}");
    }
}

/// If each run were tried again for each character of the name, this would take forever.
#[test]
fn many_runs_take_no_more_time_than_the_lengths_allow() {
    let pattern: Pattern = format!("{}b", "*a".repeat(2000)).parse().unwrap();
    let begun = std::time::Instant::now();
    assert!(!pattern.matches(&"a".repeat(4000)));
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

/// The rules again, as simply as possible: try each part with everything that it can match.
fn naive(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['*', rest @ ..] => (0..=name.len()).any(|taken| naive(rest, &name[taken..])),
        ['?', rest @ ..] => !name.is_empty() && naive(rest, &name[1..]),
        ['[', '^', c, ']', rest @ ..] => {
            name.first().is_some_and(|first| first != c) && naive(rest, &name[1..])
        }
        ['[', a, '-', b, ']', rest @ ..] => {
            name.first().is_some_and(|first| (a..=b).contains(&first)) && naive(rest, &name[1..])
        }
        ['\\', c, rest @ ..] | [c, rest @ ..] => name.first() == Some(c) && naive(rest, &name[1..]),
    }
}

proptest! {
    #[test]
    fn a_pattern_matches_what_the_rules_say(
        parts in prop::collection::vec(
            prop::sample::select(vec!["*", "?", "a", "b", ".", "[^a]", "[a-b]", "\\*", "\\a", "é"]),
            0..9,
        ),
        name in "[ab.*é]{0,10}",
    ) {
        let pattern = parts.concat();
        let (chars, letters): (Vec<char>, Vec<char>) =
            (pattern.chars().collect(), name.chars().collect());
        prop_assert_eq!(matches(&pattern, &name), naive(&chars, &letters), "{} {}", pattern, name);
    }

    #[test]
    fn the_pattern_of_a_name_matches_it_and_nothing_else(
        name in "[a-c.*?\\[\\]\\\\^-]{1,12}",
        other in "[a-c.*?\\[\\]\\\\^-]{1,12}",
    ) {
        let pattern = escaped(&name);
        prop_assert!(matches(&pattern, &name), "{}", pattern);
        prop_assert_eq!(matches(&pattern, &other), name == other);
    }
}
