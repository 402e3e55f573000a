//! The command line, read and checked once at start. No other module reads arguments or the environment.
//!
//! The flags are the Go daemon's and our own (`args`). `bucky_flags` accepts them in both tools' notation.
//! `ring` builds the ring, `bind` has the address to listen on, and `warnings` has messages for the operator.

mod args;
mod bind;
mod ring;
#[cfg(test)]
mod tests;
mod warnings;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bucky_relay_config::disk::RingFile;
use bucky_ring::Ring;
use bucky_whisper::AggregationSix;
use clap::{CommandFactory, FromArgMatches};

use self::args::Args;
pub use self::bind::{BadBind, Bind};
pub(crate) use self::warnings::exposure;
use crate::auth::AuthSettings;
use crate::ring_file::FileRing;

/// The format of the daemon's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object per line.
    Json,
}

/// The checked settings of the daemon.
#[derive(Debug)]
pub struct Config {
    /// Where to listen.
    pub bind: Bind,
    /// The name of this node.
    pub node: String,
    /// The ring.
    pub ring: Ring,
    /// The file that the ring was read from.
    pub ring_file: Option<RingFile>,
    /// Beginnings of the names of local metrics, which are never misplaced.
    pub local_prefixes: Vec<String>,
    /// The files of the node.
    pub files: FileSettings,
    /// Time and memory limits.
    pub limits: Limits,
    /// Tokens, and the daemons that may be contacted.
    pub(crate) auth: AuthSettings,
    /// The format of the log.
    pub log_format: LogFormat,
    /// Messages for the operator about these settings.
    pub warnings: Vec<String>,
}

/// The files of the node, and how they are treated.
#[derive(Debug)]
pub struct FileSettings {
    /// The prefix: the folder of the files.
    pub prefix: PathBuf,
    /// The folder of the daemon's own files, if it is not the default.
    pub state_dir: Option<PathBuf>,
    /// Links that may be followed, or folders that links may lead to.
    pub follow: Vec<PathBuf>,
    /// The file with the series of tagged files that are named by a hash.
    pub series: Option<PathBuf>,
    /// go-carbon's list of files, which is served until the first scan has ended.
    pub file_list: Option<PathBuf>,
    /// The maximum age of the list of metrics.
    pub list_max_age: Duration,
    /// Whether new files are created with holes.
    pub sparse: bool,
    /// Whether a fill sets the file's time.
    pub set_mtime: bool,
    /// The meaning of aggregation method 6.
    pub aggregation_six: AggregationSix,
}

/// Time and memory limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a tombstone waits before its owners are asked.
    pub tombstone_grace: Duration,
    /// How long to wait for a lock.
    pub lock: Duration,
    /// How long to wait for another daemon's answer.
    pub peer: Duration,
    /// How long another daemon's answer may pause.
    pub idle: Duration,
    /// How far the clocks of other hosts may differ from this node's.
    pub max_clock_difference: Duration,
    /// How many transfers run at once in each direction.
    pub max_transfers: u32,
    /// The most bytes that all files and requests in memory take together.
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
    /// An invalid setting.
    #[error("{0}")]
    Setting(String),
}

impl ConfigError {
    fn setting(flag: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Setting(format!("{flag}: {}", bucky_api::chain(error)))
    }

    /// The exit code, as in the Go daemon: 0 for help, 2 for flags that cannot be read, 1 for invalid
    /// settings.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Clap(error) if !error.use_stderr() => 0,
            Self::Clap(_) | Self::Boolean(_) => 2,
            Self::Setting(_) => 1,
        }
    }
}

impl Config {
    /// Reads `args`, which do not include the program's name.
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
        let ring_file = ring::file(&self);
        let FileRing { ring, warnings: about_file } = ring::ring(&self, ring_file.as_ref())?;
        let bind: Bind =
            self.bind.parse().map_err(|error| ConfigError::setting("-bind", &error))?;
        let node = match &self.node {
            Some(node) => node.clone(),
            None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        let auth = self.auth.check(bind.port()).map_err(ConfigError::Setting)?;
        let mut warnings = warnings::warnings(&self, &node, &ring);
        warnings.extend(about_file);
        warnings.extend(auth.warnings.iter().cloned());
        Ok(Config {
            bind,
            node,
            ring,
            ring_file,
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

/// The time limit for another daemon. It must be greater than 0, or nothing would ever be moved.
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
