//! Daemons that read their ring from the relay's file: a changed file is reported, and its ring is taken only
//! when an operator asks for it.

use std::path::PathBuf;
use std::process::Command;

use bucky_tests::http::Http;
use bucky_tests::{Finished, Running, wait};
use rustix::process::Signal;
use serde_json::Value;

use crate::PROGRAMS;

/// A daemon with its own prefix and a file with its ring.
struct Daemon {
    running: Running,
    folder: tempfile::TempDir,
    addr: String,
}

impl Daemon {
    fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    fn start_with(config: &str, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("whisper");
        std::fs::create_dir(&prefix).unwrap();
        std::fs::write(folder.path().join("relay.conf"), config).unwrap();
        // A port that was free a moment ago: the daemon ends if another program was faster.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        drop(listener);
        let mut command = Command::new(PROGRAMS.buckyd);
        command.args(["-node", "127.0.0.1", "-b", &addr, "-p"]).arg(&prefix);
        command.arg("--ring-from").arg(folder.path().join("relay.conf")).args(args);
        let daemon = Self { running: Running::start(command), folder, addr };
        wait::until("the daemon answers", || daemon.get("/v1/status").is_some());
        daemon
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("relay.conf")
    }

    fn get(&self, path: &str) -> Option<Value> {
        let answer = Http::new().try_get(&format!("http://{}{path}", self.addr))?;
        serde_json::from_str(&answer.text()).ok()
    }

    /// What the status says about the file: `same`, `differs` or `no_ring`.
    fn state(&self) -> String {
        let status = self.get("/v1/status").unwrap();
        status["ring_file"]["state"].as_str().unwrap().to_owned()
    }

    fn hosts(&self) -> Vec<String> {
        let ring = self.get("/hashring").unwrap();
        let nodes = ring["Nodes"].as_array().unwrap().iter();
        nodes.map(|node| node["Server"].as_str().unwrap().to_owned()).collect()
    }

    fn servers(&self) -> Finished {
        let mut command = Command::new(PROGRAMS.bucky);
        command.args(["servers", "-h", &self.addr, "--away-timeout", "0"]);
        Running::start(command).finish()
    }

    fn stop(self) {
        self.running.signal(Signal::TERM);
        self.running.finish().assert_code(0);
    }
}

const ONE: &str = "cluster store carbon_ch 127.0.0.1:2003=a;\nmatch * send to store;\n";
const TWO: &str =
    "cluster store carbon_ch 127.0.0.1:2003=a 127.0.0.2:2003=b;\nmatch * send to store;\n";

#[test]
fn a_changed_file_is_reported_and_its_ring_taken_on_sighup() {
    let daemon = Daemon::start(ONE);
    assert_eq!((daemon.state(), daemon.hosts()), ("same".into(), vec!["127.0.0.1".to_owned()]));
    daemon
        .servers()
        .assert_code(0)
        .assert_stderr_has("Ring: carbon, carbon_ch arithmetic of carbon-c-relay");

    std::fs::write(daemon.file(), TWO).unwrap();
    wait::until("the daemon has looked at its file", || daemon.state() == "differs");
    assert_eq!(daemon.hosts(), ["127.0.0.1"], "nothing is taken by itself");
    daemon.servers().assert_stderr_has(
        "no longer gives the ring that buckyd runs: number of nodes 1, in the file 2",
    );

    daemon.running.signal(Signal::HUP);
    wait::until("the daemon has the new ring", || daemon.hosts() == ["127.0.0.1", "127.0.0.2"]);
    wait::until("the status says so", || daemon.state() == "same");
    let status = daemon.get("/v1/status").unwrap();
    assert_eq!(status["former_ring"]["ring"]["Nodes"].as_array().unwrap().len(), 1);
    daemon.stop();
}

#[test]
fn a_file_without_a_ring_leaves_the_one_that_runs() {
    let daemon = Daemon::start(TWO);
    for broken in ["cluster store carbon_ch 127.0.0.1:2003=a", ""] {
        std::fs::write(daemon.file(), broken).unwrap();
        daemon.running.signal(Signal::HUP);
        wait::until("the daemon has read its file", || daemon.state() == "no_ring");
        assert_eq!(daemon.hosts(), ["127.0.0.1", "127.0.0.2"]);
        std::fs::write(daemon.file(), TWO).unwrap();
        daemon.running.signal(Signal::HUP);
        wait::until("the daemon has read its file again", || daemon.state() == "same");
    }
    daemon.stop();
}

/// The configuration files in `docs/from-your-relay.md`: heading and text.
fn examples() -> Vec<(String, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/from-your-relay.md")).unwrap();
    let mut examples = Vec::new();
    for section in page.split("\n## ").skip(1) {
        let (heading, body) = section.split_once('\n').unwrap();
        if let Some(block) = body.split("```\n").nth(1) {
            examples.push((heading.to_owned(), block.to_owned()));
        }
    }
    examples
}

#[test]
fn the_examples_of_the_page_are_rings_that_a_daemon_runs() {
    let examples = examples();
    let headings: Vec<&str> = examples.iter().map(|(heading, _)| heading.as_str()).collect();
    let several = "carbon-c-relay with several clusters";
    assert_eq!(headings, ["carbon", "carbon-c-relay", several, "carbon-relay-ng"]);
    for (relay, config) in &examples {
        let choice: &[&str] = if relay == several { &["--cluster", "old,new"] } else { &[] };
        let daemon = Daemon::start_with(config, choice);
        let ring = daemon.get("/hashring").unwrap();
        assert_eq!(ring["Relay"], relay.split(' ').next().unwrap());
        assert_eq!(ring["Routes"].is_object(), relay == several);
        let due = match relay.as_str() {
            "carbon-relay-ng" => 2,
            relay if relay == several => 4,
            _ => 3,
        };
        assert_eq!(daemon.hosts().len(), due, "{relay}");
        let mut command = Command::new(PROGRAMS.bucky);
        command.args(["ring", "from"]).args(choice).arg(daemon.file());
        let printed: Value =
            serde_json::from_str(&Running::start(command).finish().assert_code(0).stdout).unwrap();
        assert_eq!(
            (&printed["Nodes"], &printed["Routes"]),
            (&ring["Nodes"], &ring["Routes"]),
            "{relay}"
        );
        let mut command = Command::new(PROGRAMS.bucky);
        command.args(["ring", "from", "--explain"]).args(choice).arg(daemon.file());
        Running::start(command)
            .finish()
            .assert_code(0)
            .assert_stdout_has("PART")
            .assert_stdout_has("relay.conf:");
        daemon.stop();
    }
}
