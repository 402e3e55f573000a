//! A node: a prefix with Whisper files, and the daemon over it.

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
use crate::metrics::{self, Layout};
use crate::program::{send, wait_for_end};
use crate::strace::{self, Recording};
use crate::{Gate, token, wait};

/// How long a daemon may take to stop in order before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// How large a file system below a prefix is.
const DISK_BELOW_BYTES: u64 = 64 << 20;

/// How a daemon is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Launch {
    /// As it is.
    #[default]
    Plain,
    /// With a prefix of its own on a file system of this many bytes, which goes when the daemon does.
    OnSmallDisk(u64),
    /// The same, with so many inodes.
    OnDisk {
        /// Its size.
        bytes: u64,
        /// How many files and folders it can hold.
        inodes: u64,
    },
    /// With a file system of its own at this folder below the prefix, which goes when the daemon does.
    WithDiskBelow(&'static str),
    /// Without the powers with which root reads what its permissions do not let it read.
    WithoutRootPowers,
    /// With so many files and connections, as a shell allows them; it may raise that itself to what the operator allows.
    WithDescriptors(u64),
    /// With a clock of its own: [`Node::set_clock`].
    WithClock,
    /// Under `strace`, which writes down what it does to files and says to others: [`Node::recording`].
    Recorded,
    /// Under `strace`, which has system calls fail.
    Injected(Injection),
}

/// System calls that fail, as they do on a disk that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// Which, separated by commas: `fsync,syncfs`.
    pub calls: &'static str,
    /// With what: `EIO`.
    pub error: &'static str,
    /// Which of them, as `strace` counts: `1+` all, `2` the second only. Each thread is counted for itself.
    pub when: &'static str,
    /// Only those about this path below the prefix.
    pub path: Option<PathBuf>,
}

impl Injection {
    /// All these calls fail with `EIO`.
    pub fn eio(calls: &'static str) -> Self {
        Self { calls, error: "EIO", when: "1+", path: None }
    }

    /// Only those about this path below the prefix.
    #[must_use]
    pub fn at(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// With another error.
    #[must_use]
    pub fn error(mut self, error: &'static str) -> Self {
        self.error = error;
        self
    }

    /// Only some of them.
    #[must_use]
    pub fn when(mut self, when: &'static str) -> Self {
        self.when = when;
        self
    }
}

/// One node of a cluster.
#[derive(Debug)]
pub struct Node {
    pub(crate) host: String,
    /// The address that the cluster knows.
    pub(crate) addr: SocketAddr,
    /// Where the daemon listens: the same, or behind the gate.
    pub(crate) listen: SocketAddr,
    pub(crate) gate: Option<Gate>,
    pub(crate) folder: PathBuf,
    pub(crate) program: PathBuf,
    /// Flags and members of the ring.
    pub(crate) args: Vec<String>,
    pub(crate) launch: Launch,
    /// What its daemon wants to see before it answers.
    pub(crate) token: Option<String>,
    pub(crate) daemon: Option<Child>,
    pub(crate) starts: u32,
}

impl Node {
    /// Its host, as the ring has it.
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
    /// Where the cluster was planned without.
    pub fn gate(&self) -> &Gate {
        self.gate.as_ref().expect("the plan of this cluster puts a gate before this node")
    }

    /// Where its Whisper files lie.
    pub fn prefix(&self) -> PathBuf {
        match (&self.launch, &self.daemon) {
            // Only the daemon's own view of the file systems has it.
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

    /// Lays down a metric with these points.
    pub fn write(&self, metric: &str, layout: &Layout, points: &[Point]) {
        metrics::write(&self.prefix(), &metric.parse().unwrap(), layout, points);
    }

    /// Puts bytes in a metric's place.
    pub fn put(&self, metric: &str, content: &[u8]) {
        let path = self.path(metric);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Whether the metric's file is there.
    pub fn has(&self, metric: &str) -> bool {
        self.path(metric).exists()
    }

    /// The names of all files of metrics, sorted.
    pub fn metrics(&self) -> Vec<String> {
        crate::tree::metrics(&self.prefix()).into_iter().map(|name| name.to_string()).collect()
    }

    /// Says how the daemon is started from the next start on.
    pub fn launch(&mut self, launch: Launch) -> &mut Self {
        self.launch = launch;
        self
    }

    /// Sets the clock of the daemon, which has one of its own from the next start on.
    pub fn set_clock(&mut self, clock: Clock) -> &mut Self {
        clock.set(&self.clock_path());
        self.launch(Launch::WithClock)
    }

    fn clock_path(&self) -> PathBuf {
        self.folder.join("clock")
    }

    /// Adds `flag` and its value from the next start on. It counts in place of one that was given before.
    pub fn flag(&mut self, flag: &str, value: &str) -> &mut Self {
        self.args.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// Adds a member to the ring that the daemon is told from the next start on.
    pub fn ring_member(&mut self, member: &str) -> &mut Self {
        self.args.push(member.to_owned());
        self
    }

    /// Takes a member out of the ring that the daemon is told from the next start on.
    pub fn forget_ring_member(&mut self, member: &str) -> &mut Self {
        self.args.retain(|arg| arg != member);
        self
    }

    /// Has the daemon want tokens signed with the secret in this file from the next start on; `token` is a good one.
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
            Launch::WithoutRootPowers => without_root_powers(&words[0]),
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
    /// Where it runs already, ends, or does not answer.
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

    /// Starts the daemon and waits for nothing.
    ///
    /// # Panics
    /// Where it runs already, or cannot be started.
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

    /// Stops the daemon in order (SIGTERM) and tells how it ended.
    ///
    /// # Panics
    /// Where it does not run, or does not end.
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
    /// Where it does not run.
    #[track_caller]
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// The number of the daemon's process.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").id()
    }

    /// Whether the daemon has ended by itself, or by somebody else's hand.
    ///
    /// # Panics
    /// Where it was never started, or stopped.
    pub fn has_ended(&mut self) -> bool {
        self.daemon.as_mut().expect("the daemon was started").try_wait().unwrap().is_some()
    }

    /// What a daemon did that was [`Launch::Recorded`] and has been stopped.
    ///
    /// # Panics
    /// Where there is no whole recording.
    #[track_caller]
    pub fn recording(&self) -> Recording {
        // The recorder ends a moment after the daemon.
        let mut problem = None;
        let whole = wait::within(wait::LIMIT, || {
            let text = std::fs::read_to_string(self.recording_path()).ok()?;
            let recording = Recording::parse(&text).map_err(|line| problem = Some(line)).ok()?;
            recording.is_whole().then_some(recording)
        });
        whole.unwrap_or_else(|| panic!("the recording of {} is not whole: {problem:?}", self.host))
    }

    fn recording_path(&self) -> PathBuf {
        self.folder.join("recording")
    }

    /// Lets the daemon that runs have no more than this many files and connections open at once; none for as many as
    /// before.
    ///
    /// # Panics
    /// Where it does not run.
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
    /// Where it does not run.
    pub fn descriptors(&self) -> usize {
        let daemon = self.daemon.as_ref().expect("the daemon runs");
        std::fs::read_dir(format!("/proc/{}/fd", daemon.id())).unwrap().count()
    }

    /// How many connections the daemon has that it has not closed itself, whatever the other side did.
    ///
    /// # Panics
    /// Where the system does not tell.
    pub fn connections(&self) -> usize {
        let SocketAddr::V4(listen) = self.listen else { panic!("the tests' addresses are IPv4") };
        // As `proc_net(5)` writes it: the address as the machine has it in memory.
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

/// `unshare` gives the program file systems of its own, and one of this size at `prefix` among them.
fn on_disk(size: &str, prefix: &Path, program: &OsString) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let script =
        "mkdir -p \"$2\" && mount -t tmpfs -o $1,mode=755 tmpfs \"$2\" && shift 2 && exec \"$@\"";
    command.args(["--mount", "sh", "-ec", script, "sh", size]).arg(prefix).arg(program);
    command
}

fn without_root_powers(program: &OsString) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-dac_override,-dac_read_search").arg(program);
    command
}

fn with_descriptors(count: u64, program: &OsString) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={count}:")).arg(program);
    command
}
