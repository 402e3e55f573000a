//! A real carbon on every node, and real carbon-c-relays before them.
//!
//! Each carbon-cache listens on its node's address and writes below its node's prefix, without limits. A
//! point that is sent to a relay is in the ledger from that moment on: if a relay or a carbon drops it later,
//! it counts as lost.
//!
//! There is one relay for each ring, and senders switch from one to the other. No relay reloads its
//! configuration, because carbon-c-relay 3.7 can lose points when it does. On SIGHUP it gives a destination's
//! queue to the new configuration without waiting for threads that are about to put points into the old one,
//! and drops late points (`dropping N metrics for ADDRESS` in its log). This was seen with only a sender, a
//! relay and sinks that count: in 3 of 64 reloads of a relay with little processor time (1,313 of 2.2 million
//! points), and in none of 198 reloads of a relay with enough (11.5 million points).

use std::io::{BufWriter, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bucky_ring::{Algorithm, Ring};
use rustix::process::Signal;

use crate::written::{DroppedUpdate, LiveMetric, Operation, Slot, Written};
use crate::{Layout, Route, Schemas, TestCluster, metrics, peer, program, wait};

/// The port of carbons and relays.
const PORT: u16 = 2003;
/// The last part of the first relay's address.
const FIRST_RELAY: u8 = 250;
/// How long a program may take to end.
const END_LIMIT: Duration = Duration::from_secs(20);
/// The largest number of points of one metric that are sent in a row.
const MOST_POINTS: u64 = 30;
/// How many lines of a carbon's errors, and of the end of a relay's log, a failed test shows.
const ERRORS_SHOWN: usize = 30;

/// The carbons of a cluster and the relays before them. They stop when this is dropped.
#[derive(Debug)]
pub struct Carbons {
    caches: Vec<CarbonCache>,
    /// The first sends by the old ring, the second by the new one.
    relays: [Relay; 2],
    /// The relay that each sender uses.
    senders: Arc<[AtomicUsize; 2]>,
}

/// A carbon-cache.
#[derive(Debug)]
struct CarbonCache {
    host: String,
    folder: PathBuf,
    process: Child,
}

/// A carbon-c-relay.
#[derive(Debug)]
struct Relay {
    host: String,
    log: PathBuf,
    process: Child,
}

impl Carbons {
    /// Starts a carbon-cache on each node, a relay that sends by the ring `old`, and one that sends by the
    /// cluster's own ring. Senders use the first relay.
    ///
    /// # Panics
    /// If carbon or carbon-c-relay is not installed, or does not start.
    #[track_caller]
    pub fn start(cluster: &TestCluster, old: &Ring, schemas: &[Schemas], locks: bool) -> Self {
        let cache = |node: &crate::Node| {
            let is_new = !old.nodes().iter().any(|member| member.host() == node.host());
            let layouts: Vec<(&str, &Layout)> =
                schemas.iter().map(|schemas| (schemas.kind, schemas.on(is_new))).collect();
            CarbonCache::start(cluster, node, &layouts, locks)
        };
        let caches: Vec<CarbonCache> = cluster.nodes().iter().map(cache).collect();
        for cache in &caches {
            wait::until(&format!("carbon listens on {}", cache.host), || listens(&cache.host));
        }
        let relays = [(old, FIRST_RELAY), (cluster.ring(), FIRST_RELAY + 1)]
            .map(|(ring, last)| Relay::start(cluster, ring, last));
        Self { caches, relays, senders: Arc::default() }
    }

    /// The two senders use this route from now on. Points in the relays are still on their way.
    pub fn route(&self, route: Route) {
        let rings = match route {
            Route::Old => [0, 0],
            Route::Both => [1, 0],
            Route::New => [1, 1],
        };
        for (sender, ring) in self.senders.iter().zip(rings) {
            sender.store(ring, Ordering::Relaxed);
        }
    }

    /// Starts to send points.
    pub fn feed(&self, written: &Written, pause: Duration, seed: u64) -> Feeder {
        let hosts = self.relays.each_ref().map(|relay| relay.host.clone());
        Feeder::start(hosts, Arc::clone(&self.senders), written, pause, seed)
    }

    /// Checks in the relays' logs that they have dropped no point.
    ///
    /// # Panics
    /// If a relay has logged that it dropped points.
    #[track_caller]
    pub fn assert_relays_dropped_nothing(&self) {
        for relay in &self.relays {
            let log = relay.log();
            let dropped: Vec<&str> = log.lines().filter(|line| line.contains("dropping")).collect();
            assert!(dropped.is_empty(), "the relay on {} lost points: {dropped:?}", relay.host);
        }
    }

    /// The updates that the carbons have dropped, according to their logs: a file appeared or disappeared
    /// between carbon's check and its open.
    pub fn dropped(&self) -> Vec<DroppedUpdate> {
        self.caches.iter().flat_map(CarbonCache::dropped).collect()
    }
}

impl Drop for Carbons {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let dropped: Vec<String> = self.dropped().into_iter().map(|one| one.line).collect();
            show("--- what the carbons could not write", &dropped);
            for relay in &self.relays {
                let log = relay.log();
                let lines: Vec<String> = log.lines().map(str::to_owned).collect();
                let end = lines.len().saturating_sub(ERRORS_SHOWN);
                show("--- the end of a relay's log", &lines[end..]);
            }
        }
    }
}

#[expect(clippy::print_stderr, reason = "the test harness shows it with the test that failed")]
fn show(title: &str, lines: &[String]) {
    eprintln!("{title} ({} lines)", lines.len());
    lines.iter().take(ERRORS_SHOWN).for_each(|line| eprintln!("{line}"));
}

impl CarbonCache {
    /// Starts a cache that creates metrics of each kind with its layout.
    fn start(
        cluster: &TestCluster,
        node: &crate::Node,
        layouts: &[(&str, &Layout)],
        locks: bool,
    ) -> Self {
        let host = node.host().to_owned();
        let folder = cluster.path(&format!("carbon-{host}"));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let section = |kind: &str| format!("[{kind}]\npattern = \\.{kind}[0-9]+$\n");
        let retentions = |(kind, layout): &(&str, &Layout)| {
            format!("{}retentions = {}\n", section(kind), layout.retentions)
        };
        write("storage-schemas.conf", layouts.iter().map(retentions).collect());
        let aggregation = |(kind, layout): &(&str, &Layout)| {
            let Layout { aggregation, x_files_factor, .. } = layout;
            let section = section(kind);
            format!("{section}xFilesFactor = {x_files_factor}\naggregationMethod = {aggregation}\n")
        };
        write("storage-aggregation.conf", layouts.iter().map(aggregation).collect());
        let prefix = node.prefix();
        let config = write("carbon.conf", configuration(&host, &prefix, &folder, locks));
        let mut command = Command::new(peer::python());
        command.arg(peer::program("carbon-cache.py")).arg("--nodaemon");
        command.arg(flag("--config", &config));
        command.args([flag("--pidfile", &folder.join("pid")), "start".into()]);
        let output = std::fs::File::create(folder.join("output")).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let process = command.env("GRAPHITE_ROOT", &folder).env("TZ", "UTC").spawn().unwrap();
        Self { host, folder, process }
    }

    fn dropped(&self) -> Vec<DroppedUpdate> {
        let output = std::fs::read(self.folder.join("output")).unwrap_or_default();
        String::from_utf8_lossy(&output).lines().filter_map(dropped).collect()
    }
}

/// Reads `22/11/2026 19:59:06 :: [console] Error creating METRIC: why`.
fn dropped(line: &str) -> Option<DroppedUpdate> {
    let (time, text) = line.split_once(" :: ")?;
    let (_, what) =
        text.split_once("Error creating ").or_else(|| text.split_once("Error writing to "))?;
    let is_create = text.contains("Error creating ");
    let (metric, _) = what.split_once(": ")?;
    let numbers = time.split(['/', ' ', ':']).map(|part| part.parse::<i64>().ok());
    let numbers: Vec<i64> = numbers.collect::<Option<_>>()?;
    let [day, month, year, hour, minute, second] = numbers.as_slice() else { return None };
    let seconds = days(*year, *month, *day) * 86_400 + hour * 3600 + minute * 60 + second;
    let at = f64::from(u32::try_from(seconds).ok()?);
    Some(DroppedUpdate { metric: metric.parse().ok()?, is_create, at, line: line.to_owned() })
}

/// The days from 1970-01-01 to a date of the Gregorian calendar. Years begin in March, so that they end with
/// the leap day.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469
}

impl Drop for CarbonCache {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn flag(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

/// carbon.conf of a carbon that writes as soon and as fast as it can.
fn configuration(host: &str, prefix: &Path, folder: &Path, locks: bool) -> String {
    let locks = if locks { "True" } else { "False" };
    let (prefix, folder) = (prefix.display(), folder.display());
    format!(
        "[cache]\nUSER =\nSTORAGE_DIR = {folder}\nCONF_DIR = {folder}\nLOG_DIR = {folder}\nPID_DIR = {folder}\n\
         LOCAL_DATA_DIR = {prefix}\nMAX_CACHE_SIZE = inf\nMAX_UPDATES_PER_SECOND = inf\n\
         MAX_CREATES_PER_MINUTE = inf\nLINE_RECEIVER_INTERFACE = {host}\nLINE_RECEIVER_PORT = {PORT}\n\
         PICKLE_RECEIVER_INTERFACE = {host}\nPICKLE_RECEIVER_PORT = 2004\nCACHE_QUERY_INTERFACE = {host}\n\
         CACHE_QUERY_PORT = 7002\nLOG_UPDATES = False\nLOG_CACHE_HITS = False\nLOG_CREATES = True\n\
         ENABLE_LOGROTATION = False\nENABLE_TAGS = False\nCARBON_METRIC_INTERVAL = 0\n\
         WHISPER_LOCK_WRITES = {locks}\n"
    )
}

impl Relay {
    fn start(cluster: &TestCluster, ring: &Ring, last: u8) -> Self {
        let first = cluster.node(0).host();
        let (network, _) = first.rsplit_once('.').unwrap();
        let host = format!("{network}.{last}");
        let spec = cluster.ring().spec();
        let members: Vec<String> = ring.nodes().iter().map(ToString::to_string).collect();
        let file = |name: &str| cluster.path(&format!("relay-{last}.{name}"));
        let (config, log) = (file("conf"), file("log"));
        let cluster_type = match spec.algorithm {
            Algorithm::Carbon => "carbon_ch",
            Algorithm::Fnv1a => "fnv1a_ch",
            Algorithm::JumpFnv1a => "jump_fnv1a_ch",
            other => panic!("carbon-c-relay has no {other} ring"),
        };
        let text = relay_configuration(&host, cluster_type, spec.replication_factor, &members);
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(peer::program("carbon-c-relay"));
        // The queue has room for all points of a test, so that the relay never has to drop one.
        command.arg("-f").arg(&config).args(["-q", "2000000", "-L", "15", "-w", "1", "-T", "5000"]);
        let output = std::fs::File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let process = command.spawn().unwrap();
        let relay = Self { host, log, process };
        wait::until(&format!("the relay listens on {}", relay.host), || listens(&relay.host));
        relay
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn relay_configuration(host: &str, kind: &str, copies: usize, members: &[String]) -> String {
    let members = members.join("\n    ");
    format!(
        "cluster nodes\n  {kind} replication {copies}\n    {members}\n  ;\nmatch ^live\\.\n  send to nodes\n  stop\n  ;\n\
         listen\n  type linemode\n    {host}:{PORT} proto tcp\n  ;\n"
    )
}

fn listens(host: &str) -> bool {
    TcpStream::connect((host, PORT)).is_ok()
}

fn end(process: &mut Child) {
    program::send(process, Signal::TERM);
    if program::wait_for_end(process, END_LIMIT).is_none() {
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// Sends points to relays, over carbon's line protocol, until it is stopped.
#[derive(Debug)]
pub struct Feeder {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Sent>>,
}

/// What was sent together: the time, the number of the metric, and the timestamps.
type Sent = (f64, usize, Vec<u32>);

impl Feeder {
    fn start(
        relays: [String; 2],
        senders: Arc<[AtomicUsize; 2]>,
        written: &Written,
        pause: Duration,
        seed: u64,
    ) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (of_thread, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let metrics = written.metrics().to_vec();
        let thread = std::thread::spawn(move || {
            let connect = |host: String| BufWriter::new(TcpStream::connect((host, PORT)).unwrap());
            let mut relays = relays.map(connect);
            let mut chance = Chance(seed);
            let mut all = Vec::new();
            while !of_thread.load(Ordering::Relaxed) {
                let relay = senders[chance.below(senders.len())].load(Ordering::Relaxed);
                let number = chance.below(metrics.len());
                let schemas = &metrics[number].schemas;
                // Points that have their own slot in every node's file, and that no file is about to expire.
                let step = schemas.common_step();
                let slots = (schemas.common_reach() / step * 3 / 4) as usize;
                let points = 1 + chance.below(usize::try_from(MOST_POINTS).unwrap());
                let newest = metrics::now() / step;
                let first = newest - u32::try_from(chance.below(slots - points)).unwrap();
                let times: Vec<u32> =
                    (0..u32::try_from(points).unwrap()).map(|slot| (first - slot) * step).collect();
                let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
                send(&mut relays[relay], &metrics[number], &times);
                all.push((at, number, times));
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(pause);
            }
            all
        });
        Self { stop, sent, thread }
    }

    /// Waits until `runs` more runs of points have been sent.
    ///
    /// # Panics
    /// If they are not sent in time.
    #[track_caller]
    pub fn wait_for(&self, runs: usize) {
        let before = self.sent.load(Ordering::Relaxed);
        wait::until("more points have been sent", || {
            assert!(!self.thread.is_finished(), "the relay takes no more points");
            self.sent.load(Ordering::Relaxed) >= before + runs
        });
    }

    /// Stops, and adds the points that were sent to the ledger.
    ///
    /// # Panics
    /// If a relay stopped accepting points.
    #[track_caller]
    pub fn stop(self, written: &mut Written) {
        self.stop.store(true, Ordering::Relaxed);
        for (at, number, times) in self.thread.join().unwrap() {
            let slots: Vec<Slot> = times.into_iter().map(|time| (time, None)).collect();
            written.add(Operation { at, how: "sent to a relay", host: None }, number, &slots);
        }
    }
}

fn send(relay: &mut BufWriter<TcpStream>, metric: &LiveMetric, times: &[u32]) {
    for time in times {
        writeln!(relay, "{} {} {time}", metric.name, metric.value(*time)).unwrap();
    }
    relay.flush().unwrap();
}

/// Numbers that look random and depend only on a seed (splitmix64).
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let limit = u64::try_from(limit).unwrap();
        usize::try_from((mixed ^ (mixed >> 31)) % limit).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_that_carbon_dropped_is_read_from_its_log() {
        let line = "22/11/2026 19:59:06 :: [console] Error creating live.a.b: File /w/live/a/b.wsp already exists!";
        let read = dropped(line).unwrap();
        assert!(read.is_create);
        assert_eq!((read.metric.as_str(), read.at), ("live.a.b", 1_795_377_546.0));
        let read =
            dropped("29/02/2024 00:00:01 :: [console] Error writing to m: no such file").unwrap();
        assert!(!read.is_create);
        assert_eq!((read.metric.as_str(), read.at), ("m", 1_709_164_801.0));
        assert!(dropped("22/11/2026 19:59:06 :: [console] Starting").is_none());
    }
}
