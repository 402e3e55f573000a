use super::*;
use proptest::prelude::*;
use std::io::Write;

fn written(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

fn read(content: &[u8]) -> Result<SeriesList, SeriesListError> {
    SeriesList::read(written(content).path())
}

fn known(list: &SeriesList, series: &str) -> bool {
    let hash = SeriesHash::of(series);
    list.series_of(&hash).is_some_and(|found| found.as_str() == series)
}

#[test]
fn each_series_is_found_by_its_hash_and_no_other_is() {
    let long = format!("long;tag={}", "x".repeat(5_000));
    let content = format!("a;b=c\nd.e;f=g;h=i\n{long}\nlast;x=é");
    let list = read(content.as_bytes()).unwrap();
    for series in ["a;b=c", "d.e;f=g;h=i", &long, "last;x=é"] {
        assert!(known(&list, series), "{series}");
    }
    for other in ["a;b=d", "d.e;f=g", "last;x=é\n", ""] {
        assert!(!known(&list, other), "{other}");
    }
    assert_eq!(list.counts(), &SeriesCounts { series: 4, ..SeriesCounts::default() });
}

#[test]
fn a_byte_order_mark_carriage_returns_empty_lines_and_comments_do_no_harm() {
    let list =
        read(b"\xef\xbb\xbfa;b=c\r\n\r\n# exported on Monday\r\n   \nd;e=f\r\n\r\n").unwrap();
    assert!(known(&list, "a;b=c") && known(&list, "d;e=f"));
    assert_eq!(list.counts(), &SeriesCounts { series: 2, ..SeriesCounts::default() });
}

#[test]
fn duplicates_are_counted_and_lines_that_are_not_series_are_named_by_number() {
    let list = read(b"path\na;b=c\na;b=c\nno tags\nx;y=\xff\na;b=c\r\nd;e=f").unwrap();
    let first = NotSeries { line: 1, reason: "it has no tags" };
    let counts =
        SeriesCounts { series: 2, duplicates: 2, not_series: 3, first_not_series: Some(first) };
    assert_eq!(list.counts(), &counts);
    assert!(known(&list, "a;b=c") && known(&list, "d;e=f"));
    let message = counts.first_not_series.unwrap().to_string();
    assert_eq!(message, "line 1 is not a series: it has no tags");
}

#[test]
fn a_file_that_is_no_list_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let missing = SeriesList::read(&folder.path().join("none")).unwrap_err();
    assert!(matches!(missing, SeriesListError::Unreadable { .. }), "{missing}");
    let is_folder = SeriesList::read(folder.path()).unwrap_err();
    assert!(is_folder.to_string().contains("not a regular file"), "{is_folder}");
    assert!(SeriesList::read(Path::new("/dev/null")).is_err());
    for (content, expected) in [
        (&b"\x1f\x8b\x08\x00rest"[..], "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"", "has no series; give one a line"),
        (b"a.b.c\nd.e.f\n", "has no series; give one a line"),
    ] {
        let error = read(content).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = read(b"\na.b.c\n").unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "line 2 is not a series: it has no tags");
}

/// A file that is rewritten in place must not place a metric by other content at the same offset.
#[test]
fn a_later_change_of_the_file_places_nothing() {
    let file = written(b"aa;b=c\nbb;b=c\n");
    let list = SeriesList::read(file.path()).unwrap();
    assert!(!list.is_outdated(file.path()).unwrap());
    file.as_file().write_all_at(b"zz;b=c\n", 0).unwrap();
    assert!(!known(&list, "aa;b=c") && !known(&list, "zz;b=c") && known(&list, "bb;b=c"));
    file.as_file().set_len(3).unwrap();
    assert!(!known(&list, "bb;b=c"));
    assert!(list.is_outdated(file.path()).unwrap());
}

#[test]
fn a_list_that_keeps_a_copy_knows_its_series_whatever_becomes_of_the_file() {
    let file = written(b"\xef\xbb\xbfa;b=c\r\nnone\na;b=c\nd;e=f");
    let list = SeriesList::copied(file.path(), tempfile::tempfile().unwrap()).unwrap();
    file.as_file().set_len(0).unwrap();
    assert!(known(&list, "a;b=c") && known(&list, "d;e=f") && !known(&list, "none"));
    assert_eq!((list.counts().series, list.counts().duplicates), (2, 1));
    assert!(list.is_outdated(file.path()).unwrap());
}

#[test]
fn a_file_that_was_replaced_serves_until_the_new_one_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let [path, next] = ["series", "next"].map(|name| folder.path().join(name));
    std::fs::write(&path, "a;b=c\n").unwrap();
    let list = SeriesList::read(&path).unwrap();
    std::fs::write(&next, "d;e=f\n").unwrap();
    std::fs::rename(&next, &path).unwrap();
    assert!(known(&list, "a;b=c"));
    assert!(list.is_outdated(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    assert!(list.is_outdated(&path).is_err());
}

#[test]
fn a_series_takes_eight_bytes() {
    let content: String = (0..10_000).map(|number| format!("m;n={number}\n")).collect();
    let list = read(content.as_bytes()).unwrap();
    assert_eq!(list.index.capacity() * size_of::<u64>(), 80_000);
}

proptest! {
    /// For any content: every line that is a series is found, nothing else is, and all lines are counted.
    #[test]
    fn exactly_the_series_of_the_file_are_known(
        lines in prop::collection::vec("[ab]{0,2}(;[ab]{0,1}=?[ab]{0,1}){0,2}", 0..40),
        ending in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let is_series = |line: &&String| check_form(line).is_ok();
        let series: HashSet<&String> = lines.iter().filter(is_series).collect();
        match read(lines.join(ending).as_bytes()) {
            Err(SeriesListError::NoSeries { .. }) => prop_assert!(series.is_empty()),
            Err(error) => panic!("{error}"),
            Ok(list) => {
                prop_assert!(lines.iter().all(|line| known(&list, line) == is_series(&line)));
                let counts = list.counts();
                prop_assert_eq!(counts.series, series.len() as u64);
                let empty = lines.iter().filter(|line| line.is_empty()).count() as u64;
                let all = counts.series + counts.duplicates + counts.not_series + empty;
                prop_assert_eq!(all, lines.len() as u64);
            }
        }
    }
}
