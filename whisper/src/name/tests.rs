use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> MetricName {
    MetricName::parse(text).unwrap()
}

#[test]
fn a_name_is_a_path_below_the_prefix() {
    let cases = [
        ("a.b.c", "a/b/c.wsp"),
        ("a/b/c", "a/b/c.wsp"),
        ("a", "a.wsp"),
        ("a.wsp", "a/wsp.wsp"),
        ("_tagged.abc.def.x_DOT_y;k=v", "_tagged/abc/def/x_DOT_y;k=v.wsp"),
        ("größe.温度", "größe/温度.wsp"),
        ("with space.and-dash", "with space/and-dash.wsp"),
        ("~.$HOME.-rf", "~/$HOME/-rf.wsp"),
    ];
    for (text, path) in cases {
        assert_eq!(name(text).relative_path(), Path::new(path), "{text}");
        assert_eq!(MetricName::from_relative_path(Path::new(path)), Ok(name(text)), "{path}");
    }
    assert_eq!(name("a/b/c").as_str(), "a.b.c");
}

#[test]
fn an_invalid_name_is_refused() {
    let leading_dot = |text: &str| NameError::LeadingDot { name: text.to_owned() };
    let empty_component = |text: &str| NameError::EmptyComponent { name: text.to_owned() };
    let control = |text: &str| NameError::ControlCharacter { name: text.to_owned() };
    let cases = [
        ("", NameError::Empty),
        (".", leading_dot(".")),
        ("..", leading_dot("..")),
        (".hidden", leading_dot(".hidden")),
        ("/etc/passwd", leading_dot(".etc.passwd")),
        ("../a", leading_dot("...a")),
        ("a/../b", empty_component("a....b")),
        ("a/./b", empty_component("a...b")),
        ("a//b", empty_component("a..b")),
        ("a..b", empty_component("a..b")),
        ("a.", empty_component("a.")),
        ("a/", empty_component("a.")),
        ("a\0b", control("a\0b")),
        ("a\nb", control("a\nb")),
        ("a.b\u{7f}", control("a.b\u{7f}")),
    ];
    for (text, expected) in cases {
        assert_eq!(MetricName::parse(text), Err(expected), "{text:?}");
    }
}

#[test]
fn a_file_name_has_up_to_255_bytes_with_its_extension() {
    let (stem, folder) = ("s".repeat(251), "f".repeat(255));
    assert_eq!(
        name(&format!("{folder}.{stem}")).relative_path(),
        Path::new(&format!("{folder}/{stem}.wsp"))
    );
    for (text, expected) in [
        (format!("a.{stem}s"), 256),
        (format!("{folder}f.a"), 256),
        (format!("{folder}.{folder}"), 259),
        // 84 characters, but 252 bytes.
        ("温".repeat(84), 256),
    ] {
        let refused = MetricName::parse(&text);
        assert!(
            matches!(refused, Err(NameError::ComponentTooLong { len_bytes, .. }) if len_bytes == expected)
        );
    }
}

#[test]
fn a_path_has_up_to_4096_bytes_with_its_extension() {
    let long = format!("{}aa", "a.".repeat(2_045));
    assert_eq!(long.len(), 4_092);
    assert!(MetricName::parse(&long).is_ok());
    let refused = MetricName::parse(&format!("{long}a"));
    assert!(matches!(refused, Err(NameError::PathTooLong { len_bytes: 4_097, .. })), "{refused:?}");
}

#[test]
fn files_whose_name_would_mean_another_file_are_refused() {
    let dot_inside = |path: &str, component: &str| NotAddressable::DotInside {
        path: PathBuf::from(path),
        component: component.to_owned(),
    };
    let not_whisper = |path: &str| NotAddressable::NotWhisper { path: PathBuf::from(path) };
    let not_below = |path: &str| NotAddressable::NotBelowPrefix { path: PathBuf::from(path) };
    let cases = [
        ("x.y/z.wsp", dot_inside("x.y/z.wsp", "x.y")),
        ("x/y.z.wsp", dot_inside("x/y.z.wsp", "y.z")),
        (".dot.wsp", dot_inside(".dot.wsp", ".dot")),
        (".bucky/z.wsp", dot_inside(".bucky/z.wsp", ".bucky")),
        ("a.wsp/b.wsp", dot_inside("a.wsp/b.wsp", "a.wsp")),
        ("x/y", not_whisper("x/y")),
        ("x/y.WSP", not_whisper("x/y.WSP")),
        ("x/y.wsp.bak", not_whisper("x/y.wsp.bak")),
        ("", not_whisper("")),
        ("/x/y.wsp", not_below("/x/y.wsp")),
        ("x/../y.wsp", not_below("x/../y.wsp")),
        ("./y.wsp", not_below("./y.wsp")),
    ];
    for (path, expected) in cases {
        assert_eq!(MetricName::from_relative_path(Path::new(path)), Err(expected), "{path}");
    }
    let latin = Path::new(OsStr::from_bytes(b"a/gr\xf6\xdfe.wsp"));
    let expected = NotAddressable::NotUtf8 { path: latin.to_owned() };
    assert_eq!(MetricName::from_relative_path(latin), Err(expected));
    for path in [".wsp", "a/.wsp", "a/b\nc.wsp"] {
        let refused = MetricName::from_relative_path(Path::new(path));
        assert!(matches!(refused, Err(NotAddressable::Name { .. })), "{path:?}: {refused:?}");
    }
}

#[test]
fn the_series_of_a_tagged_file_is_its_last_component_decoded() {
    let known = |text: &'static str| Series::Known(Cow::Borrowed(text));
    let hash = "0123456789abcdef".repeat(4);
    let hashed = name(&format!("_tagged.012.345.{hash}"));
    assert_eq!(hashed.series(), Series::Unplaceable);
    let cases = [
        (
            "_tagged.eff.aae.some_DOT_metric;tag1=value2;tag2=value_DOT_2",
            "some.metric;tag1=value2;tag2=value.2",
        ),
        ("_tagged.eff.aae.plain;k=v", "plain;k=v"),
        ("a.b_DOT_c;k=v", "a.b_DOT_c;k=v"),
        ("_tagged", "_tagged"),
        ("_taggedx.a.b_DOT_c", "_taggedx.a.b_DOT_c"),
        ("x._tagged.a.b_DOT_c", "x._tagged.a.b_DOT_c"),
    ];
    for (text, series) in cases {
        assert_eq!(name(text).series(), known(series), "{text}");
    }
    // A hash elsewhere, or with more characters, is a name like any other.
    assert_eq!(name(&hash).series(), Series::Known(Cow::Borrowed(hash.as_str())));
    let longer = format!("_tagged.012.345.{hash}0");
    assert_ne!(name(&longer).series(), Series::Unplaceable);
}

#[test]
fn a_name_from_json_is_checked_like_any_other() {
    let json = serde_json::to_string(&name("a.b")).unwrap();
    assert_eq!(json, r#""a.b""#);
    assert_eq!(serde_json::from_str::<MetricName>(&json).unwrap(), name("a.b"));
    assert!(serde_json::from_str::<MetricName>(r#""a/../b""#).is_err());
}

proptest! {
    #[test]
    fn a_names_path_leads_back_to_it_and_stays_below_the_prefix(text in "[^./\\x00-\\x1f\\x7f]{1,20}([./][^./\\x00-\\x1f\\x7f]{1,20}){0,6}") {
        let name = MetricName::parse(&text).unwrap();
        let path = name.relative_path();
        prop_assert!(path.components().all(|component| matches!(component, Component::Normal(_))));
        prop_assert_eq!(MetricName::from_relative_path(&path), Ok(name));
    }

    #[test]
    fn a_path_that_is_accepted_is_the_path_of_its_name(text in "[ab./_\\n]{0,12}", extension in "(\\.wsp)?") {
        let path = PathBuf::from(format!("{text}{extension}"));
        if let Ok(name) = MetricName::from_relative_path(&path) {
            prop_assert_eq!(name.relative_path(), path.components().collect::<PathBuf>());
        }
    }

    #[test]
    fn texts_from_outside_never_panic_and_never_make_a_name_of_another_kind(text in any::<String>()) {
        if let Ok(name) = MetricName::parse(&text) {
            prop_assert_eq!(MetricName::parse(name.as_str()), Ok(name.clone()));
            let _ = name.series();
        }
    }
}

proptest! {
    #[test]
    fn is_one_is_what_parse_takes_as_it_stands(text in "[ab./é\\n\u{7f}]{0,8}", times in 1_usize..80, at in 0_usize..6) {
        // Also around the longest component and the longest path.
        let long = "x".repeat([1, 250, 251, 252, 255, 256][at]);
        for text in [text.clone(), format!("{text}{long}"), format!("{long}{text}"), format!("{long}.").repeat(times) + &text] {
            let parsed = MetricName::parse(&text);
            prop_assert_eq!(MetricName::is_one(&text), parsed.is_ok_and(|name| name.as_str() == text), "{:?}", text);
        }
    }
}
