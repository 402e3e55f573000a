//! The Go tool's small programs, run under their own names: links to `bucky`.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use bucky_tests::metrics::{self, LAYOUTS, MINUTES};
use bucky_tests::program::{Finished, Running};
use bucky_tests::wait;
use bucky_whisper::Point;
use rustix::process::Signal;
use tempfile::TempDir;

/// A folder with links to `bucky`, and the files that they work on.
pub(crate) struct Tools {
    folder: TempDir,
    /// When the test began, Unix seconds.
    now: u32,
}

impl Tools {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), now: metrics::now() }
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// The program with the name `name`, to be run in the folder.
    pub(crate) fn command(&self, name: &str, args: &[&str]) -> Command {
        let link = self.path(name);
        if !link.exists() {
            symlink(env!("CARGO_BIN_EXE_bucky-under-test"), &link).unwrap();
        }
        let mut command = Command::new(link);
        command.args(args).current_dir(self.folder.path());
        command
    }

    pub(crate) fn run(&self, name: &str, args: &[&str]) -> Finished {
        Running::start(self.command(name, args)).finish()
    }

    /// A point `back` minutes before the test began.
    pub(crate) fn back(&self, back: u32, value: f64) -> Point {
        Point { timestamp: self.now - self.now % 60 - back * 60, value }
    }

    /// Writes a metric's file below `prefix`, with points of the last minutes.
    pub(crate) fn metric(&self, prefix: &str, name: &str, points: &[Point]) -> PathBuf {
        let name = name.parse().unwrap();
        metrics::write(&self.path(prefix), &name, &MINUTES, points);
        self.path(prefix).join(name.relative_path())
    }

    pub(crate) fn text(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// The points inside the retention of a file's first archive.
pub(crate) fn points(path: &Path) -> Vec<Point> {
    let bytes = std::fs::read(path).unwrap();
    let image = bucky_whisper::Image::parse(&bytes).unwrap();
    image.archive(0).unwrap().points_valid(metrics::now()).collect()
}

#[test]
fn under_its_own_name_each_small_tool_has_its_flags_help_and_version() {
    let tools = Tools::new();
    for (program, command, flags) in [
        ("bucky-fill", "fill", &["-r,", "-d,", "-l,"][..]),
        (
            "bucky-isempty",
            "isempty",
            &["-m, --metricname", "-l, --last", "-d, --debug", "-p, --prefix"],
        ),
        ("bucky-sparsify", "sparsify", &["-d, --debug"]),
        ("findhash", "findhash", &["--analyze", "--keys", "--filter", "--max", "--min"]),
        (
            "gentestmetrics",
            "gentestmetrics",
            &["-p,", "-c,", "-x,", "-i,", "-l,", "-v,", "-f,", "-s,"],
        ),
    ] {
        for args in [["-help"], ["--help"], ["-h"]] {
            let help = tools.run(program, &args).assert_code(0);
            assert_eq!(help.stdout, tools.run("bucky", &["help", command, "--all"]).stdout);
            for flag in flags {
                assert!(help.stdout.contains(&format!(" {flag}")), "{program}: {flag}: {help}");
            }
        }
        let version = tools.run(program, &["-version"]).assert_code(0);
        assert!(version.stdout.ends_with(concat!(env!("CARGO_PKG_VERSION"), "\n")), "{version}");
        tools
            .run(program, &["-nosuch"])
            .assert_code(2)
            .assert_stdout("")
            .assert_stderr_has("--nosuch");
    }
}

#[test]
fn bucky_fill_l_prints_one_line_a_pair_and_fails_where_one_fails() {
    let tools = Tools::new();
    tools.metric("from", "a.one", &[tools.back(1, 1.0)]);
    tools.metric("from/.dot", "two", &[tools.back(2, 2.0)]);
    let linked = tools.metric("elsewhere", "linked", &[tools.back(3, 3.0)]);
    symlink(linked, tools.path("from/three.wsp")).unwrap();
    std::fs::write(tools.path("from/bad.wsp"), "no file of Whisper's").unwrap();
    tools.text("from/notes.txt", "x");
    let done = tools.run("bucky-fill", &["-r", "-l", "from", "to"]).assert_code(1);
    let lines: Vec<&str> = done.stdout.lines().collect();
    let [dot, one, bad, three] = lines.as_slice() else { panic!("{done}") };
    assert_eq!(*dot, "[ OK ] [from/.dot/two.wsp] -> [to/.dot/two.wsp]");
    assert_eq!(*one, "[ OK ] [from/a/one.wsp] -> [to/a/one.wsp]");
    assert!(bad.starts_with("[FAIL] ["), "{bad}");
    assert!(bad.ends_with("] [from/bad.wsp] -> [to/bad.wsp]"), "{bad}");
    assert_eq!(*three, "[ OK ] [from/three.wsp] -> [to/three.wsp]");
    assert_eq!(points(&tools.path("to/three.wsp")), [tools.back(3, 3.0)]);
    assert!(!tools.path("to/bad.wsp").exists() && !tools.path("to/notes.txt").exists());
    // For single files it prints nothing.
    tools
        .run("bucky-fill", &["-l", "from/a/one.wsp", "to/new.wsp"])
        .assert_code(0)
        .assert_stdout("");
}

#[test]
fn bucky_fill_copies_where_there_is_nothing_and_fills_where_there_is() {
    let tools = Tools::new();
    let source = tools.metric("from", "m", &[tools.back(1, 1.0), tools.back(3, 3.0)]);
    tools.run("bucky-fill", &["from/m.wsp", "copy.wsp"]).assert_code(0).assert_stdout("");
    assert_eq!(std::fs::read(&source).unwrap(), std::fs::read(tools.path("copy.wsp")).unwrap());
    let destination = tools.metric("to", "m", &[tools.back(2, 2.0), tools.back(3, 9.0)]);
    tools.run("bucky-fill", &["-d", "from/m.wsp", "to/m.wsp"]).assert_code(0);
    assert_eq!(points(&destination), [tools.back(3, 9.0), tools.back(2, 2.0), tools.back(1, 1.0)]);
    assert!(!source.exists(), "-d deletes the source");
    std::fs::create_dir(tools.path("folder")).unwrap();
    tools.run("bucky-fill", &["to/m.wsp", "folder"]).assert_code(1).assert_stderr_has("folder");
    tools.run("bucky-fill", &["to", "folder"]).assert_code(2).assert_stderr_has("-r");
    tools.run("bucky-fill", &["to/m.wsp"]).assert_code(2);
    tools.run("bucky-fill", &["to/nope.wsp", "x.wsp"]).assert_code(1).assert_stderr_has("nope.wsp");
}

/// D2: on a full disk the Go tool's fill reports success, and with -d removes the source.
#[test]
fn bucky_fill_d_keeps_a_source_whose_points_could_not_be_written() {
    let tools = Tools::new();
    let source = tools.metric("from", "m", &[tools.back(1, 1.0), tools.back(700, 2.0)]);
    let destination = tools.metric("to", "m", &[]);
    let before = std::fs::read(&destination).unwrap();
    // Nothing can be written beyond 8 KiB; the shell ignores the signal that would end the program.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";
    let mut command = Command::new("bash");
    command.args(["-c", script, "bash"]).arg(tools.path("bucky-fill"));
    command.args(["-d", "from/m.wsp", "to/m.wsp"]).current_dir(tools.path(""));
    tools.run("bucky-fill", &["-version"]);
    let done = Running::start(command).finish().assert_code(1);
    done.assert_stderr_has("filled only partly");
    assert!(source.exists(), "the source is still there");
    // D39: a failed first copy leaves nothing behind either.
    let mut command = Command::new("bash");
    command.args(["-c", script, "bash"]).arg(tools.path("bucky-fill"));
    command.args(["-d", "from/m.wsp", "to/new.wsp"]).current_dir(tools.path(""));
    Running::start(command).finish().assert_code(1).assert_stderr_has("new.wsp");
    let names: Vec<_> = std::fs::read_dir(tools.path("to")).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(source.exists() && !before.is_empty());
    tools.run("bucky-fill", &["-d", "from/m.wsp", "to/m.wsp"]).assert_code(0);
    assert_eq!(points(&destination), [tools.back(700, 2.0), tools.back(1, 1.0)]);
}

/// D39: the Go tool panics if a folder cannot be entered. D42: it leaves out unreadable files, and exits 0.
#[test]
fn bucky_fill_r_reports_folders_that_it_cannot_read_and_fills_the_rest() {
    use std::os::unix::fs::PermissionsExt;
    let tools = Tools::new();
    tools.metric("from", "a.one", &[tools.back(1, 1.0)]);
    tools.metric("from", "m.hidden", &[tools.back(1, 1.0)]);
    tools.metric("from", "n.shut", &[tools.back(1, 1.0)]);
    tools.metric("from", "z.two", &[tools.back(2, 2.0)]);
    let set = |folder: &str, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(tools.path(folder), mode).unwrap();
    };
    set("from/m", 0o000);
    set("from/n", 0o444);
    tools.run("bucky-fill", &["-version"]);
    let is_root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if is_root { "setpriv" } else { "env" });
    if is_root {
        command.arg("--bounding-set=-dac_override,-dac_read_search");
    }
    command.arg(tools.path("bucky-fill")).args(["-r", "-l", "from", "to"]);
    command.current_dir(tools.path(""));
    let done = Running::start(command).finish().assert_code(1);
    set("from/m", 0o755);
    set("from/n", 0o755);
    let done = done.assert_stderr_has("from/m").assert_stderr_has("from/n");
    let good: Vec<&str> = done.stdout.lines().filter(|line| line.starts_with("[ OK ]")).collect();
    assert_eq!(
        good,
        ["[ OK ] [from/a/one.wsp] -> [to/a/one.wsp]", "[ OK ] [from/z/two.wsp] -> [to/z/two.wsp]"]
    );
}

/// D39: the Go tool waits for its own lock forever.
#[test]
fn bucky_fill_of_a_file_onto_itself_is_refused_by_whatever_name() {
    let tools = Tools::new();
    let path = tools.metric("w", "m", &[tools.back(1, 1.0)]);
    std::fs::hard_link(&path, tools.path("hard.wsp")).unwrap();
    symlink(&path, tools.path("soft.wsp")).unwrap();
    for other in ["w/m.wsp", "./w/../w/m.wsp", "hard.wsp", "soft.wsp"] {
        let done = tools.run("bucky-fill", &["-d", "w/m.wsp", other]).assert_code(1);
        done.assert_stderr_has("same file");
        assert_eq!(points(&path), [tools.back(1, 1.0)]);
    }
}

#[test]
fn findhash_analyzes_a_ring_and_its_keys_as_the_go_tool_does() {
    let tools = Tools::new();
    tools.text("ring", "# two nodes\nh1:1:a\n  h2:1:b  \n\n");
    let analysis = "Node h1:1=a:\t30300\nNode h2:1=b:\t35235\n\nIdeal bucket count per server: 32767.50\n\
                    Spread: 35235 - 30300 = 4935\nDeviation: 2467.5000\n";
    tools.run("findhash", &["-analyze", "ring"]).assert_code(0).assert_stdout(analysis);
    tools.run("bucky", &["findhash", "ring", "-analyze"]).assert_code(0).assert_stdout(analysis);
    tools.text("keys", "app.a\napp.b\napp.c\n");
    let done = tools.run("findhash", &["-analyze", "-keys", "keys", "ring"]).assert_code(0);
    let keys = done.stdout.strip_prefix(analysis).unwrap();
    assert!(keys.starts_with("Keys per node:\nh1:a\t"), "{keys}");
    assert!(
        keys.contains("\n\nTotal Metric Keys: 3\nIdeal keys per node: 1.50\nDeviation: "),
        "{keys}"
    );
}

/// D36: the Go tool panics.
#[test]
fn findhash_reports_an_empty_file_and_an_unreadable_one() {
    let tools = Tools::new();
    for text in ["", "\n", "# nothing\n"] {
        tools.text("ring", text);
        tools.run("findhash", &["ring"]).assert_code(1).assert_stderr_has("has no nodes");
    }
    tools.text("ring", "h1\nh2:99999\n");
    tools
        .run("findhash", &["ring"])
        .assert_code(1)
        .assert_stderr_has("line 2")
        .assert_stderr_has("99999");
    tools.run("findhash", &["nope"]).assert_code(1).assert_stderr_has("cannot read nope");
    tools.run("findhash", &[]).assert_code(2);
}

#[test]
fn findhash_prints_better_and_better_solutions_until_it_is_stopped() {
    let tools = Tools::new();
    tools.text("ring", "h1\nh2:2004\nh3:2003:kept\n");
    let out = tools.path("out");
    let mut command =
        tools.command("findhash", &["-max", "65535", "-min=0", "-filter", "h3:", "ring"]);
    command.stdout(std::fs::File::create(&out).unwrap()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    let last_line = "\th3:2003=kept\n";
    let solutions = || std::fs::read_to_string(&out).unwrap().matches(last_line).count();
    wait::until("two solutions are printed", || solutions() >= 2);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    child.wait().unwrap();
    let text = std::fs::read_to_string(&out).unwrap();
    // The program may have been stopped in the middle of a third solution.
    let (whole, _) = text.rsplit_once(last_line).unwrap();
    let text = format!("{whole}{last_line}");
    let mut spreads = Vec::new();
    for solution in text.split("Possible solution:\n").skip(1) {
        let lines: Vec<&str> = solution.lines().collect();
        let number =
            |line: &str, label: &str| -> i64 { line.strip_prefix(label).unwrap().parse().unwrap() };
        let max = number(lines[0], "\tMax buckets per host: ");
        let min = number(lines[1], "\tMin buckets per host: ");
        assert_eq!(lines[2..], ["\th3:2003=kept"]);
        spreads.push(max - min);
    }
    assert!(spreads.len() >= 2 && spreads.is_sorted_by(|a, b| a > b), "{spreads:?}");
}

#[test]
fn gentestmetrics_prints_rounds_of_lines_oldest_first() {
    let tools = Tools::new();
    let done = tools.run("gentestmetrics", &["-c", "2", "-x", "2", "-v", "7", "-s", "1700000059"]);
    done.assert_code(0).assert_stdout(
        "test.000000 7 1699999980\ntest.000001 7 1699999980\ntest.000000 7 1700000040\ntest.000001 7 1700000040\n",
    );
    tools.text("names", "one.a\n\n two.b \n");
    let args = ["-f", "names", "-p", "", "-i", "10", "-s", "1700000059", "-v=-3"];
    let done = tools.run("gentestmetrics", &args).assert_code(0);
    done.assert_stdout("one.a -3 1700000050\ntwo.b -3 1700000050\n");
    let done = tools.run("gentestmetrics", &["-l", "3"]).assert_code(0);
    let mut seen = std::collections::BTreeSet::new();
    for (number, line) in done.stdout.lines().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0], format!("test.{number:06}"));
        let time: u32 = words[2].parse().unwrap();
        assert!(time.is_multiple_of(60) && time.abs_diff(metrics::now()) < 180, "{line}");
        seen.insert(words[1].to_owned());
    }
    assert_eq!(done.stdout.lines().count(), 1000);
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["0", "1", "2"]);
}

/// D36: the Go tool panics.
#[test]
fn gentestmetrics_refuses_an_interval_or_a_limit_of_0() {
    let tools = Tools::new();
    tools
        .run("gentestmetrics", &["-i", "0"])
        .assert_code(2)
        .assert_stdout("")
        .assert_stderr_has("-i");
    tools
        .run("gentestmetrics", &["-l", "0"])
        .assert_code(2)
        .assert_stdout("")
        .assert_stderr_has("-l");
    tools.run("gentestmetrics", &["-f", "nope"]).assert_code(1).assert_stderr_has("nope");
}

#[test]
fn bucky_isempty_lists_paths_or_names_of_files_without_points() {
    let tools = Tools::new();
    tools.metric("w", "full", &[tools.back(1, 1.5), tools.back(2, 2.0)]);
    tools.metric("w", "a.empty", &[]);
    tools.metric("w/.dot", "empty", &[]);
    tools.metric("elsewhere", "empty", &[]);
    symlink(tools.path("elsewhere/empty.wsp"), tools.path("w/link.wsp")).unwrap();
    let done = tools.run("bucky-isempty", &["-p", "w"]).assert_code(0);
    done.assert_stdout("w/.dot/empty.wsp\nw/a/empty.wsp\n");
    tools.run("bucky-isempty", &["-m", "-prefix=w", "w/a/empty.wsp"]).assert_stdout("a.empty\n");
    let newest = tools.back(1, 1.5).timestamp;
    let done = tools.run("bucky-isempty", &["-l", "w/full.wsp", "w/a/empty.wsp"]).assert_code(0);
    let mut lines = done.stdout.lines();
    let line = lines.next().unwrap();
    assert!(line.starts_with(&format!("w/full.wsp: Most recent DP: {newest} or 20")), "{line}");
    assert!(line.ends_with("Z\t1.50"), "{line}");
    assert_eq!(lines.next(), Some("w/a/empty.wsp: No valid data points"));
    let done = tools.run("bucky-isempty", &["-d", "w/full.wsp", "-timeout", "5", "-cache_path=x"]);
    done.assert_code(0).assert_stdout("w/full.wsp: 2 data points used out of 1440 in w/full.wsp\n");
}

/// D49: the Go tool finds nothing below `.`, and stops at the first bad file. D19: it exits 0 after a bad
/// file.
#[test]
fn bucky_isempty_walks_the_current_folder_and_continues_after_a_bad_file() {
    let tools = Tools::new();
    tools.metric("", "a.empty", &[]);
    tools.metric("", "z.empty", &[]);
    tools.text("m.wsp", "no file of Whisper's");
    let done = tools.run("bucky-isempty", &["-p", "."]).assert_code(1).assert_stderr_has("m.wsp");
    done.assert_stdout("./a/empty.wsp\n./z/empty.wsp\n");
    let done = tools.run("bucky-isempty", &["m.wsp", "nope.wsp", "notes.txt", "a/empty.wsp"]);
    let done = done.assert_code(1).assert_stdout("a/empty.wsp\n").assert_stderr_has("m.wsp");
    done.assert_stderr_has("nope.wsp").assert_stderr_has("notes.txt: not a .wsp file");
    tools
        .run("bucky-isempty", &["-p", "no-such-folder"])
        .assert_code(1)
        .assert_stderr_has("no-such-folder");
}

/// D49: the Go tool treats a file with only expired points like one that was never written.
#[test]
fn bucky_isempty_distinguishes_old_files_from_those_never_written_to() {
    let tools = Tools::new();
    let old = tools.metric("w", "old", &[]);
    let mut bytes = std::fs::read(&old).unwrap();
    let start = bytes.len() - 1440 * 12;
    bytes[start..start + 12].copy_from_slice(&tools.back(3000, 1.0).encode());
    std::fs::write(&old, bytes).unwrap();
    tools.metric("w", "new", &[]);
    tools.run("bucky-isempty", &["-p", "w"]).assert_stdout("w/new.wsp\nw/old.wsp\n");
    tools.run("bucky-isempty", &["-p", "w", "--never-written"]).assert_stdout("w/new.wsp\n");
}

#[test]
fn bucky_isempty_takes_roll_ups_for_points() {
    let tools = Tools::new();
    let layout = &LAYOUTS[0];
    let name = "m".parse().unwrap();
    let history = metrics::history(layout, metrics::now(), 1);
    metrics::write(&tools.path("w"), &name, layout, &history);
    let done = tools.run("bucky-isempty", &["-p", "w"]).assert_code(0);
    done.assert_stdout("");
}
