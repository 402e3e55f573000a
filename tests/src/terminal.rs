//! A terminal that only the test uses.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A terminal.
#[derive(Debug)]
pub struct Terminal {
    keyboard: File,
    path: String,
    /// Input waits in the terminal while this is open.
    _open: File,
}

impl Terminal {
    /// A new terminal without input.
    pub fn new() -> Self {
        let keyboard: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let path = ptsname(&keyboard, Vec::new()).unwrap().into_string().unwrap();
        let open = open_other_side(&path);
        Self { keyboard: keyboard.into(), path, _open: open }
    }

    /// Types `text`; `\u{4}` closes the input, as Ctrl-D does.
    pub fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// A command that runs the shell words `words` at this terminal.
    pub fn command(&self, words: &str) -> Command {
        // The first terminal that the leader of a session opens becomes its own.
        let mut command = Command::new("setsid");
        command.args(["--wait", "sh", "-c", &format!("exec 9<{}; {words}", self.path)]);
        command
    }

    /// A command that runs the shell words `words` without any terminal, wherever the tests run.
    pub fn none(words: &str) -> Command {
        let mut command = Command::new("setsid");
        command.args(["--wait", "sh", "-c", words]);
        command
    }
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

/// Opens the program's side, without making it the test's own terminal.
fn open_other_side(path: &str) -> File {
    use rustix::fs::{Mode, OFlags, open};
    open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap().into()
}
