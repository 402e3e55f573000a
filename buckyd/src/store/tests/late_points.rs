//! Files that go-carbon keeps beside a metric: a source with late points in one stays.

use std::ffi::OsStr;

use bucky_whisper::late_points_of;

use super::*;

fn beside(file: &Path, name: &OsStr) -> PathBuf {
    file.with_file_name(name)
}

#[test]
fn a_source_with_late_points_beside_it_is_not_deleted() {
    // The last name is too long for the suffix.
    for metric in ["a.b.hits".to_owned(), "hits".to_owned(), format!("a.{}", "n".repeat(250))] {
        let fixture = Fixture::new();
        let content = whisper(&[1]);
        fixture.put(&metric, &content);
        let path = fixture.path(&metric);
        let late = beside(&path, &late_points_of(path.file_name().unwrap()));
        fs::write(&late, whisper(&[2])).unwrap();
        let line = fixture.delete(&metric, Digest::of(&content));
        assert_eq!(line.outcome, DeleteOutcome::Failed, "{line:?}");
        assert_eq!(line.problem, Some(Problem::LatePoints));
        assert!(line.reason.contains(late.file_name().unwrap().to_str().unwrap()), "{line:?}");
        assert_eq!(fs::read(&path).unwrap(), content);
        assert_eq!(fixture.leftovers(), Vec::<PathBuf>::new());

        fs::remove_file(&late).unwrap();
        assert_eq!(fixture.delete(&metric, Digest::of(&content)).outcome, DeleteOutcome::Deleted);
    }
}

#[test]
fn a_lock_file_beside_it_keeps_no_source() {
    let fixture = Fixture::new();
    let content = whisper(&[1]);
    fixture.put("a.b", &content);
    let path = fixture.path("a.b");
    fs::write(beside(&path, OsStr::new("b.wsp.lock")), b"").unwrap();
    // Late points of another metric.
    fs::write(beside(&path, OsStr::new("c.wsp.ooo")), b"").unwrap();
    let line = fixture.delete("a.b", Digest::of(&content));
    assert_eq!((line.outcome, line.problem), (DeleteOutcome::Deleted, None));
}
