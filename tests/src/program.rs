//! A program that is run to its end, and assertions about it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::wait;

/// How long a run may take.
pub const LIMIT: Duration = Duration::from_secs(600);

/// A running program.
#[derive(Debug)]
pub struct Running {
    command: String,
    child: Child,
    started: Instant,
    output: TempDir,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
    command: String,
}

impl Running {
    /// Starts `command`, without a terminal.
    pub fn start(command: Command) -> Self {
        Self::start_between(command, Stdio::null(), None)
    }

    /// Starts `command`, which reads `input`. Its standard output goes to `data`, if that is given.
    pub fn start_between(mut command: Command, input: Stdio, data: Option<File>) -> Self {
        let output = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(output.path().join(name)).unwrap();
        let stdout = file("stdout");
        command.stdin(input).stdout(data.unwrap_or(stdout)).stderr(file("stderr"));
        let text = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("{text}: {error}"));
        Self { command: text, child, started: Instant::now(), output }
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its peak memory so far, in MiB; `None` if it has ended.
    pub fn peak_mib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib / 1024)
    }

    /// Sends it `signal`.
    pub fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    /// Stops it until [`Self::resume`], so that a test can act in the middle of the run. Returns false if it
    /// has ended before.
    ///
    /// # Panics
    /// If it neither stops nor ends.
    #[track_caller]
    pub fn pause(&mut self) -> bool {
        self.signal(Signal::STOP);
        wait::until_some("the program stands still", || {
            if !self.is_running() {
                return Some(false);
            }
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
            stat.rsplit(") ").next()?.starts_with('T').then_some(true)
        })
    }

    /// Lets it continue.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.output.path().join("stderr"))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end within [`LIMIT`].
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        let Some(status) = wait::within(LIMIT, || self.child.try_wait().unwrap()) else {
            panic!("{} still runs after {} s\n{}", self.command, LIMIT.as_secs(), self.stderr());
        };
        Finished {
            code: status.code(),
            stdout: read(&self.output.path().join("stdout")),
            stderr: self.stderr(),
            took: self.started.elapsed(),
            command: self.command.clone(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Finished {
    /// # Panics
    /// If the exit code is another one.
    #[track_caller]
    pub fn assert_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code of {self}");
        self
    }

    /// # Panics
    /// If standard output is not exactly `text`.
    #[track_caller]
    pub fn assert_stdout(self, text: &str) -> Self {
        assert!(self.stdout == text, "standard output is not {text:?}: {self}");
        self
    }

    /// # Panics
    /// If `text` is not in standard output.
    #[track_caller]
    pub fn assert_stdout_has(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "{text:?} is not in the standard output of {self}");
        self
    }

    /// # Panics
    /// If `text` is not in standard error.
    #[track_caller]
    pub fn assert_stderr_has(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in the standard error of {self}");
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, code, stdout, stderr, took } = self;
        write!(
            f,
            "{command}\nended with {code:?} after {took:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---"
        )
    }
}

/// Sends `signal` to a child that has not been waited for, so that its process ID is still its own.
pub(crate) fn send(child: &Child, signal: Signal) {
    // It may have ended by itself.
    let _ = kill_process(Pid::from_child(child), signal);
}

/// Waits for a child for at most `limit`.
pub(crate) fn wait_for_end(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    wait::within(limit, || child.try_wait().unwrap())
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
