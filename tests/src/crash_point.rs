//! A daemon that is killed right before a chosen system call, by strace.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::program::{send, wait_for_end};
use crate::{Node, wait};

/// Waits at a running daemon until one of its threads is about to make its `number`th call of a kind, and kills the
/// daemon then.
///
/// Dropped, it lets the daemon alone.
#[derive(Debug)]
pub struct CrashPoint {
    strace: Child,
    output: TempDir,
}

impl CrashPoint {
    /// Sets one at the daemon of `node`, which is killed before its `number`th call (from 1, counted for each thread) of
    /// `call`, a name that strace knows.
    ///
    /// # Panics
    /// Where there is no strace, or it is not let.
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
            // It ends with the daemon, which may have made its call already.
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
        // It lets go of what it watches, and ends.
        send(&self.strace, Signal::TERM);
        if wait_for_end(&mut self.strace, wait::LIMIT).is_none() {
            let _ = self.strace.kill();
            let _ = self.strace.wait();
        }
    }
}
