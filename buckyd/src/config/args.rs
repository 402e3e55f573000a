//! The flags: names, defaults, help. The parent module checks their values.

use std::ffi::OsString;
use std::path::PathBuf;

use bucky_flags::integer;
use clap::Parser;

use super::LogFormat;
use crate::auth::AuthArgs;

/// The largest replication factor. Carbon's own limit is the number of its nodes.
const COPIES_MOST: i64 = 64;

/// The Bucky daemon: serves, fills and deletes the Whisper files of one storage node.
///
/// NODE is `HOST[:PORT][=INSTANCE]`. Give all members of the relay's ring in the relay's order, the same ones
/// to every daemon of the cluster. Flags may have one dash or two.
#[derive(Debug, Parser)]
#[command(name = "buckyd", version, disable_help_flag = true, args_override_self = true)]
pub(super) struct Args {
    /// Address to listen on; :PORT listens on all addresses of this host. Without tokens, anyone who can
    /// reach it can read and delete metrics.
    #[arg(
        short = 'b',
        long = "bind",
        value_name = "[HOST]:PORT",
        default_value = "127.0.0.1:4242"
    )]
    pub(super) bind: String,
    /// Name of this node in the ring. Default: this host's name.
    #[arg(short = 'n', long = "node", value_name = "HOST")]
    pub(super) node: Option<String>,
    /// How the relay hashes: carbon (default), fnv1a, jump_fnv1a, mmh3, fast-carbon, fast-fnv1a, fast-mmh3;
    /// consistentHashing (default) or consistentHashing-v2 for carbon-relay-ng.
    #[arg(long)]
    pub(super) hash: Option<String>,
    /// Which program's ring to compute: buckytools, carbon, carbon-c-relay or carbon-relay-ng. Default: carbon
    /// for mmh3 and fast-*, carbon-relay-ng for consistentHashing*, else buckytools.
    #[arg(long)]
    pub(super) relay: Option<String>,
    /// How many nodes hold each metric (the relay's replication factor).
    /// Default: 1.
    #[arg(long = "replicas", visible_alias = "replication-factor", value_parser = integer::<usize>(1..=COPIES_MOST))]
    pub(super) replication_factor: Option<usize>,
    /// Put the copies of a metric on different hosts (carbon's DIVERSE_REPLICAS).
    #[arg(long)]
    pub(super) diverse_replicas: bool,
    /// Which part of a tagged series the relay hashes: whole, before-semicolon. Default: what the relay of
    /// --relay does.
    #[arg(long)]
    pub(super) tagged_names: Option<String>,
    /// The relay's own configuration file, in place of NODE, --hash, --relay, --replicas, --diverse-replicas
    /// and --tagged-names: carbon.conf, carbon-c-relay.conf, carbon-relay-ng's TOML file, carbonate.conf, or a
    /// ring document. The daemon looks at it every 30 s and reports a ring that differs; SIGHUP takes it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nodes", "hash", "relay", "replication_factor", "diverse_replicas", "tagged_names"])]
    pub(super) ring_from: Option<PathBuf>,
    /// Section of the file of --ring-from, for carbon and carbonate.
    #[arg(long, value_name = "NAME", requires = "ring_from")]
    pub(super) section: Vec<String>,
    /// Cluster of the file of --ring-from, for carbon-c-relay. Several, with commas between them, are taken with
    /// the rules that decide which metric goes where.
    #[arg(long, value_name = "NAME", requires = "ring_from", conflicts_with = "section")]
    pub(super) cluster: Vec<String>,
    /// Route of the file of --ring-from, for carbon-relay-ng.
    #[arg(long, value_name = "KEY", requires = "ring_from", conflicts_with_all = ["section", "cluster"])]
    pub(super) route: Vec<String>,
    /// aggregation-rules.conf of a relay with aggregated-consistent-hashing or fast-aggregated-hashing: each
    /// metric lies where its aggregates' names are hashed to. Give the same file to every daemon.
    #[arg(long, value_name = "FILE")]
    pub(super) aggregation_rules: Option<PathBuf>,
    /// Prefix of the metrics that each node writes about itself: they are never misplaced. Repeatable.
    #[arg(long, value_name = "PREFIX", default_value = "carbon.agents.")]
    pub(super) local_prefix: Vec<String>,
    /// File with one series per line (`name;tag1=value1;tag2=value2`), as exported from the tag database.
    /// Needed to place tagged files that are named by the SHA-256 of their series (carbon's
    /// TAG_HASH_FILENAMES). Read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub(super) series: Option<PathBuf>,
    /// Folder of the Whisper files.
    #[arg(short = 'p', long, value_name = "PATH", default_value = "/opt/graphite/storage/whisper")]
    pub(super) prefix: PathBuf,
    /// Folder for temporary files and tombstones, on the same file system as the prefix. Default:
    /// PREFIX/.bucky
    #[arg(long, value_name = "PATH")]
    pub(super) state_dir: Option<PathBuf>,
    /// Link below the prefix that leads to a folder, or a folder that such links may lead to. It is served as
    /// part of the prefix. Repeatable. File systems mounted below the prefix do not need this flag.
    #[arg(long, value_name = "PATH")]
    pub(super) follow: Vec<PathBuf>,
    /// Create new files with holes in place of blocks of zeros.
    #[arg(long)]
    pub(super) sparse: bool,
    /// Maximum age of the list of metrics in seconds. The next request for an older list starts a new scan.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = integer::<i64>(i64::MIN..=i64::MAX))]
    pub(super) timeout: i64,
    /// After a fill, set the file's modification time to the one that the sender gives.
    #[arg(long)]
    pub(super) mtime: bool,
    /// Seconds that a deleted source waits as a tombstone before its owners must confirm it and it is
    /// removed.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub(super) tombstone_grace: f64,
    /// Seconds to wait for the lock of a file.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub(super) lock_timeout: f64,
    /// Seconds to wait for another daemon's answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub(super) peer_timeout: f64,
    /// Seconds that another daemon's answer may pause after it has begun.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub(super) idle_timeout: f64,
    /// Seconds that the clock of another host may differ from this node's. If it differs more, nothing is
    /// deleted at its request or by its confirmation.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub(super) max_clock_difference: f64,
    /// How many archives are sent at once, and how many are received at once.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = integer::<u32>(1..=1024))]
    pub(super) max_transfers: u32,
    /// MiB of memory for all files and requests together. Files larger than a sixth of it go through the
    /// disk.
    #[arg(long, value_name = "MIB", default_value_t = 1600, value_parser = integer::<u64>(96..=1_048_576))]
    pub(super) memory: u64,
    /// Meaning of aggregation method 6 in these files: avg_zero (whisper.py) or first (go-carbon).
    #[arg(long, value_name = "METHOD", default_value = "avg_zero")]
    pub(super) aggregation_6: String,
    #[command(flatten)]
    pub(super) auth: AuthArgs,
    /// Format of the log: events go to stderr, requests to stdout.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) log_format: LogFormat,
    /// Flag of the Go daemon, without effect: temporary files are in the state folder
    #[arg(short = 't', long, value_name = "PATH")]
    pub(super) tmpdir: Option<OsString>,
    /// go-carbon's file-list-cache (version 2). If it is not older than --timeout, /metrics answers from it
    /// until the first scan has ended
    #[arg(long = "cache_path", alias = "cache-path", value_name = "PATH")]
    pub(super) cache_path: Option<OsString>,
    /// Flag of the Go daemon, without effect: new files are stored as they arrive, compressed or not
    #[arg(long)]
    pub(super) compressed: bool,
    /// Flag of the Go daemon, without effect
    #[arg(long, value_name = "ADDR")]
    pub(super) pprof: Option<String>,
    /// Flag of the Go daemon, without effect
    #[arg(long, value_name = "URL")]
    pub(super) pyroscope: Option<String>,
    /// Show this help.
    #[arg(short = 'h', long, action = clap::ArgAction::Help)]
    pub(super) help: Option<bool>,
    /// The members of the ring.
    #[arg(value_name = "NODE")]
    pub(super) nodes: Vec<String>,
}
