//! The command line, read and checked once at start. Nothing below reads arguments or the environment.
//!
//! The flags are the Go daemon's with ours beside them; `bucky_flags` lets them be written as either tool has them.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bucky_ring::{Algorithm, Node, Relay, Ring, RingSpec, TaggedNames};
use bucky_whisper::AggregationSix;
use clap::{CommandFactory, FromArgMatches, Parser};

/// How the daemon's log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// The Bucky daemon: serves, fills and deletes the Whisper files of one storage node.
///
/// NODE is `HOST[:PORT][=INSTANCE]`: the members of the relay's ring, in the relay's order. All daemons of a cluster are
/// started with the same ones. Flags may be written with one dash or two.
#[derive(Debug, Parser)]
#[command(name = "buckyd", version, disable_help_flag = true, args_override_self = true)]
struct Args {
    /// Address to listen on. Anyone who can reach it can read and delete metrics.
    #[arg(short = 'b', long = "bind", value_name = "IP:PORT", default_value = "127.0.0.1:4242")]
    bind: String,
    /// What this node is called in the ring.
    #[arg(short = 'n', long = "node", value_name = "HOST")]
    node: Option<String>,
    /// How the relay hashes: carbon, fnv1a, jump_fnv1a, mmh3, fast-carbon, fast-fnv1a, fast-mmh3.
    #[arg(long, default_value = "carbon")]
    hash: String,
    /// Whose arithmetic counts where relays differ: buckytools, carbon, carbon-c-relay.
    #[arg(long)]
    relay: Option<String>,
    /// How many nodes hold each metric (the relay's replication factor).
    #[arg(long = "replicas", visible_alias = "replication-factor", default_value_t = 1)]
    replication_factor: usize,
    /// The copies of a metric lie on different hosts (carbon's DIVERSE_REPLICAS).
    #[arg(long)]
    diverse_replicas: bool,
    /// What of a tagged series the relay hashes: whole, before-semicolon. Default: as the relay does.
    #[arg(long)]
    tagged_names: Option<String>,
    /// Metrics that begin so are written by each node about itself: never misplaced. May be given again.
    #[arg(long, value_name = "PREFIX", default_value = "carbon.agents.")]
    local_prefix: Vec<String>,
    /// Where the Whisper files lie.
    #[arg(short = 'p', long, value_name = "PATH", default_value = "/opt/graphite/storage/whisper")]
    prefix: PathBuf,
    /// Where temporary files and tombstones lie; on the same file system. Default: PREFIX/.bucky
    #[arg(long, value_name = "PATH")]
    state_dir: Option<PathBuf>,
    /// Write new files with holes for blocks of zeros.
    #[arg(long)]
    sparse: bool,
    /// Seconds after which the list of metrics is made anew when it is asked for.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: i64,
    /// After a fill, give the file the time that the sender tells.
    #[arg(long)]
    mtime: bool,
    /// Seconds that a deleted source waits before its owners are asked and it is removed for good.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    tombstone_grace: f64,
    /// Seconds that a file's lock is waited for.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    lock_timeout: f64,
    /// Seconds that another daemon's answer is waited for.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    peer_timeout: f64,
    /// Seconds that another daemon's answer may stand still once it has begun.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    idle_timeout: f64,
    /// How many archives are sent at once, and how many are received.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    max_transfers: u32,
    /// MiB that files and requests may take together while they are in memory; a file may have a sixth of it.
    #[arg(long, value_name = "MIB", default_value_t = 1600, value_parser = clap::value_parser!(u64).range(96..=1_048_576))]
    memory: u64,
    /// What aggregation 6 means in these files: avg_zero (whisper.py) or first (go-carbon).
    #[arg(long, value_name = "METHOD", default_value = "avg_zero")]
    aggregation_6: String,
    /// How events are logged on stderr, and requests on stdout.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
    /// The Go daemon's; our temporary files lie in the state folder, so that new files appear by a rename.
    #[arg(short = 't', long, value_name = "PATH", hide = true)]
    tmpdir: Option<PathBuf>,
    /// The Go daemon's list of go-carbon; ours is made by a scan of the files.
    #[arg(long = "cache_path", alias = "cache-path", hide = true)]
    cache_path: Option<PathBuf>,
    #[arg(long, hide = true)]
    compressed: bool,
    #[arg(long, hide = true)]
    auth_jwt_secret_file: Option<PathBuf>,
    #[arg(long, hide = true)]
    pprof: Option<String>,
    #[arg(long, hide = true)]
    pyroscope: Option<String>,
    /// Show this help.
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// The members of the ring.
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
}

/// The daemon's settings, checked.
#[derive(Debug)]
pub struct Config {
    /// Where to listen.
    pub bind: SocketAddr,
    /// What this node calls itself.
    pub node: String,
    /// The ring.
    pub ring: Ring,
    /// Beginnings of metrics that are never misplaced.
    pub local_prefixes: Vec<String>,
    /// Where the files lie.
    pub prefix: PathBuf,
    /// Where the daemon's own files lie, if not in the usual place.
    pub state_dir: Option<PathBuf>,
    /// New files get holes.
    pub sparse: bool,
    /// How old the list may be.
    pub list_max_age: Duration,
    /// Whether a fill sets the file's time.
    pub set_mtime: bool,
    /// How long a tombstone waits.
    pub tombstone_grace: Duration,
    /// How long a lock is waited for.
    pub lock_limit: Duration,
    /// How long the answer of another daemon is waited for.
    pub peer_limit: Duration,
    /// How long it may stand still.
    pub idle_limit: Duration,
    /// How many transfers of each direction run at once.
    pub max_transfers: u32,
    /// What files and requests may take together while they are in memory, in bytes.
    pub memory_bytes: u64,
    /// What aggregation 6 means.
    pub aggregation_six: AggregationSix,
    /// How the log is written.
    pub log_format: LogFormat,
    /// What the operator should know about these settings.
    pub warnings: Vec<String>,
}

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Help, the version, or a usage error, for clap to print.
    #[error("{0}")]
    Clap(#[from] clap::Error),
    /// A switch with a bad value.
    #[error(transparent)]
    Boolean(#[from] bucky_flags::BadBoolean),
    /// A setting that cannot be.
    #[error("{0}")]
    Setting(String),
}

impl ConfigError {
    fn setting(flag: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Setting(format!("{flag}: {}", bucky_api::chain(error)))
    }

    /// The exit code: 0 for help, 2 for flags that cannot be read, 1 for settings that cannot be, as the Go daemon.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Clap(error) if !error.use_stderr() => 0,
            Self::Clap(_) | Self::Boolean(_) => 2,
            Self::Setting(_) => 1,
        }
    }
}

impl Config {
    /// Reads `args`, without the program's name.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, ConfigError> {
        let command = Args::command().no_binary_name(true);
        let args = bucky_flags::normalise(&command, args)?;
        let args = Args::from_arg_matches(&command.try_get_matches_from(args)?)?;
        args.check()
    }
}

impl Args {
    fn check(self) -> Result<Config, ConfigError> {
        self.refuse_what_is_not_built()?;
        let ring = self.ring()?;
        let bind: SocketAddr = self.bind.parse().map_err(|_| {
            ConfigError::Setting(format!(
                "-bind: {:?} is no IP:PORT, such as 0.0.0.0:4242",
                self.bind
            ))
        })?;
        let node = match &self.node {
            Some(node) => node.clone(),
            None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        let mut warnings = ring.warnings();
        warnings.extend(self.warnings(bind, &node, &ring));
        if self.max_transfers == 0 {
            return Err(ConfigError::Setting("--max-transfers: at least 1".into()));
        }
        Ok(Config {
            bind,
            node,
            ring,
            tombstone_grace: seconds("--tombstone-grace", self.tombstone_grace)?,
            lock_limit: seconds("--lock-timeout", self.lock_timeout)?,
            peer_limit: wait("--peer-timeout", self.peer_timeout)?,
            idle_limit: wait("--idle-timeout", self.idle_timeout)?,
            list_max_age: Duration::from_secs(u64::try_from(self.timeout).unwrap_or(0)),
            aggregation_six: self
                .aggregation_6
                .parse()
                .map_err(|error| ConfigError::setting("--aggregation-6", &error))?,
            local_prefixes: self
                .local_prefix
                .into_iter()
                .filter(|prefix| !prefix.is_empty())
                .collect(),
            prefix: self.prefix,
            state_dir: self.state_dir,
            sparse: self.sparse,
            set_mtime: self.mtime,
            max_transfers: self.max_transfers,
            memory_bytes: self.memory << 20,
            log_format: self.log_format,
            warnings,
        })
    }

    fn ring(&self) -> Result<Ring, ConfigError> {
        if self.nodes.is_empty() {
            return Err(ConfigError::Setting(
                "You must have at least 1 node in your hash ring: give the relay's nodes, HOST[:PORT][=INSTANCE]".into(),
            ));
        }
        let nodes = self
            .nodes
            .iter()
            .map(|text| text.parse::<Node>().map_err(|error| ConfigError::setting("NODE", &error)))
            .collect::<Result<Vec<_>, _>>()?;
        let algorithm: Algorithm =
            self.hash.parse().map_err(|error| ConfigError::setting("-hash", &error))?;
        let relay = parse_opt::<Relay>("--relay", self.relay.as_deref())?;
        let tagged_names =
            parse_opt::<TaggedNames>("--tagged-names", self.tagged_names.as_deref())?;
        let (relay, tagged_names) = bucky_ring::resolve(algorithm, relay, tagged_names)
            .map_err(|error| ConfigError::setting("--relay", &error))?;
        Ring::new(RingSpec {
            nodes,
            algorithm,
            relay,
            replication_factor: self.replication_factor,
            diverse_replicas: self.diverse_replicas,
            tagged_names,
        })
        .map_err(|error| ConfigError::setting("the ring", &error))
    }

    /// What would be unsafe to accept in silence.
    fn refuse_what_is_not_built(&self) -> Result<(), ConfigError> {
        if self.auth_jwt_secret_file.is_some() {
            return Err(ConfigError::Setting(
                "-auth-jwt-secret-file: tokens are not supported by this version, and buckyd will not run open where \
                 protection was asked for; bind to an address that only trusted hosts reach, and leave the flag out"
                    .into(),
            ));
        }
        if self.compressed {
            return Err(ConfigError::Setting(
                "-compressed: new files in go-carbon's compressed format are not supported by this version; without \
                 the flag, compressed files are still moved whole"
                    .into(),
            ));
        }
        Ok(())
    }

    fn warnings(&self, bind: SocketAddr, node: &str, ring: &Ring) -> Vec<String> {
        let mut warnings = Vec::new();
        if bind.ip().is_loopback() {
            if !self
                .nodes
                .iter()
                .all(|text| text.starts_with("127.") || text.starts_with("localhost"))
            {
                warnings.push(format!(
                    "listening on {bind}: only this host can connect; give -bind IP:PORT to open it to the cluster"
                ));
            }
        } else {
            warnings.push(format!(
                "listening on {bind} without authentication: anyone who can reach it can read and delete metrics"
            ));
        }
        if !ring.spec().nodes.iter().any(|member| member.host() == node) {
            warnings.push(format!(
                "this node calls itself {node:?}, which is no host of the ring; give -node as the ring has it, or \
                 everything here counts as misplaced"
            ));
        }
        for (flag, given) in
            [("-pprof", self.pprof.is_some()), ("-pyroscope", self.pyroscope.is_some())]
        {
            if given {
                warnings.push(format!("{flag} is the Go daemon's and has no effect here"));
            }
        }
        if self.tmpdir.is_some() {
            warnings.push(
                "-tmpdir has no effect: temporary files lie in the state folder (--state-dir)"
                    .into(),
            );
        }
        if self.cache_path.is_some() {
            warnings
                .push("-cache_path has no effect: the list of metrics is made by a scan".into());
        }
        warnings
    }
}

fn parse_opt<T>(flag: &str, text: Option<&str>) -> Result<Option<T>, ConfigError>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + 'static,
{
    text.map(|text| text.parse().map_err(|error: T::Err| ConfigError::setting(flag, &error)))
        .transpose()
}

/// A wait for another daemon: with none at all nothing would ever be moved.
fn wait(flag: &str, value: f64) -> Result<Duration, ConfigError> {
    match seconds(flag, value)? {
        Duration::ZERO => Err(ConfigError::Setting(format!("{flag}: must be more than 0"))),
        wait => Ok(wait),
    }
}

fn seconds(flag: &str, value: f64) -> Result<Duration, ConfigError> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| ConfigError::Setting(format!("{flag}: {value} is no number of seconds")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Config, ConfigError> {
        Config::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_line_written_for_the_go_daemon_is_read() {
        let config = parse(
            "-b 0.0.0.0:4343 -node a -hash jump_fnv1a -replicas 1 -p /w -t /tmp -sparse=true -timeout 60 -pprof= \
             a:2003=x b:2003=y",
        )
        .unwrap();
        assert_eq!(config.bind.to_string(), "0.0.0.0:4343");
        assert_eq!(config.ring.spec().algorithm, Algorithm::JumpFnv1a);
        assert!(config.sparse);
        assert!(config.warnings.iter().any(|warning| warning.contains("without authentication")));
        assert!(config.warnings.iter().any(|warning| warning.starts_with("-pprof")));
    }

    #[test]
    fn d20_flags_behind_the_nodes_are_flags() {
        let config = parse("a:2003 b:2003 -hash fnv1a -node a").unwrap();
        assert_eq!(config.ring.spec().nodes.len(), 2);
        assert_eq!(config.ring.spec().algorithm, Algorithm::Fnv1a);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_flag_and_the_go_daemons_exit_code() {
        for (line, exit_code, said) in [
            ("", 1, "at least 1 node"),
            ("-hash md5 a", 1, "-hash"),
            ("a:b", 1, "NODE"),
            ("a:-1", 1, "NODE"),
            ("-replicas 3 a b", 1, "the ring"),
            ("-replicas -1 a b", 2, "--replicas"),
            ("-b nowhere a", 1, "-bind"),
            ("-nosuch a", 2, "--nosuch"),
            ("-sparse=maybe a", 2, "maybe"),
            ("-lock-timeout -1 a", 1, "--lock-timeout"),
            ("-max-transfers 0 a", 2, "1..=1024"),
            ("-auth-jwt-secret-file /s a", 1, "will not run open"),
            ("-compressed a", 1, "compressed"),
            ("-help", 0, "Usage"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), exit_code, "{line}: {error}");
            assert!(error.to_string().contains(said), "{line}: {error}");
        }
    }

    #[test]
    fn without_a_bind_address_only_this_host_can_connect_and_is_told_how_to_open() {
        let config = parse("-node graphite-1 graphite-1:2003").unwrap();
        assert!(config.bind.ip().is_loopback());
        assert!(config.warnings.iter().any(|warning| warning.contains("-bind IP:PORT")));
    }
}
