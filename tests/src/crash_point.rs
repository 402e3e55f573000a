//! A daemon that strace kills immediately before a chosen system call.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::program::{send, wait_for_end};
use crate::{Node, wait};

/// Waits until a thread of a running daemon is about to make its `number`th call of a kind, and kills the
/// daemon at that moment.
///
/// If this is dropped, the daemon continues.
#[derive(Debug)]
pub struct CrashPoint {
    strace: Child,
    output: TempDir,
}

impl CrashPoint {
    /// Attaches to the daemon of `node`, which is killed before its `number`th call (from 1, counted for each
    /// thread) of `call`, a name that strace knows.
    ///
    /// # Panics
    /// If strace is not installed or not permitted.
    #[track_caller]
    pub fn set(node: &Node, call: &str, number: u32) -> Self {
        let output = tempfile::tempdir().unwrap();
        let stderr = File::create(output.path().join("stderr")).unwrap();
        let mut command = Command::new("strace");
        command
            .args(["-f", "-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={call}:signal=KILL:when={number}")])
            .args(["-p", &node.pid().to_string(), "-o"])
            .arg(output.path().join("calls"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        let strace = command.spawn().unwrap_or_else(|error| {
            panic!("{command:?}: {error}; scripts/test installs what the tests need")
        });
        let mut point = Self { strace, output };
        wait::until("strace watches the daemon", || {
            let has_ended = point.strace.try_wait().unwrap().is_some();
            let said = point.said();
            // strace ends with the daemon, which may have made its call already.
            let is_attached = said.contains("attached");
            assert!(is_attached || !has_ended, "strace ended: {said}");
            is_attached
        });
        point
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.output.path().join("stderr")).unwrap_or_default()
    }
}

impl Drop for CrashPoint {
    fn drop(&mut self) {
        // strace detaches, and ends.
        send(&self.strace, Signal::TERM);
        if wait_for_end(&mut self.strace, wait::LIMIT).is_none() {
            let _ = self.strace.kill();
            let _ = self.strace.wait();
        }
    }
}
