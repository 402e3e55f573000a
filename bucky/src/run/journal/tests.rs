use super::*;

fn name(text: &str) -> MetricName {
    MetricName::parse(text).unwrap()
}

fn purpose() -> Purpose {
    Purpose { ring: "r1".into(), regex: None, allowed_destinations: Vec::new(), deletes: true }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_journal_says_where_each_source_stands() {
    let folder = folder();
    let path = folder.path().join("journal");
    let (mut journal, resume) = Journal::open(&path, &purpose()).unwrap();
    assert!(resume.is_empty());
    journal.through("s1", &name("b")).unwrap();
    journal.failed("s2", &name("c"), "busy").unwrap();
    journal.failed("s2", &name("d"), "busy").unwrap();
    journal.through("s2", &name("x")).unwrap();
    journal.moved("s2", &name("d")).unwrap();
    journal.through("s1", &name("f")).unwrap();
    journal.sync().unwrap();
    drop(journal);

    let (_journal, resume) = Journal::open(&path, &purpose()).unwrap();
    let first = &resume["s1"];
    assert_eq!(first.read_after(), Some(&name("f")));
    assert!(first.is_finished(&name("f")) && !first.is_finished(&name("g")));
    let second = &resume["s2"];
    assert_eq!(second.read_after(), None);
    assert_eq!(second.through(), Some(&name("x")));
    assert!(!second.is_finished(&name("c")) && second.has_failed(&name("c")));
    assert!(second.is_finished(&name("d")) && !second.is_finished(&name("y")));
}

#[test]
fn a_torn_last_line_does_not_count_and_is_overwritten() {
    let folder = folder();
    let path = folder.path().join("journal");
    let (mut journal, _) = Journal::open(&path, &purpose()).unwrap();
    journal.through("s", &name("b")).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"through\":{\"source\":\"s\",\"met").unwrap();
    drop(file);

    let (mut journal, resume) = Journal::open(&path, &purpose()).unwrap();
    assert_eq!(resume["s"].read_after(), Some(&name("b")));
    journal.through("s", &name("c")).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let (_journal, resume) = Journal::open(&path, &purpose()).unwrap();
    assert_eq!(resume["s"].read_after(), Some(&name("c")));
}

#[test]
fn a_journal_of_another_purpose_is_refused_and_says_which() {
    let folder = folder();
    let path = folder.path().join("journal");
    drop(Journal::open(&path, &purpose()).unwrap());
    for (other, said) in [
        (Purpose { ring: "r2".into(), ..purpose() }, "another ring (r1, now r2)"),
        (Purpose { regex: Some("^a".into()), ..purpose() }, "another expression (none, now ^a)"),
        (
            Purpose { allowed_destinations: vec!["a:1".into()], ..purpose() },
            "another set of destinations (, now a:1)",
        ),
        (
            Purpose { deletes: false, ..purpose() },
            "another treatment of the sources (deleted, now kept)",
        ),
    ] {
        let error = Journal::open(&path, &other).err().unwrap().to_string();
        assert!(error.contains(said), "{error}");
    }
}

/// D27: the Go tool skips the first line of its state file although it is a job.
#[test]
fn a_file_that_is_not_a_journal_is_refused_and_left_alone() {
    let folder = folder();
    let path = folder.path().join("notes");
    for text in
        ["hello\nthere\n", "no line end", "{\"through\":{\"source\":\"s\",\"metric\":\"a\"}}\n"]
    {
        std::fs::write(&path, text).unwrap();
        let error = Journal::open(&path, &purpose()).err().unwrap().to_string();
        assert!(error.contains("line 1"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

/// The journal of a large run with many failures is read in bounded memory.
#[test]
fn with_too_many_failures_to_remember_all_of_that_source_is_looked_at_again() {
    let folder = folder();
    let path = folder.path().join("journal");
    let (mut journal, _) = Journal::open(&path, &purpose()).unwrap();
    journal.failed("few", &name("a"), "busy").unwrap();
    journal.through("few", &name("z")).unwrap();
    for number in 0..FAILED_LIMIT {
        journal.failed("many", &name(&format!("m{number}")), "busy").unwrap();
    }
    journal.through("many", &name("z")).unwrap();
    journal.failed("later", &name("a"), "busy").unwrap();
    journal.sync().unwrap();
    drop(journal);
    let (_journal, resume) = Journal::open(&path, &purpose()).unwrap();
    assert!(!resume["many"].is_finished(&name("a")) && !resume["many"].has_failed(&name("m1")));
    assert!(resume["few"].has_failed(&name("a")) && resume["few"].is_finished(&name("b")));
    assert!(resume["later"].has_failed(&name("a")));
}

#[test]
fn a_line_without_end_is_not_read_to_its_end() {
    let folder = folder();
    let path = folder.path().join("journal");
    drop(Journal::open(&path, &purpose()).unwrap());
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&vec![b' '; 2 << 20]).unwrap();
    let error = Journal::open(&path, &purpose()).err().unwrap().to_string();
    assert!(error.contains("line 2"), "{error}");
}

#[test]
fn two_runs_do_not_share_a_journal() {
    let folder = folder();
    let path = folder.path().join("journal");
    let (_first, _) = Journal::open(&path, &purpose()).unwrap();
    let error = Journal::open(&path, &purpose()).err().unwrap().to_string();
    assert!(error.contains("in use"), "{error}");
}
