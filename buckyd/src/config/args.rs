//! The flags as they are declared: names, defaults, help. What they mean is checked in the parent.

use std::ffi::OsString;
use std::path::PathBuf;

use bucky_flags::integer;
use clap::Parser;

use super::LogFormat;
use crate::auth::AuthArgs;

/// The most copies of a metric that a ring can be asked for: carbon's own limit is the number of its nodes.
const COPIES_MOST: i64 = 64;

/// The Bucky daemon: serves, fills and deletes the Whisper files of one storage node.
///
/// NODE is `HOST[:PORT][=INSTANCE]`: the members of the relay's ring, in the relay's order. All daemons of a cluster are
/// started with the same ones. Flags may be written with one dash or two.
#[derive(Debug, Parser)]
#[command(name = "buckyd", version, disable_help_flag = true, args_override_self = true)]
pub(super) struct Args {
    /// Address to listen on; :PORT for all of this host's. Without tokens, anyone who can reach it can read and delete
    /// metrics.
    #[arg(
        short = 'b',
        long = "bind",
        value_name = "[HOST]:PORT",
        default_value = "127.0.0.1:4242"
    )]
    pub(super) bind: String,
    /// What this node is called in the ring.
    #[arg(short = 'n', long = "node", value_name = "HOST")]
    pub(super) node: Option<String>,
    /// How the relay hashes: carbon, fnv1a, jump_fnv1a, mmh3, fast-carbon, fast-fnv1a, fast-mmh3.
    #[arg(long, default_value = "carbon")]
    pub(super) hash: String,
    /// Whose arithmetic counts where relays differ: buckytools, carbon, carbon-c-relay.
    #[arg(long)]
    pub(super) relay: Option<String>,
    /// How many nodes hold each metric (the relay's replication factor).
    #[arg(long = "replicas", visible_alias = "replication-factor", default_value_t = 1, value_parser = integer::<usize>(1..=COPIES_MOST))]
    pub(super) replication_factor: usize,
    /// The copies of a metric lie on different hosts (carbon's DIVERSE_REPLICAS).
    #[arg(long)]
    pub(super) diverse_replicas: bool,
    /// What of a tagged series the relay hashes: whole, before-semicolon. Default: as the relay does.
    #[arg(long)]
    pub(super) tagged_names: Option<String>,
    /// Metrics that begin so are written by each node about itself: never misplaced. May be given again.
    #[arg(long, value_name = "PREFIX", default_value = "carbon.agents.")]
    pub(super) local_prefix: Vec<String>,
    /// A file with one series a line (`name;tag1=value1;tag2=value2`), as the tag database exports them: tagged files that
    /// are named by the SHA-256 of their series (carbon's TAG_HASH_FILENAMES) are placed by it. Read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub(super) series: Option<PathBuf>,
    /// Where the Whisper files lie.
    #[arg(short = 'p', long, value_name = "PATH", default_value = "/opt/graphite/storage/whisper")]
    pub(super) prefix: PathBuf,
    /// Where temporary files and tombstones lie; on the same file system. Default: PREFIX/.bucky
    #[arg(long, value_name = "PATH")]
    pub(super) state_dir: Option<PathBuf>,
    /// A link to a folder below the prefix, or a folder that such links may lead to: served as a part of the prefix.
    /// Repeatable. What is mounted below the prefix needs none.
    #[arg(long, value_name = "PATH")]
    pub(super) follow: Vec<PathBuf>,
    /// Write new files with holes for blocks of zeros.
    #[arg(long)]
    pub(super) sparse: bool,
    /// Seconds after which the list of metrics is made anew when it is asked for.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = integer::<i64>(i64::MIN..=i64::MAX))]
    pub(super) timeout: i64,
    /// After a fill, give the file the time that the sender tells.
    #[arg(long)]
    pub(super) mtime: bool,
    /// Seconds that a deleted source waits before its owners are asked and it is removed for good.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub(super) tombstone_grace: f64,
    /// Seconds that a file's lock is waited for.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub(super) lock_timeout: f64,
    /// Seconds that another daemon's answer is waited for.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub(super) peer_timeout: f64,
    /// Seconds that another daemon's answer may stand still once it has begun.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub(super) idle_timeout: f64,
    /// Seconds that another clock may differ from this node's. Beyond that nothing is deleted on the other side's word.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub(super) max_clock_difference: f64,
    /// How many archives are sent at once, and how many are received.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = integer::<u32>(1..=1024))]
    pub(super) max_transfers: u32,
    /// MiB that files and requests may take together while they are in memory; longer files than a sixth of it go through the disk.
    #[arg(long, value_name = "MIB", default_value_t = 1600, value_parser = integer::<u64>(96..=1_048_576))]
    pub(super) memory: u64,
    /// What aggregation 6 means in these files: avg_zero (whisper.py) or first (go-carbon).
    #[arg(long, value_name = "METHOD", default_value = "avg_zero")]
    pub(super) aggregation_6: String,
    #[command(flatten)]
    pub(super) auth: AuthArgs,
    /// How events are logged on stderr, and requests on stdout.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) log_format: LogFormat,
    /// The Go daemon's, without effect: temporary files lie in the state folder, so that new files appear by a rename
    #[arg(short = 't', long, value_name = "PATH")]
    pub(super) tmpdir: Option<OsString>,
    /// go-carbon's file-list-cache (version 2): answers /metrics until the first scan has ended, if it is not older than
    /// --timeout
    #[arg(long = "cache_path", alias = "cache-path", value_name = "PATH")]
    pub(super) cache_path: Option<OsString>,
    /// The Go daemon's, without effect: new files are stored as they come, compressed or not
    #[arg(long)]
    pub(super) compressed: bool,
    /// The Go daemon's, without effect
    #[arg(long, value_name = "ADDR")]
    pub(super) pprof: Option<String>,
    /// The Go daemon's, without effect
    #[arg(long, value_name = "URL")]
    pub(super) pyroscope: Option<String>,
    /// Show this help.
    #[arg(short = 'h', long, action = clap::ArgAction::Help)]
    pub(super) help: Option<bool>,
    /// The members of the ring.
    #[arg(value_name = "NODE")]
    pub(super) nodes: Vec<String>,
}
