//! What a scan finds, and what it only counts.

use super::*;
use crate::inventory::list::Span;
use bucky_placement::{NoSeries, SeriesHash, SeriesList};
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;

#[derive(Default)]
struct Collect(Vec<(NotServedKind, PathBuf, String)>);

impl Collect {
    fn paths(&self, wanted: NotServedKind) -> Vec<&str> {
        let of_kind = self.0.iter().filter(|(kind, ..)| *kind == wanted);
        let mut paths: Vec<&str> = of_kind.filter_map(|(_, path, _)| path.to_str()).collect();
        paths.sort_unstable();
        paths
    }
}

impl Visitor for Collect {
    const LISTENS: bool = true;
    fn not_served(&mut self, kind: NotServedKind, path: &Path, detail: &str) {
        self.0.push((kind, path.to_owned(), detail.to_owned()));
    }
}

fn store(files: &[&str]) -> tempfile::TempDir {
    let prefix = tempfile::tempdir().unwrap();
    for file in files {
        let path = prefix.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
    prefix
}

fn names(scan: &Scan) -> Vec<String> {
    let mut names = Vec::new();
    let _ = scan.list.walk(Span::default(), |name| {
        names.push(name.to_owned());
        ControlFlow::<()>::Continue(())
    });
    names
}

#[test]
fn only_regular_wsp_files_count_and_come_in_the_byte_order_of_their_names() {
    let prefix = store(&[
        "a.wsp",
        "a/b.wsp",
        "a-b.wsp",
        "a/b/c.wsp",
        "a0/x.wsp",
        "UP.WSP",
        "x.wsp.bak",
        "n",
        ".dot.wsp",
        ".bucky/tombstones/t.wsp",
        "é/ü.wsp",
    ]);
    std::os::unix::fs::symlink("a.wsp", prefix.path().join("link.wsp")).unwrap();
    std::os::unix::fs::symlink("a", prefix.path().join("linkdir")).unwrap();
    fs::create_dir(prefix.path().join("d.wsp")).unwrap();
    let scan = scan(prefix.path(), None, &NoSeries, &mut Ignore).unwrap();
    assert_eq!(names(&scan), ["a", "a-b", "a.b", "a.b.c", "a0.x", "é.ü"]);
    let links = NotServed { linked_folders: 1, linked_files: 1, ..NotServed::default() };
    assert_eq!(scan.not_served, links);
}

#[test]
fn d31_files_whose_name_would_mean_another_file_are_unusable_and_not_listed() {
    use std::os::unix::ffi::OsStrExt;
    let prefix = store(&["x.y/z.wsp", "x/y/z.wsp", "p.q.wsp", "new\nline.wsp", "ok.wsp"]);
    fs::write(prefix.path().join(std::ffi::OsStr::from_bytes(b"\xff.wsp")), b"").unwrap();
    let mut collect = Collect::default();
    let scan = scan(prefix.path(), None, &NoSeries, &mut collect).unwrap();
    assert_eq!(names(&scan), ["ok", "x.y.z"]);
    assert_eq!(scan.not_served, NotServed { unusable: 4, ..NotServed::default() });
    assert_eq!(collect.0.len(), 4);
    // One of them is not UTF-8.
    let unusable = collect.paths(NotServedKind::UnusableName);
    assert_eq!(unusable, ["new\nline.wsp", "p.q.wsp", "x.y/z.wsp"]);
}

#[test]
fn tagged_files_named_by_a_hash_are_counted_as_unplaceable() {
    let hash = "0".repeat(64);
    let prefix =
        store(&[&format!("_tagged/000/000/{hash}.wsp"), "_tagged/1a2/b3c/disk_DOT_used;a=b.wsp"]);
    let scan = scan(prefix.path(), None, &NoSeries, &mut Ignore).unwrap();
    assert_eq!(scan.list.len(), 2);
    assert_eq!((scan.not_served.unplaceable, scan.hash_named), (1, 0));
}

#[test]
fn tagged_files_named_by_the_hash_of_a_known_series_are_like_any_other() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "disk.used;host=a").unwrap();
    let known = SeriesList::read(file.path()).unwrap();
    let path = |series: &str| {
        let name = SeriesHash::of(series).metric_name();
        format!("{}.wsp", name.replace('.', "/"))
    };
    let prefix = store(&[&path("disk.used;host=a"), &path("disk.used;host=b")]);
    let mut collect = Collect::default();
    let scan = scan(prefix.path(), None, &known, &mut collect).unwrap();
    assert_eq!((scan.list.len(), scan.not_served.unplaceable, scan.hash_named), (2, 1, 1));
    assert_eq!(collect.paths(NotServedKind::Unplaceable), [path("disk.used;host=b")]);
}

#[test]
fn d22_a_prefix_that_is_a_link_or_begins_with_a_dot_is_scanned() {
    let prefix = store(&[".store/a.wsp"]);
    let dotted = prefix.path().join(".store");
    let link = prefix.path().join("link");
    std::os::unix::fs::symlink(&dotted, &link).unwrap();
    assert_eq!(names(&scan(&dotted, None, &NoSeries, &mut Ignore).unwrap()), ["a"]);
    assert_eq!(names(&scan(&link, None, &NoSeries, &mut Ignore).unwrap()), ["a"]);
}

#[test]
fn another_folder_than_the_one_that_is_served_is_not_scanned() {
    let (served, other) = (store(&["a.wsp"]), store(&["b.wsp"]));
    let link = served.path().with_extension("link");
    std::os::unix::fs::symlink(served.path(), &link).unwrap();
    let inventory = Arc::new(crate::inventory::Inventory::new(&link, std::time::Duration::ZERO));
    let options = crate::store::tests::options();
    let volumes = Volumes::open(&link, None, Vec::new(), inventory, options).unwrap();
    assert_eq!(names(&scan(&link, Some(&volumes), &NoSeries, &mut Ignore).unwrap()), ["a"]);
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(other.path(), &link).unwrap();
    let scanned = scan(&link, Some(&volumes), &NoSeries, &mut Ignore);
    fs::remove_file(&link).unwrap();
    let Err(error) = scanned else { panic!("scanned") };
    assert!(error.to_string().contains("restart buckyd"), "{error}");
}

#[test]
fn a_prefix_that_cannot_be_read_is_an_error_and_not_an_empty_list() {
    let Err(error) = scan(Path::new("/nowhere/at/all"), None, &NoSeries, &mut Ignore) else {
        panic!("scanned")
    };
    assert!(error.to_string().contains("/nowhere/at/all"));
}

#[test]
fn links_are_counted_by_where_they_lead() {
    use std::os::unix::fs::symlink;
    let prefix = store(&["a/x.wsp", "odd.name/y.wsp", "notes.txt"]);
    let at = |path: &str| prefix.path().join(path);
    let elsewhere = store(&["s.wsp"]);
    symlink(elsewhere.path(), at("stats")).unwrap();
    symlink(".", at("a/loop")).unwrap();
    symlink("../a", at("odd.name/back")).unwrap();
    symlink("x.wsp", at("a/y.wsp")).unwrap();
    symlink("/nowhere/at/all", at("a/gone")).unwrap();
    symlink("self", at("self")).unwrap();
    symlink("notes.txt", at("readme")).unwrap();
    symlink("/nowhere", at(".hidden")).unwrap();
    let mut collect = Collect::default();
    let scan = scan(prefix.path(), None, &NoSeries, &mut collect).unwrap();
    assert_eq!(names(&scan), ["a.x"]);
    let kinds = |kind| collect.paths(kind);
    assert_eq!(kinds(NotServedKind::LinkedFolder), ["a/loop", "odd.name/back", "stats"]);
    assert_eq!(kinds(NotServedKind::LinkedFile), ["a/y.wsp"]);
    assert_eq!(kinds(NotServedKind::DanglingLink), ["a/gone", "self"]);
    assert_eq!(kinds(NotServedKind::UnusableName), ["odd.name/y.wsp"]);
    let stats = collect.0.iter().find(|(_, path, _)| path == Path::new("stats")).unwrap();
    assert_eq!(stats.2, elsewhere.path().display().to_string());
    assert_eq!(scan.not_served.kinds().map(|(_, count)| count).sum::<u64>(), 7);
}

#[test]
fn a_folder_that_another_daemon_serves_is_left_to_it() {
    let prefix = store(&["a/x.wsp", "b/.bucky/lock", "b/y.wsp"]);
    let served = File::open(prefix.path().join("b")).unwrap();
    let before = scan(prefix.path(), None, &NoSeries, &mut Ignore).unwrap();
    assert_eq!(names(&before), ["a.x", "b.y"], "a state folder that nobody uses");
    bucky_whisper::lock_exclusive(&served, std::time::Duration::ZERO).unwrap();
    let scan = scan(prefix.path(), None, &NoSeries, &mut Ignore).unwrap();
    assert_eq!(names(&scan), ["a.x"]);
    assert_eq!(scan.not_served, NotServed { other_buckyds: 1, ..NotServed::default() });
}

/// A user who can read everything, such as root, is never refused.
#[test]
fn lost_and_found_at_the_top_is_passed_over_where_it_cannot_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let prefix = store(&["a/x.wsp", "a/lost+found/y.wsp"]);
    let lost = prefix.path().join("lost+found");
    fs::create_dir(&lost).unwrap();
    fs::set_permissions(&lost, fs::Permissions::from_mode(0o000)).unwrap();
    let scan = scan(prefix.path(), None, &NoSeries, &mut Ignore).unwrap();
    assert_eq!(names(&scan), ["a.lost+found.y", "a.x"], "below the top it is a folder of metrics");
    assert_eq!(scan.not_served, NotServed::default());
}
