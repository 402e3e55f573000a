//! A node: a prefix with Whisper files, and the daemon that serves it.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use bucky_whisper::{MetricName, Point};
use reqwest::Method;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use crate::clock::{self, Clock};
use crate::http::Http;
use crate::launch::{
    DISK_BELOW_BYTES, Launch, on_disk, with_descriptors, without_root_capabilities,
};
use crate::metrics::{self, Layout};
use crate::program::{send, wait_for_end};
use crate::strace::{self, Recording};
use crate::{Gate, token, wait};

/// How long a daemon may take to stop before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// One node of a cluster.
#[derive(Debug)]
pub struct Node {
    pub(crate) host: String,
    /// The address that the cluster knows.
    pub(crate) addr: SocketAddr,
    /// The address on which the daemon listens: the same, or the one behind the gate.
    pub(crate) listen: SocketAddr,
    pub(crate) gate: Option<Gate>,
    pub(crate) folder: PathBuf,
    pub(crate) program: PathBuf,
    /// Flags, and members of the ring.
    pub(crate) args: Vec<String>,
    pub(crate) launch: Launch,
    /// The token that its daemon requires.
    pub(crate) token: Option<String>,
    pub(crate) daemon: Option<Child>,
    pub(crate) starts: u32,
}

impl Node {
    /// Its host, as in the ring.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `HOST:PORT`, as `bucky` names it.
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// The gate before it.
    ///
    /// # Panics
    /// If the cluster was planned without a gate.
    pub fn gate(&self) -> &Gate {
        self.gate.as_ref().expect("the plan of this cluster puts a gate before this node")
    }

    /// The folder of its Whisper files.
    pub fn prefix(&self) -> PathBuf {
        match (&self.launch, &self.daemon) {
            // Only the daemon's own mount namespace has it.
            (
                Launch::OnSmallDisk(_) | Launch::OnDisk { .. } | Launch::WithDiskBelow(_),
                Some(daemon),
            ) => {
                let root = PathBuf::from(format!("/proc/{}/root", daemon.id()));
                root.join(self.own_prefix().strip_prefix("/").unwrap())
            }
            _ => self.own_prefix(),
        }
    }

    fn own_prefix(&self) -> PathBuf {
        self.folder.join("whisper")
    }

    /// The path of a metric's file.
    pub fn path(&self, metric: &str) -> PathBuf {
        self.prefix().join(metric.parse::<MetricName>().unwrap().relative_path())
    }

    /// Writes a metric with these points.
    pub fn write(&self, metric: &str, layout: &Layout, points: &[Point]) {
        metrics::write(&self.prefix(), &metric.parse().unwrap(), layout, points);
    }

    /// Writes bytes to a metric's file.
    pub fn put(&self, metric: &str, content: &[u8]) {
        let path = self.path(metric);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Whether the metric's file exists.
    pub fn has(&self, metric: &str) -> bool {
        self.path(metric).exists()
    }

    /// The names of all files of metrics, sorted.
    pub fn metrics(&self) -> Vec<String> {
        crate::tree::metrics(&self.prefix()).into_iter().map(|name| name.to_string()).collect()
    }

    /// Sets how the daemon is started, from the next start on.
    pub fn launch(&mut self, launch: Launch) -> &mut Self {
        self.launch = launch;
        self
    }

    /// Sets the daemon's clock, which is its own from the next start on.
    pub fn set_clock(&mut self, clock: Clock) -> &mut Self {
        clock.set(&self.clock_path());
        self.launch(Launch::WithClock)
    }

    fn clock_path(&self) -> PathBuf {
        self.folder.join("clock")
    }

    /// Adds `flag` and its value from the next start on. It replaces an earlier value.
    pub fn flag(&mut self, flag: &str, value: &str) -> &mut Self {
        self.args.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// Adds a member to the daemon's ring from the next start on.
    pub fn ring_member(&mut self, member: &str) -> &mut Self {
        self.args.push(member.to_owned());
        self
    }

    /// Removes a member from the daemon's ring from the next start on.
    pub fn remove_ring_member(&mut self, member: &str) -> &mut Self {
        self.args.retain(|arg| arg != member);
        self
    }

    /// From the next start on, the daemon requires tokens signed with the secret in this file; `token` is a
    /// valid one.
    pub fn protect(&mut self, secret_file: &Path, token: &str) -> &mut Self {
        self.token = Some(token.to_owned());
        self.flag("-auth-jwt-secret-file", secret_file.to_str().unwrap())
    }

    /// Replaces an argument from the next start on.
    pub fn replace_arg(&mut self, old: &str, new: &str) -> &mut Self {
        let arg = self.args.iter_mut().find(|arg| *arg == old);
        new.clone_into(arg.unwrap_or_else(|| panic!("no argument {old:?}")));
        self
    }

    /// The command that starts the daemon.
    pub fn command(&self) -> Command {
        let mut words: Vec<OsString> = vec![self.program.clone().into()];
        let given = ["-b", &self.listen.to_string(), "-node", &self.host].map(OsString::from);
        words.extend(given);
        words.extend(["-p".into(), self.own_prefix().into_os_string()]);
        words.extend(self.args.iter().map(OsString::from));
        let mut command = match &self.launch {
            Launch::Plain => Command::new(&words[0]),
            Launch::WithClock => {
                let mut command = Command::new(&words[0]);
                clock::read_from(&self.clock_path(), &mut command);
                command
            }
            Launch::OnSmallDisk(bytes) => {
                on_disk(&format!("size={bytes}"), &self.own_prefix(), &words[0])
            }
            Launch::OnDisk { bytes, inodes } => {
                let size = format!("size={bytes},nr_inodes={inodes}");
                on_disk(&size, &self.own_prefix(), &words[0])
            }
            Launch::WithDiskBelow(folder) => {
                let folder = self.own_prefix().join(folder);
                on_disk(&format!("size={DISK_BELOW_BYTES}"), &folder, &words[0])
            }
            Launch::WithoutRootCapabilities => without_root_capabilities(&words[0]),
            Launch::WithDescriptors(count) => with_descriptors(*count, &words[0]),
            Launch::Recorded => strace::recorded(&self.recording_path(), &words[0]),
            Launch::Injected(injection) => {
                strace::injected(injection, &self.own_prefix(), &words[0])
            }
        };
        command.args(&words[1..]);
        command
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Panics
    /// If it is running already, ends, or does not answer.
    #[track_caller]
    pub fn start(&mut self) {
        self.start_unready();
        let http = Http::new();
        let url = format!("http://{}/v1/status", self.listen);
        wait::until(&format!("{} has scanned its files", self.host), || {
            let ended = self.daemon.as_mut().unwrap().try_wait().unwrap();
            assert!(
                ended.is_none(),
                "the daemon of {} ended: {ended:?}\n{}",
                self.host,
                self.log()
            );
            let token = self.token.as_deref().map(|token| (token::HEADER, token));
            let headers: Vec<_> = token.into_iter().collect();
            let answer = http.send(Method::GET, &url, &headers, Vec::new()).ok();
            let status = answer.filter(|answer| answer.status == 200);
            status.is_some_and(|answer| answer.json()["metrics"].is_u64())
        });
    }

    /// Starts the daemon without waiting.
    ///
    /// # Panics
    /// If it is running already, or cannot be started.
    #[track_caller]
    pub fn start_unready(&mut self) {
        assert!(self.daemon.is_none(), "the daemon of {} runs already", self.host);
        std::fs::create_dir_all(self.own_prefix()).unwrap();
        self.starts += 1;
        let mut log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        writeln!(log, "--- start {} of {}", self.starts, self.host).unwrap();
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let daemon = command.spawn();
        self.daemon = Some(daemon.unwrap_or_else(|error| panic!("{command:?}: {error}")));
    }

    /// Stops the daemon with SIGTERM, and returns its exit status.
    ///
    /// # Panics
    /// If it is not running, or does not end.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        send(&daemon, Signal::TERM);
        let ended = wait_for_end(&mut daemon, wait::LIMIT);
        ended.unwrap_or_else(|| {
            let _ = daemon.kill();
            let _ = daemon.wait();
            panic!("the daemon of {} did not end after SIGTERM", self.host)
        })
    }

    /// Kills the daemon (SIGKILL).
    ///
    /// # Panics
    /// If it is not running.
    #[track_caller]
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// The process ID of the daemon.
    ///
    /// # Panics
    /// If it is not running.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").id()
    }

    /// Whether the daemon has ended by itself or was killed by another process.
    ///
    /// # Panics
    /// If it was never started, or was stopped.
    pub fn has_ended(&mut self) -> bool {
        self.daemon.as_mut().expect("the daemon was started").try_wait().unwrap().is_some()
    }

    /// What a daemon did that was [`Launch::Recorded`] and has been stopped.
    ///
    /// # Panics
    /// If there is no complete recording.
    #[track_caller]
    pub fn recording(&self) -> Recording {
        // strace ends a moment after the daemon.
        let mut problem = None;
        let recording = wait::within(wait::LIMIT, || {
            let text = std::fs::read_to_string(self.recording_path()).ok()?;
            let recording = Recording::parse(&text).map_err(|line| problem = Some(line)).ok()?;
            recording.is_complete().then_some(recording)
        });
        recording.unwrap_or_else(|| {
            panic!("the recording of {} is not complete: {problem:?}", self.host)
        })
    }

    fn recording_path(&self) -> PathBuf {
        self.folder.join("recording")
    }

    /// Limits how many files and connections the running daemon may have open; `None` restores the previous
    /// limit.
    ///
    /// # Panics
    /// If it is not running.
    pub fn limit_descriptors(&mut self, limit: Option<u64>) {
        let daemon = self.daemon.as_ref().expect("the daemon runs");
        let pid = Pid::from_child(daemon);
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current: limit.or(maximum), maximum };
        prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    }

    /// How many files and connections the daemon has open.
    ///
    /// # Panics
    /// If it is not running.
    pub fn descriptors(&self) -> usize {
        let daemon = self.daemon.as_ref().expect("the daemon runs");
        std::fs::read_dir(format!("/proc/{}/fd", daemon.id())).unwrap().count()
    }

    /// How many connections the daemon has that it has not closed itself, even if the other side has.
    ///
    /// # Panics
    /// If the system does not report it.
    pub fn connections(&self) -> usize {
        let SocketAddr::V4(listen) = self.listen else { panic!("the tests' addresses are IPv4") };
        // `proc_net(5)` prints the address in the machine's byte order.
        let ip = u32::from_ne_bytes(listen.ip().octets());
        let own = format!("{ip:08X}:{:04X}", listen.port());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let is_open = |line: &&str| {
            let mut words = line.split_whitespace().skip(1);
            // 01 is established; 08 was closed by the other side.
            words.next() == Some(own.as_str()) && matches!(words.nth(1), Some("01" | "08"))
        };
        table.lines().filter(is_open).count()
    }

    /// Everything the daemon has logged.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        send(&daemon, Signal::TERM);
        if wait_for_end(&mut daemon, GRACE).is_none() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
