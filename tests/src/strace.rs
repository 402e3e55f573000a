//! Daemons under `strace`: what a daemon does to its files and sends, call by call, and calls that fail.
//!
//! strace is not between the test and the daemon (`-D`): the daemon stays the test's own child and is stopped
//! like any other, and strace ends with it. This module reads strace's text, as version 5 and later write it
//! with `-f -yy -ttt -T`: one line for each call, or two if another thread's line comes in between.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::launch::Injection;

/// The recorded calls: those that change files, make them durable, or send data.
const RECORDED: &str = "trace=mkdirat,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync,syncfs,\
    renameat,renameat2,linkat";
/// How much of the written data is recorded: the answer to a batch is recognised by the names in it.
const TEXT_BYTES: &str = "65536";

/// `program` under strace, which writes to `file`.
pub(crate) fn recorded(file: &Path, program: &OsString) -> Command {
    let mut command = strace();
    command.args(["-yy", "-ttt", "-T", "-s", TEXT_BYTES, "-e", RECORDED, "-o"]);
    command.arg(file).arg(program);
    command
}

/// `program` under strace, with calls that fail.
pub(crate) fn injected(injection: &Injection, prefix: &Path, program: &OsString) -> Command {
    let Injection { calls, error, when, path } = injection;
    let mut command = strace();
    if let Some(path) = path {
        command.arg("-P").arg(prefix.join(path));
    }
    command.args(["-o", "/dev/null", "-e", &format!("trace={calls}"), "-e"]);
    command.arg(format!("inject={calls}:error={error}:when={when}")).arg(program);
    command
}

/// With `--seccomp-bpf` strace stops only at the requested calls, so that the daemon keeps its pace.
fn strace() -> Command {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-q", "--seccomp-bpf"]);
    command
}

/// What a program did, in the order in which its calls began.
#[derive(Debug, Default)]
pub struct Recording {
    calls: Vec<Call>,
    /// The threads whose end was not recorded.
    alive: HashSet<String>,
}

/// A point in time: its line in the recording, and the machine's time, which is common to all recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// The line of the recording.
    pub line: usize,
    /// Microseconds since 1970.
    pub micros: u64,
}

/// A call that has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it began.
    pub began: Moment,
    /// When it returned.
    pub ended: Moment,
    /// What it did.
    pub act: Act,
    /// Whether it succeeded.
    pub is_ok: bool,
}

/// The effect of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Writes to a file.
    Write(PathBuf),
    /// Syncs one file or folder.
    Sync(PathBuf),
    /// Syncs the file system that contains this path.
    SyncAll(PathBuf),
    /// Renames a file, or gives it its first name.
    Rename {
        /// The old name; for a file without a name, what strace prints for it.
        from: PathBuf,
        /// The new name.
        to: PathBuf,
    },
    /// Creates a folder.
    MakeFolder(PathBuf),
    /// Sends this text over a connection, quoted as by `strace`.
    Send(String),
}

/// A recording that cannot be parsed.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine(String);

/// A call whose return has not been seen yet.
struct UnfinishedCall {
    at: Moment,
    name: String,
    args: String,
}

impl Recording {
    /// Reads the text of a recording.
    ///
    /// # Errors
    /// [`BadLine`] if a line cannot be parsed.
    pub fn parse(text: &str) -> Result<Self, BadLine> {
        let mut recording = Self::default();
        let mut unfinished: HashMap<&str, UnfinishedCall> = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let bad = || BadLine(line.chars().take(300).collect());
            let (thread, rest) = line.split_once(' ').ok_or_else(bad)?;
            let (time, event) = rest.trim_start().split_once(' ').ok_or_else(bad)?;
            let at = Moment { line: number, micros: micros(time).ok_or_else(bad)? };
            if event.starts_with("+++") {
                recording.alive.remove(thread);
                continue;
            }
            recording.alive.insert(thread.to_owned());
            if event.starts_with("---") {
                continue;
            }
            if let Some(resumed) = event.strip_prefix("<... ") {
                let (_, rest) = resumed.split_once(" resumed>").ok_or_else(bad)?;
                // Otherwise the call was already in progress when the recording began.
                let Some(call) = unfinished.remove(thread) else { continue };
                let (args, result) = split_result(rest).ok_or_else(bad)?;
                recording.add(call.at, at, &call.name, &(call.args + args), result);
            } else {
                let (name, rest) = event.split_once('(').ok_or_else(bad)?;
                if let Some(args) = rest.strip_suffix(" <unfinished ...>") {
                    let (name, args) = (name.to_owned(), args.to_owned());
                    unfinished.insert(thread, UnfinishedCall { at, name, args });
                } else {
                    let (args, result) = split_result(rest).ok_or_else(bad)?;
                    recording.add(at, at, name, args, result);
                }
            }
        }
        recording.calls.sort_by_key(|call| call.began);
        Ok(recording)
    }

    /// Whether the recording has the end of every thread.
    pub fn is_complete(&self) -> bool {
        !self.calls.is_empty() && self.alive.is_empty()
    }

    /// The calls, in the order in which they began.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    fn add(&mut self, began: Moment, ended: Moment, name: &str, args: &str, result: &str) {
        let Some(act) = act(name, args) else { return };
        let lasted = result.rsplit_once('<').and_then(|(_, time)| micros(time.strip_suffix('>')?));
        let micros = ended.micros.max(began.micros + lasted.unwrap_or(0));
        let is_ok = !result.starts_with("-1") && !result.starts_with('?');
        self.calls.push(Call { began, ended: Moment { micros, ..ended }, act, is_ok });
    }
}

/// The effect of a call with this name and these arguments, if it matters here.
fn act(name: &str, args: &str) -> Option<Act> {
    let (first, rest) = descriptor(args)?;
    Some(match name {
        "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" | "sendto" | "sendmsg"
            if first.starts_with("TCP") =>
        {
            Act::Send(rest.to_owned())
        }
        "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => Act::Write(first.into()),
        "fsync" | "fdatasync" => Act::Sync(first.into()),
        "syncfs" => Act::SyncAll(first.into()),
        "mkdirat" => Act::MakeFolder(Path::new(first).join(quoted(rest)?.0)),
        "renameat" | "renameat2" | "linkat" => {
            let (from, rest) = quoted(rest)?;
            let (folder, rest) = descriptor(rest)?;
            let to = Path::new(folder).join(quoted(rest)?.0);
            Act::Rename { from: Path::new(first).join(from), to }
        }
        _ => return None,
    })
}

/// Splits `12</path/of/it>, …` into the path of the descriptor and the remaining arguments. A file without a
/// name is `12</its/folder/#34>(deleted)`, or has the last word inside the brackets.
fn descriptor(args: &str) -> Option<(&str, &str)> {
    let (number, rest) = args.split_once('<')?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A connection is `<TCP:[a->b]>`.
    let (what, rest) = [">(deleted), ", ">, "]
        .iter()
        .filter_map(|end| rest.split_once(end))
        .min_by_key(|(what, _)| what.len())
        .or_else(|| {
            let what = rest.strip_suffix("(deleted)").unwrap_or(rest).strip_suffix('>')?;
            Some((what, ""))
        })?;
    Some((what.strip_suffix(" (deleted)").unwrap_or(what), rest))
}

/// Splits `"name", …`. The names in these tests have no quotes or escapes.
fn quoted(args: &str) -> Option<(&str, &str)> {
    let (name, rest) = args.strip_prefix('"')?.split_once('"')?;
    Some((name, rest.strip_prefix(", ").unwrap_or(rest)))
}

/// Splits `arguments) = result`; a short call is followed by spaces up to a column.
fn split_result(text: &str) -> Option<(&str, &str)> {
    let (call, result) = text.rsplit_once(" = ")?;
    Some((call.trim_end().strip_suffix(')')?, result))
}

/// `1795375710.835056` in microseconds.
fn micros(time: &str) -> Option<u64> {
    let (seconds, fraction) = time.split_once('.')?;
    if fraction.len() != 6 {
        return None;
    }
    Some(seconds.parse::<u64>().ok()? * 1_000_000 + fraction.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acts(text: &str) -> Vec<(Act, bool)> {
        let recording = Recording::parse(text).unwrap();
        recording.calls().iter().map(|call| (call.act.clone(), call.is_ok)).collect()
    }

    #[test]
    fn calls_are_read_with_their_paths() {
        let read = acts(concat!(
            "7 1.000001 write(19</w/.bucky/tmp/0>, \"\\0\\1)\\\" = \", 748) = 748 <0.000010>\n",
            "7 1.000002 pwrite64(19</w/a/b.wsp>, \"\\0\", 12, 28) = 12 <0.000010>\n",
            "7 1.000003 fsync(20</w/a>) = 0 <0.000010>\n",
            "7 1.000004 syncfs(11</w>)          = -1 EIO (Input/output error) (INJECTED) <0.000010>\n",
            "7 1.000005 mkdirat(11</w>, \"a\", 0755) = -1 EEXIST (File exists) <0.000010>\n",
            "7 1.000006 renameat2(14</w/.bucky/tmp>, \"3\", 19</w/a>, \"b.wsp\", RENAME_NOREPLACE) = 0 <0.000010>\n",
            "7 1.000007 --- SIGTERM {si_signo=SIGTERM} ---\n",
            "7 1.000008 writev(12<TCP:[127.0.0.1:1->127.0.0.2:2]>, [{iov_base=\"x\", iov_len=1}], 1) = 1 <0.000010>\n",
            "7 1.000009 write(4<anon_inode:[eventfd]>, \"\\1\", 8) = 8 <0.000010>\n",
            "7 1.000010 +++ exited with 0 +++\n",
        ));
        let path = |text: &str| PathBuf::from(text);
        let renamed = Act::Rename { from: path("/w/.bucky/tmp/3"), to: path("/w/a/b.wsp") };
        let sent = Act::Send("[{iov_base=\"x\", iov_len=1}], 1".into());
        assert_eq!(
            read,
            [
                (Act::Write(path("/w/.bucky/tmp/0")), true),
                (Act::Write(path("/w/a/b.wsp")), true),
                (Act::Sync(path("/w/a")), true),
                (Act::SyncAll(path("/w")), false),
                (Act::MakeFolder(path("/w/a")), false),
                (renamed, true),
                (sent, true),
                (Act::Write(path("anon_inode:[eventfd]")), true),
            ]
        );
    }

    #[test]
    fn a_call_that_others_came_in_between_has_its_own_beginning_and_end() {
        let recording = Recording::parse(concat!(
            "7 5.000001 syncfs(11</w> <unfinished ...>\n",
            "8 5.000005 fsync(12</w/a>) = 0 <0.000030>\n",
            "7 5.000050 <... syncfs resumed>)             = 0 <0.000049>\n",
        ))
        .unwrap();
        let [all, one] = recording.calls() else { panic!("{recording:?}") };
        assert_eq!((all.began.micros, all.ended.micros), (5_000_001, 5_000_050));
        assert_eq!((all.began.line, all.ended.line), (0, 2));
        assert_eq!((one.began.micros, one.ended.micros), (5_000_005, 5_000_035));
        assert!(!recording.is_complete());
    }

    #[test]
    fn a_line_cut_off_is_no_recording() {
        assert!(Recording::parse("7 1.000001 fsync(20</w/a").is_err());
        assert!(Recording::parse("7 1.0").is_err());
    }
}
