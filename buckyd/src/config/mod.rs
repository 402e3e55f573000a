//! The command line, read and checked once at start. Nothing below reads arguments or the environment.
//!
//! The flags are the Go daemon's with ours beside them (`args`); `bucky_flags` lets them be written as either tool has
//! them. `ring` makes the ring of them, `bind` says where to listen, `warnings` what the operator should know.

mod args;
mod bind;
mod ring;
#[cfg(test)]
mod tests;
mod warnings;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bucky_ring::Ring;
use bucky_whisper::AggregationSix;
use clap::{CommandFactory, FromArgMatches};

use self::args::Args;
pub use self::bind::{BadBind, Bind};
pub(crate) use self::warnings::exposure;
use crate::auth::AuthSettings;

/// How the daemon's log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// The daemon's settings, checked.
#[derive(Debug)]
pub struct Config {
    /// Where to listen.
    pub bind: Bind,
    /// What this node calls itself.
    pub node: String,
    /// The ring.
    pub ring: Ring,
    /// Beginnings of metrics that are never misplaced.
    pub local_prefixes: Vec<String>,
    /// The files of the node.
    pub files: FileSettings,
    /// How long is waited, and how much is held.
    pub limits: Limits,
    /// Tokens, and the daemons that are spoken to.
    pub(crate) auth: AuthSettings,
    /// How the log is written.
    pub log_format: LogFormat,
    /// What the operator should know about these settings.
    pub warnings: Vec<String>,
}

/// The files of the node, and how they are treated.
#[derive(Debug)]
pub struct FileSettings {
    /// The folder below which they are.
    pub prefix: PathBuf,
    /// The folder of the daemon's own files, if not the usual one.
    pub state_dir: Option<PathBuf>,
    /// Links that may be followed, or folders that links may lead to.
    pub follow: Vec<PathBuf>,
    /// The file with the series of tagged files that are named by a hash.
    pub series: Option<PathBuf>,
    /// go-carbon's list of files, which serves until the first scan has ended.
    pub file_list: Option<PathBuf>,
    /// How old the list of metrics may be.
    pub list_max_age: Duration,
    /// Whether new files get holes.
    pub sparse: bool,
    /// Whether a fill sets the file's time.
    pub set_mtime: bool,
    /// What aggregation 6 means.
    pub aggregation_six: AggregationSix,
}

/// How long is waited, and how much is held.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a tombstone waits.
    pub tombstone_grace: Duration,
    /// How long a lock is waited for.
    pub lock: Duration,
    /// How long the answer of another daemon is waited for.
    pub peer: Duration,
    /// How long an answer may stand still.
    pub idle: Duration,
    /// By how much the clocks of others may differ from this node's.
    pub max_clock_difference: Duration,
    /// How many transfers of each direction run at once.
    pub max_transfers: u32,
    /// What files and requests may take together while they are in memory, in bytes.
    pub memory_bytes: u64,
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
        let ring = ring::ring(&self)?;
        let bind: Bind =
            self.bind.parse().map_err(|error| ConfigError::setting("-bind", &error))?;
        let node = match &self.node {
            Some(node) => node.clone(),
            None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        let auth = self.auth.check(bind.port()).map_err(ConfigError::Setting)?;
        let mut warnings = warnings::warnings(&self, &node, &ring);
        warnings.extend(auth.warnings.iter().cloned());
        Ok(Config {
            bind,
            node,
            ring,
            limits: Limits {
                tombstone_grace: seconds("--tombstone-grace", self.tombstone_grace)?,
                lock: seconds("--lock-timeout", self.lock_timeout)?,
                peer: wait("--peer-timeout", self.peer_timeout)?,
                idle: wait("--idle-timeout", self.idle_timeout)?,
                max_clock_difference: seconds("--max-clock-difference", self.max_clock_difference)?,
                max_transfers: self.max_transfers,
                memory_bytes: self.memory << 20,
            },
            files: FileSettings {
                list_max_age: Duration::from_secs(u64::try_from(self.timeout).unwrap_or(0)),
                aggregation_six: self
                    .aggregation_6
                    .parse()
                    .map_err(|error| ConfigError::setting("--aggregation-6", &error))?,
                file_list: self.cache_path.filter(|path| !path.is_empty()).map(PathBuf::from),
                series: self.series,
                prefix: self.prefix,
                state_dir: self.state_dir,
                follow: self.follow,
                sparse: self.sparse,
                set_mtime: self.mtime,
            },
            local_prefixes: self
                .local_prefix
                .into_iter()
                .filter(|prefix| !prefix.is_empty())
                .collect(),
            auth,
            log_format: self.log_format,
            warnings,
        })
    }
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
        .map_err(|_| ConfigError::Setting(format!("{flag}: {value} is not a number of seconds")))
}
