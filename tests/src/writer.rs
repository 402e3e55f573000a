//! Processes that write as carbon does, one for each node, with whisper.py itself.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bucky_ring::Ring;
use serde_json::json;

use crate::ledger::owner_hosts;
use crate::written::{LiveMetric, Operation, Slot, Written};
use crate::{TestCluster, peer, program, wait};

const SCRIPT: &str = include_str!("whisper_writer.py");

/// The rings by which the relays send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// All by the old ring.
    Old,
    /// Some by the old ring and some by the new one.
    Both,
    /// All by the new ring.
    New,
}

/// How the writers write.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// Under `flock`, like a carbon with WHISPER_LOCK_WRITES.
    pub locks: bool,
    /// How long each writer pauses after a write.
    pub pause: Duration,
    /// The seed of their random numbers.
    pub seed: u64,
}

/// How many updates writers gave up because a file or folder appeared or disappeared between check and open.
/// carbon drops such an update too. None of them is in the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// The file disappeared between the check and the open.
    pub update: u64,
    /// The file appeared between the check and the create.
    pub create: u64,
    /// The folder disappeared between the check and the create.
    pub folder: u64,
}

impl std::ops::AddAssign for Dropped {
    fn add_assign(&mut self, other: Self) {
        self.update += other.update;
        self.create += other.create;
        self.folder += other.folder;
    }
}

/// The writers of a cluster, one for each node. They end when this is dropped.
#[derive(Debug)]
pub struct Writers {
    control: PathBuf,
    writers: Vec<Writer>,
}

#[derive(Debug)]
struct Writer {
    host: String,
    ledger: PathBuf,
    errors: PathBuf,
    process: Child,
}

impl Writers {
    /// Starts a writer on each node for the metrics that it owns in the ring `old` or in the cluster's own.
    ///
    /// # Panics
    /// If there is no Python with whisper.py.
    pub fn start(
        cluster: &TestCluster,
        written: &Written,
        old: &Ring,
        manner: WriterOptions,
    ) -> Self {
        let control = cluster.path("route");
        std::fs::write(&control, "old").unwrap();
        let script = cluster.path("whisper_writer.py");
        std::fs::write(&script, SCRIPT).unwrap();
        let start = |(number, node): (usize, &crate::Node)| {
            let file = |name: &str| cluster.path(&format!("writer-{number}-{name}"));
            let (ledger, errors) = (file("ledger"), file("errors"));
            let has = |ring: &Ring, metric: &LiveMetric| {
                owner_hosts(ring, &metric.name).is_some_and(|owners| owners.contains(&node.host))
            };
            let is_new = !old.nodes().iter().any(|member| member.host() == node.host());
            let metric = |(number, metric): (usize, &LiveMetric)| {
                let layout = metric.schemas.on(is_new);
                let archives = layout.archives().into_iter();
                json!({
                    "number": number, "path": node.path(metric.name.as_str()), "seed": metric.seed,
                    "old": has(old, metric), "new": has(cluster.ring(), metric),
                    "archives": archives.map(|a| [a.seconds_per_point(), a.points()]).collect::<Vec<_>>(),
                    "aggregation": layout.aggregation.to_string(),
                    "x_files_factor": layout.x_files_factor,
                    "step": metric.schemas.finest_step(), "reach": metric.schemas.longest_reach(),
                })
            };
            let metrics: Vec<_> = written.metrics().iter().enumerate().map(metric).collect();
            let config = json!({
                "control": control, "ledger": ledger, "metrics": metrics,
                "locks": manner.locks, "pause": manner.pause.as_secs_f64(),
                "seed": manner.seed.wrapping_add(number as u64),
            });
            std::fs::write(file("config"), config.to_string()).unwrap();
            std::fs::write(&ledger, "").unwrap();
            let mut command = Command::new(peer::python());
            command.arg(&script).arg(file("config"));
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command.stderr(std::fs::File::create(&errors).unwrap());
            let process = command.spawn().unwrap();
            Writer { host: node.host().to_owned(), ledger, errors, process }
        };
        let writers = cluster.nodes().iter().enumerate().map(start).collect();
        Self { control, writers }
    }

    /// Makes the writers use this route from now on.
    pub fn route(&self, route: Route) {
        let text = match route {
            Route::Old => "old",
            Route::Both => "both",
            Route::New => "new",
        };
        self.say(text);
    }

    fn say(&self, text: &str) {
        // Replaced, so that no writer reads half a word.
        let new = self.control.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &self.control).unwrap();
    }

    /// Waits until they have done `operations` more operations.
    ///
    /// # Panics
    /// If they do not.
    #[track_caller]
    pub fn wait_for(&self, operations: usize) {
        let before = self.operations();
        wait::until("the writers have written more", || {
            let ended = self.writers.iter().find(|writer| !writer.is_alive());
            if let Some(writer) = ended {
                panic!("the writer of {} has ended: {}", writer.host, writer.errors());
            }
            self.operations() >= before + operations
        });
    }

    fn operations(&self) -> usize {
        let lines = |writer: &Writer| std::fs::read(&writer.ledger).unwrap();
        let count = |bytes: Vec<u8>| bytes.iter().filter(|byte| **byte == b'\n').count();
        self.writers.iter().map(lines).map(count).sum()
    }

    /// Lets them finish their current operations, and adds the points that they have written.
    ///
    /// # Panics
    /// If one of them has failed.
    #[track_caller]
    pub fn stop(mut self, written: &mut Written) -> Dropped {
        self.say("stop");
        let mut dropped = Dropped::default();
        for writer in &mut self.writers {
            let ended = program::wait_for_end(&mut writer.process, wait::LIMIT);
            let done = ended.is_some_and(|status| status.success());
            assert!(done, "the writer of {}: {ended:?}, {}", writer.host, writer.errors());
            dropped += writer.read(written);
        }
        dropped
    }
}

impl Writer {
    fn is_alive(&self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))
            .is_ok_and(|stat| !stat.contains(") Z"))
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap_or_default()
    }

    fn read(&self, written: &mut Written) -> Dropped {
        let mut dropped = None;
        for line in BufReader::new(std::fs::File::open(&self.ledger).unwrap()).lines() {
            let line = line.unwrap();
            if let Some(counts) = line.strip_prefix("dropped ") {
                let counts: serde_json::Value = serde_json::from_str(counts).unwrap();
                let count = |name: &str| counts[name].as_u64().unwrap();
                dropped = Some(Dropped {
                    update: count("update"),
                    create: count("create"),
                    folder: count("folder"),
                });
                continue;
            }
            let mut words = line.split(' ');
            let at = words.next().unwrap().parse().unwrap();
            let how = match words.next().unwrap() {
                "u" => "whisper.update",
                "m" => "whisper.update_many",
                _ => "whisper.create",
            };
            let number = words.next().unwrap().parse().unwrap();
            let slots: Vec<Slot> = words.map(slot).collect();
            let host = Some(self.host.clone());
            written.add(Operation { at, how, host }, number, &slots);
        }
        dropped.expect("the writer has ended in order")
    }
}

/// Reads `TIMESTAMP:SECONDS_PER_POINT`.
fn slot(word: &str) -> Slot {
    let (timestamp, step) = word.split_once(':').unwrap();
    (timestamp.parse().unwrap(), Some(step.parse().unwrap()))
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
