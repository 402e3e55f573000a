//! A store of a million names, compared with `find` and `grep`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bucky_tests::{ClusterPlan, TestCluster};

use crate::Plan;
use crate::figure::{Bar, Figure};
use crate::measure;
use crate::table::{Table, say};
use crate::turns::ratio;

/// The number of names in the full bench.
const NAMES: u32 = 1_000_000;
/// The number of names in a folder.
const IN_FOLDER: usize = 100;
/// The number of other members of the ring.
const OTHERS: usize = 38;
/// A pattern that matches one name in ten.
const PATTERN: &str = "metric0.7$";

const SCAN: Figure = Figure::ratio("names: a scan / find", Bar::AtMost(1.3));
const RESIDENT: Figure =
    Figure::memory("names: the daemon's memory after the scan", Bar::AtMost(40.0));
const PEAK: Figure = Figure::memory("names: the daemon's peak", Bar::AtMost(80.0));
const LIST: Figure = Figure::ratio("names: the whole list / (find to grep)", Bar::AtMost(0.5));
const REGEX: Figure = Figure::ratio("names: a regex / (find to grep)", Bar::AtMost(0.5));
const MISPLACED: Figure = Figure::ratio("names: misplaced / (find to grep)", Bar::AtMost(0.5));
const PLAN: Figure = Figure::ratio("names: a plan / misplaced, counted", Bar::AtMost(2.0));

/// Measures the figures.
pub(crate) fn measure(plan: &Plan, table: &mut Table) {
    if !table.wants_any(&[SCAN, RESIDENT, PEAK, LIST, REGEX, MISPLACED, PLAN]) {
        return;
    }
    let names = plan.scaled(NAMES);
    say(&format!("names: laying {names} files"));
    let mut store = Store::lay(plan, names);
    for _ in 0..plan.runs {
        store.scan(table);
        store.ask(table, names);
        store.cluster.node_mut(0).stop();
    }
}

struct Store {
    cluster: TestCluster,
    prefix: PathBuf,
}

impl Store {
    fn lay(plan: &Plan, names: usize) -> Self {
        let mut cluster = ClusterPlan::of(plan.programs, 1).lay();
        for other in 0..OTHERS {
            cluster.node_mut(0).ring_member(&format!("graphite-{other}.example:2003"));
        }
        let prefix = cluster.node(0).prefix();
        for number in 0..names {
            let folder = prefix.join(format!(
                "servers/rack{:02}/host{:05}",
                number / 40_000,
                number / IN_FOLDER
            ));
            if number % IN_FOLDER == 0 {
                std::fs::create_dir_all(&folder).unwrap();
            }
            File::create(folder.join(format!("metric{:03}.wsp", number % IN_FOLDER))).unwrap();
        }
        Self { cluster, prefix }
    }

    /// Measures the daemon's scan at its start, and a `find` into a file.
    fn scan(&mut self, table: &mut Table) {
        let out = self.cluster.path("found");
        let find = format!("find '{}' -name '*.wsp' > '{}'", self.prefix.display(), out.display());
        // The first run warms the cache for both.
        measure::shell(&find);
        let peer = measure::shell(&find);
        // Waits until the inventory is ready.
        self.cluster.start();
        let begun = Instant::now();
        let mut curl = Command::new("curl");
        curl.args(["-sSf", &self.cluster.url(0, "/v1/metrics?fresh=1&count=1")]);
        measure::run(curl);
        let ours = begun.elapsed();
        table.add(&SCAN, ratio(ours, peer.wall));
        let pid = self.cluster.node(0).pid();
        let memory = |line| measure::memory_mib(pid, line).unwrap();
        table.add(&RESIDENT, memory("VmRSS:"));
        table.add(&PEAK, memory("VmHWM:"));
    }

    /// Measures lists, and `find | grep`.
    fn ask(&self, table: &mut Table, names: usize) {
        let all = self.peer(".");
        table.add(&LIST, ratio(self.get("/v1/metrics", names), all));
        let few = self.peer(PATTERN);
        let regex = format!("/v1/metrics?regex={PATTERN}");
        table.add(&REGEX, ratio(self.get(&regex, names / 10), few));
        let host = self.cluster.node(0).host();
        let misplaced = format!("/v1/misplaced?host={host}");
        table.add(&MISPLACED, ratio(self.get(&misplaced, names / 2), all));
        let counted = self.get(&format!("{misplaced}&count=1"), 0);
        table.add(&PLAN, ratio(self.plan(), counted));
    }

    fn peer(&self, pattern: &str) -> Duration {
        let out = self.cluster.path("found");
        let pattern = pattern.replace('$', r"\.wsp$");
        let command = format!(
            "find '{}' -name '*.wsp' | grep '{pattern}' > '{}'",
            self.prefix.display(),
            out.display()
        );
        measure::shell(&command).wall
    }

    /// How long a plan for the daemon's own ring takes: the metrics that leave are those that are misplaced.
    fn plan(&self) -> Duration {
        let ring = self.cluster.get(0, "/hashring").json();
        let body = serde_json::json!({ "ring": ring, "host": self.cluster.node(0).host() });
        let request = self.cluster.path("plan-request");
        std::fs::write(&request, body.to_string()).unwrap();
        let mut curl = Command::new("curl");
        curl.args(["-gsSf", &self.cluster.url(0, "/v1/plan"), "-o", "/dev/null"])
            .args(["-H", "Content-Type: application/json", "--data-binary"])
            .arg(format!("@{}", request.display()));
        measure::run(curl).wall
    }

    /// How long an answer takes; it must have at least `lines` lines.
    fn get(&self, path: &str, lines: usize) -> Duration {
        let out = self.cluster.path("answer");
        let mut curl = Command::new("curl");
        curl.args(["-gsSf", &self.cluster.url(0, path), "-o"]).arg(&out);
        let took = measure::run(curl).wall;
        assert!(lines_of(&out) >= lines, "{path}: {} lines, not {lines}", lines_of(&out));
        took
    }
}

fn lines_of(path: &Path) -> usize {
    std::fs::read(path).unwrap().iter().filter(|&&byte| byte == b'\n').count()
}
