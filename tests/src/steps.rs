//! whisper.py, stopped at a point where a test wants to act.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use bucky_whisper::Point;
use serde_json::{Value, json};

use crate::{Layout, peer, wait};

const SCRIPT: &str = include_str!("whisper_steps.py");

/// Where whisper.py stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It has checked whether the file exists, and is about to open it.
    BeforeOpen,
    /// It has opened the file, and is about to lock it (if it locks) and to read or write.
    Open,
}

/// A Python with whisper.py; it ends when this is dropped.
#[derive(Debug)]
pub struct SteppedWhisper {
    process: Child,
    input: ChildStdin,
    output: Receiver<String>,
}

impl SteppedWhisper {
    /// Starts it; `locks` sets whisper.LOCK.
    ///
    /// # Panics
    /// If there is no Python with whisper.py.
    pub fn start(locks: bool) -> Self {
        let mut command = Command::new(peer::python());
        command.args(["-c", SCRIPT, if locks { "lock" } else { "free" }]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (sender, output) = channel();
        // Ends with the process.
        std::thread::spawn(move || {
            lines.map_while(Result::ok).all(|line| sender.send(line).is_ok());
        });
        Self { process, input, output }
    }

    /// Begins carbon's create: check for the file, create the folder, `whisper.create`. Returns when it has
    /// stopped.
    #[track_caller]
    pub fn begin_create(&mut self, path: &Path, layout: &Layout, stop: Stop) {
        let archives: Vec<_> =
            layout.archives().iter().map(|a| [a.seconds_per_point(), a.points()]).collect();
        self.begin(json!({"do": "create", "path": path, "archives": archives}), stop);
    }

    /// Begins `whisper.update_many`. Returns when it has stopped.
    #[track_caller]
    pub fn begin_update(&mut self, path: &Path, points: &[Point], stop: Stop) {
        self.begin(update(path, points), stop);
    }

    /// Runs `whisper.update_many` without a stop.
    #[track_caller]
    pub fn update(&mut self, path: &Path, points: &[Point]) {
        let mut order = update(path, points);
        order["stop"] = Value::Null;
        self.say(&order.to_string());
        self.expect("done");
    }

    /// Lets it finish the current operation.
    #[track_caller]
    pub fn resume(&mut self) {
        self.say("");
        self.expect("done");
    }

    #[track_caller]
    fn begin(&mut self, mut order: Value, stop: Stop) {
        order["stop"] = match stop {
            Stop::BeforeOpen => "before open".into(),
            Stop::Open => "open".into(),
        };
        self.say(&order.to_string());
        self.expect("stopped");
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
        self.input.flush().unwrap();
    }

    #[track_caller]
    fn expect(&mut self, word: &str) {
        let line = self.output.recv_timeout(wait::LIMIT).unwrap();
        assert_eq!(line, word, "of whisper.py");
    }
}

fn update(path: &Path, points: &[Point]) -> Value {
    let points: Vec<_> = points.iter().map(|point| json!([point.timestamp, point.value])).collect();
    json!({"do": "update_many", "path": path, "points": points})
}

impl Drop for SteppedWhisper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
