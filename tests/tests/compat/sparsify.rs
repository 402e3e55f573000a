//! `bucky-sparsify` with concurrent writers that write as carbon does.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use bucky_tests::program::Running;
use bucky_tests::{peer, wait};
use bucky_whisper::{Aggregation, CreateOptions, FileLayout, Image, Point, XFilesFactor, create};

use crate::small_tools::{Tools, points};

const FILES: usize = 24;

/// A dense file with a point a second for a day, some 1 MB.
pub(crate) fn day_of_seconds(path: &Path) {
    let options = CreateOptions {
        retentions: vec!["1s:1d".parse().unwrap()],
        aggregation: Aggregation::Average,
        x_files_factor: XFilesFactor::default(),
        layout: FileLayout::Dense,
    };
    create(path, &options).unwrap();
}

/// A process that writes with whisper.py. It ends when this is dropped.
pub(crate) struct Scribbler {
    process: Child,
    ledger: PathBuf,
}

impl Scribbler {
    pub(crate) fn start(tools: &Tools, folder: &Path, manner: &str, seed: usize) -> Self {
        let script = tools.text("scribble.py", include_str!("scribble.py"));
        let ledger = tools.path(&format!("ledger-{seed}"));
        let mut command = Command::new(peer::python());
        command.arg(script).arg(folder).args([manner, &seed.to_string()]).stdin(Stdio::null());
        let process = command.stdout(std::fs::File::create(&ledger).unwrap()).spawn().unwrap();
        let scribbler = Self { process, ledger };
        wait::until("the writer writes", || scribbler.text().starts_with("ready\n"));
        scribbler
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.ledger).unwrap()
    }

    /// At least how many points it has written so far.
    pub(crate) fn count(&self) -> usize {
        self.text().lines().count()
    }

    /// The points that it has written until its end: file, timestamp, value.
    pub(crate) fn written(mut self) -> Vec<(String, u32, f64)> {
        let ended = wait::within(wait::LIMIT, || self.process.try_wait().unwrap());
        assert!(ended.is_some_and(|status| status.success()), "the writer failed: {ended:?}");
        let line = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[0].to_owned(), words[1].parse().unwrap(), words[2].parse().unwrap())
        };
        self.text().lines().skip(1).map(line).collect()
    }
}

impl Drop for Scribbler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sparsifies files during writes, and looks for every point that was written.
fn no_point_is_lost_beside(manner: &str, flags: &[&str]) {
    // On a busy processor the files may be done before the writer writes anything. Then it is tried again.
    let is_enough = (0..20).any(|_| found_of_points_beside(manner, flags) > 500);
    assert!(is_enough, "too few points were written meanwhile, again and again");
}

/// One attempt; returns how many points were written, all of which must be found.
fn found_of_points_beside(manner: &str, flags: &[&str]) -> usize {
    let tools = Tools::new();
    let folder = tools.path("w");
    std::fs::create_dir(&folder).unwrap();
    let files: Vec<PathBuf> =
        (0..FILES).map(|number| folder.join(format!("{number}.wsp"))).collect();
    files.iter().for_each(|file| day_of_seconds(file));
    let size = |path: &PathBuf| path.metadata().unwrap().blocks() * 512;
    let before: u64 = files.iter().map(size).sum();
    // One writer for each file: two processes of whisper.py without locks must not write to the same file.
    let scribbler = Scribbler::start(&tools, &folder, manner, 1);
    let args: Vec<&str> = flags.iter().copied().chain(["-d", "w"]).collect();
    let done = tools.run("bucky-sparsify", &args).assert_code(0);
    std::fs::write(folder.join("stop"), "").unwrap();
    let written = scribbler.written();
    done.assert_stderr_has(&format!("Re-wrote {FILES} Whisper files"));
    let after: u64 = files.iter().map(size).sum();
    assert!(after < before, "{before} bytes became {after}");

    let mut last: BTreeMap<(String, u32), f64> = BTreeMap::new();
    last.extend(written.iter().map(|(file, time, value)| ((file.clone(), *time), *value)));
    let mut lost = Vec::new();
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let bytes = std::fs::read(file).unwrap();
        let image = Image::parse(&bytes).unwrap();
        let archive = image.archive(0).unwrap();
        let of_file = last.iter().filter(|((of, _), _)| of == name);
        let is_lost = |&(&(_, time), &value): &(&(String, u32), &f64)| {
            let position = archive.position_of(time).unwrap();
            archive.stored(position) != Some(Point { timestamp: time, value })
        };
        lost.extend(of_file.filter(is_lost));
    }
    assert!(lost.is_empty(), "{} of {} points are lost: {lost:?}", lost.len(), last.len());
    let kept: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
    assert_eq!(kept.len(), FILES + 1, "nothing is left beside the files");
    last.len()
}

/// D28: the Go tool lost 61 of 3000 points of a writer that locks.
#[test]
fn bucky_sparsify_loses_no_point_of_a_writer_that_locks() {
    no_point_is_lost_beside("locks", &[]);
    no_point_is_lost_beside("locks", &["--by-lock"]);
}

/// D28, with carbon's default, which takes no locks.
#[test]
fn bucky_sparsify_loses_no_point_of_a_writer_that_does_not_lock() {
    no_point_is_lost_beside("plain", &[]);
}

/// D28: the Go tool changes the mode, owner and time of files, skips names that begin with a dot, leaves
/// `.sparse` files behind when it fails, and always exits 0.
#[test]
fn bucky_sparsify_keeps_files_as_they_are_and_reports_failures() {
    let tools = Tools::new();
    std::fs::create_dir(tools.path("w")).unwrap();
    let path = tools.path("w/a.wsp");
    day_of_seconds(&path);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_permissions(Permissions::from_mode(0o664)).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
    let content = std::fs::read(&path).unwrap();

    // Another process has it open: it is named, and left alone.
    let before = path.metadata().unwrap();
    let done = tools.run("bucky-sparsify", &["--lock-timeout", "0", "./w"]).assert_code(1);
    done.assert_stderr_has("./w/a.wsp").assert_stderr_has("in use");
    assert_eq!(path.metadata().unwrap().blocks(), before.blocks());
    drop(file);

    let done = tools.run("bucky-sparsify", &["-dry-run", "."]).assert_code(0);
    done.assert_stdout("./w/a.wsp\n");
    assert_eq!(path.metadata().unwrap().blocks(), before.blocks());
    let done = tools.run("bucky-sparsify", &["-d", "./w", "nope"]).assert_code(1).assert_stdout("");
    done.assert_stderr_has("Rewriting: ./w/a.wsp")
        .assert_stderr_has("Re-wrote 1 Whisper files")
        .assert_stderr_has("nope");
    let after = path.metadata().unwrap();
    assert!(after.blocks() < before.blocks() / 10);
    let attributes = |of: &std::fs::Metadata| (of.ino(), of.mode(), of.uid(), of.gid(), of.mtime());
    assert_eq!(attributes(&after), attributes(&before));
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert_eq!(std::fs::read_dir(tools.path("w")).unwrap().count(), 1);
    tools.run("bucky-sparsify", &["w/a.wsp", "-d"]).assert_code(0).assert_stderr_has("Re-wrote 0");
    // A file that the operator names is not skipped silently if it is not a metric's file.
    std::os::unix::fs::symlink("a.wsp", tools.path("w/link.wsp")).unwrap();
    std::fs::write(tools.path("w/notes.txt"), "x").unwrap();
    for named in ["w/link.wsp", "w/notes.txt"] {
        let done = tools.run("bucky-sparsify", &[named]).assert_code(1);
        done.assert_stderr_has(&format!("{named} is neither a .wsp file"));
    }
    tools.run("bucky-sparsify", &["w"]).assert_code(0);
    tools.run("bucky-sparsify", &[]).assert_code(2);
    assert!(points(&path).is_empty());
}

/// If the files belong to another user, the kernel grants no lease: nothing is punched unless asked for.
#[test]
fn bucky_sparsify_does_nothing_where_the_kernel_gives_no_lease() {
    let tools = Tools::new();
    let path = tools.path("a.wsp");
    day_of_seconds(&path);
    let before = path.metadata().unwrap().blocks();
    if !rustix::process::geteuid().is_root() {
        // Only root can create a file of another owner; without root there is nothing to refuse.
        tools.run("bucky-sparsify", &["a.wsp"]).assert_code(0);
        return;
    }
    std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let mut command = Command::new("setpriv");
    tools.run("bucky-sparsify", &["-version"]);
    command.arg("--bounding-set=-lease").arg(tools.path("bucky-sparsify")).arg("a.wsp");
    command.current_dir(tools.path(""));
    let done = Running::start(command).finish().assert_code(1);
    done.assert_stderr_has("a.wsp").assert_stderr_has("lease").assert_stderr_has("--by-lock");
    assert_eq!(path.metadata().unwrap().blocks(), before);
}
