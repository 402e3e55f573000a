use std::sync::LazyLock;

use super::*;
use bucky_whisper::{
    Aggregation, CreateOptions, FileLayout, OpenMode, Point, WhisperFile, XFilesFactor, create,
};
use clap::{FromArgMatches, Parser};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

/// The time from which the ages of all points count, read once. So points of two files fall into the same
/// minutes even if a minute ends between the two calls.
fn now() -> u32 {
    static NOW: LazyLock<u32> = LazyLock::new(|| whisper_now().unwrap());
    *NOW
}

fn file(path: &Path, points: &[u32]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let options = CreateOptions {
        retentions: vec!["60s:1h".parse().unwrap()],
        aggregation: Aggregation::Average,
        x_files_factor: XFilesFactor::new(0.5).unwrap(),
        layout: FileLayout::Dense,
    };
    create(path, &options).unwrap();
    let points: Vec<Point> = points
        .iter()
        .map(|back| Point { timestamp: now() - back * 60, value: f64::from(*back) })
        .collect();
    let mut file = WhisperFile::open(path, OpenMode::Update, Duration::from_secs(1)).unwrap();
    file.update_many(&points, now()).unwrap();
}

fn points(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap();
    let image = bucky_whisper::Image::parse(&bytes).unwrap();
    image.archive(0).unwrap().points_valid(now()).count()
}

/// Runs `bucky fill` with these arguments: returns the result, the data, and what was printed for people.
fn fill(args: &[&Path], flags: &[&str]) -> (anyhow::Result<Outcome>, String, String) {
    let words = ["fill"].into_iter().chain(flags.iter().copied()).map(std::ffi::OsString::from);
    let matches = <Cli as clap::CommandFactory>::command()
        .get_matches_from(words.chain(args.iter().map(|path| path.as_os_str().to_owned())));
    let args = Cli::from_arg_matches(&matches).unwrap().args;
    let (output, data, people) = Output::captured();
    let outcome = run(&args, &Arc::new(output));
    (outcome, data.text(), people.text())
}

#[test]
fn a_source_is_deleted_once_its_points_are_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let (source, destination) = (folder.path().join("a.wsp"), folder.path().join("b.wsp"));
    file(&source, &[1, 3, 5]);
    file(&destination, &[2, 4]);
    let (outcome, data, people) = fill(&[&source, &destination], &["-d", "-l", "-v"]);
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert_eq!(points(&destination), 5);
    assert!(!source.exists());
    // As in the Go tool, -l is for trees.
    assert_eq!(data, "");
    assert!(people.ends_with("filled, 3 points, 0 rolled up, source deleted\n"), "{people}");
}

/// A writer has the source open, or waits for its lock, while it is deleted.
#[test]
fn points_written_to_a_source_after_its_deletion_are_in_the_destination() {
    let folder = tempfile::tempdir().unwrap();
    let (source, destination) = (folder.path().join("a.wsp"), folder.path().join("b.wsp"));
    file(&source, &[1, 3]);
    file(&destination, &[2]);
    let open = std::fs::File::options().read(true).write(true).open(&source).unwrap();
    let writer = std::thread::spawn({
        let source = source.clone();
        move || {
            while source.exists() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
            let mut late =
                WhisperFile::open(Path::new(&path), OpenMode::Update, Duration::from_secs(60))
                    .unwrap();
            late.update(7.0, now() - 300, now()).unwrap();
        }
    });
    let (outcome, _, people) = fill(&[&source, &destination], &["-d", "--lock-timeout", "30"]);
    writer.join().unwrap();
    assert_eq!(outcome.unwrap(), Outcome::Done, "{people}");
    assert_eq!(points(&destination), 4);
}

/// D2: the Go tool deletes a source although its points could not be written.
#[test]
fn a_source_whose_fill_failed_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (source, destination) = (folder.path().join("a.wsp"), folder.path().join("b.wsp"));
    file(&source, &[1]);
    std::fs::write(&destination, "no Whisper file at all").unwrap();
    let (outcome, _, people) = fill(&[&source, &destination], &["-d"]);
    assert_eq!(outcome.unwrap(), Outcome::SomeFailed);
    assert!(source.exists() && people.contains("b.wsp"), "{people}");
    assert_eq!(std::fs::read(&destination).unwrap(), b"no Whisper file at all");
}

/// D39: the Go tool stops at the first failure, and prints an OK after it for the same pair.
#[test]
fn a_tree_is_filled_on_after_a_file_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (source, destination) = (folder.path().join("from"), folder.path().join("to"));
    file(&source.join("a/one.wsp"), &[1]);
    file(&source.join("z/two.wsp"), &[2]);
    std::fs::write(source.join("a/bad.wsp"), "").unwrap();
    std::fs::create_dir_all(destination.join("a/bad.wsp")).unwrap();
    std::fs::write(source.join("notes.txt"), "x").unwrap();
    let (outcome, data, people) = fill(&[&source, &destination], &["-r", "-l"]);
    assert_eq!(outcome.unwrap(), Outcome::SomeFailed);
    assert_eq!(
        (points(&destination.join("a/one.wsp")), points(&destination.join("z/two.wsp"))),
        (1, 1)
    );
    assert!(!destination.join("notes.txt").exists());
    let pair = |name: &str| {
        format!("[{}] -> [{}]", source.join(name).display(), destination.join(name).display())
    };
    let good = ["a/one.wsp", "z/two.wsp"].map(|name| format!("[ OK ] {}", pair(name)));
    assert!(data.starts_with("[FAIL] ["), "{data}");
    assert!(data.ends_with(&format!("] {}\n{}\n{}\n", pair("a/bad.wsp"), good[0], good[1])));
    let bad: Vec<&str> = data.lines().filter(|line| line.contains("bad.wsp")).collect();
    assert_eq!(bad.len(), 1);
    assert!(bad[0].starts_with("[FAIL] ") && people.contains("bad.wsp"));
}

/// A relative path that does not exist yet is in the current folder.
#[test]
fn a_tree_is_not_filled_into_a_folder_that_is_to_be_made_in_it() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let source = Path::new(folder.path().file_name().unwrap());
    file(&source.join("a.wsp"), &[1]);
    let missing = "no-such-folder-of-a-fill";
    for (from, to) in [
        (Path::new("."), PathBuf::from(missing)),
        (source, source.join("x")),
        (source, source.join("../").join(source).join("x/y")),
    ] {
        let (outcome, data, _) = fill(&[from, &to], &["-r", "-l"]);
        let error = format!("{:#}", outcome.unwrap_err());
        assert!(error.contains("cannot be filled into itself") && data.is_empty(), "{error}");
        assert!(!to.exists());
    }
    assert_eq!(points(&source.join("a.wsp")), 1);
}

/// Points of the metric `sub.sub.z` would get into `sub.z`, and from there into `z`.
#[test]
fn a_tree_is_not_filled_into_one_around_it_that_fills_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("sub");
    file(&source.join("sub/z.wsp"), &[1]);
    file(&source.join("z.wsp"), &[2]);
    let (outcome, _, _) = fill(&[&source, folder.path()], &["-r", "-d"]);
    assert!(format!("{:#}", outcome.unwrap_err()).contains("from there into"));
    std::fs::rename(source.join("sub"), source.join("other")).unwrap();
    let (outcome, _, people) = fill(&[&source, folder.path()], &["-r", "-d"]);
    assert_eq!(outcome.unwrap(), Outcome::Done, "{people}");
    assert_eq!(points(&folder.path().join("z.wsp")), 1);
    assert_eq!(points(&folder.path().join("other/z.wsp")), 1);
}

/// Carbon could not write to files that root created in its folder, and would drop its points.
#[test]
fn files_that_root_creates_belong_to_the_owner_of_the_folder() {
    use std::os::unix::fs::{MetadataExt, chown};
    let folder = tempfile::tempdir().unwrap();
    let (source, destination) = (folder.path().join("from"), folder.path().join("to"));
    file(&source.join("a/b/c.wsp"), &[1]);
    std::fs::create_dir(&destination).unwrap();
    let own = destination.metadata().unwrap().uid();
    // Only root can give a folder away; other users keep the files that they create.
    let given = chown(&destination, Some(12_345), Some(12_346));
    assert_eq!(given.is_ok(), own == 0);
    let (outcome, _, people) = fill(&[&source, &destination], &["-r"]);
    assert_eq!(outcome.unwrap(), Outcome::Done, "{people}");
    for made in ["a", "a/b", "a/b/c.wsp"] {
        let uid = destination.join(made).metadata().unwrap().uid();
        assert_eq!(uid, if own == 0 { 12_345 } else { own }, "{made}");
    }
}

#[test]
fn a_pipe_is_not_a_source_and_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (pipe, destination) = (folder.path().join("a.wsp"), folder.path().join("b.wsp"));
    // By a system call, not a program: a started program holds the locks of all other tests until it
    // executes.
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let (outcome, _, people) = fill(&[&pipe, &destination], &["-d"]);
    assert_eq!(outcome.unwrap(), Outcome::SomeFailed);
    assert!(people.contains("is not a regular file") && pipe.exists(), "{people}");
}

/// D39: the Go tool waits for its own lock for ever.
#[test]
fn a_file_is_not_filled_from_itself() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("a.wsp");
    file(&source, &[1]);
    let alias = folder.path().join("b.wsp");
    std::fs::hard_link(&source, &alias).unwrap();
    for destination in [&source, &alias] {
        let (outcome, _, people) = fill(&[&source, destination], &["-d"]);
        assert_eq!(outcome.unwrap(), Outcome::SomeFailed);
        assert!(people.contains("same file"), "{people}");
        assert_eq!(points(&source), 1);
    }
}

#[test]
fn folders_need_r_and_a_tree_is_not_filled_into_itself() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("a/b/c");
    let usage = |args: &[&Path], flags: &[&str]| {
        let error = fill(args, flags).0.unwrap_err();
        assert!(error.downcast_ref::<UsageError>().is_some(), "{error}");
    };
    usage(&[folder.path(), &inside], &[]);
    usage(&[folder.path(), &inside], &["-r"]);
    usage(&[folder.path(), folder.path()], &["-r"]);
    usage(&[&inside, folder.path()], &["-r"]);
}
