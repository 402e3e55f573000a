//! The Bucky daemon, which runs beside the Whisper files of one storage node.
//!
//! `config` reads the command line once. `store` holds everything that touches files, and keeps it safe.
//! `inventory` knows which metrics exist. `sweeper` keeps deleted sources until their owners have confirmed
//! them. `routes` speaks HTTP. `docs/ARCHITECTURE.md` has the overview, `docs/safety.md` the promises.
//!
//! `D1` to `D49` in comments and names of tests are the known defects of the Go tool; the list is in
//! `docs/internals/compatibility.md`.

mod access_log;
mod app;
mod auth;
mod blocking;
mod clock;
mod config;
mod descriptors;
mod http;
mod intake;
mod inventory;
mod logging;
mod memory;
mod received;
mod ring_file;
mod ring_watch;
mod routes;
mod series;
mod server;
mod store;
mod sweeper;
mod transfers;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bucky_api::{Client, Timeouts};
use tokio::sync::watch;

use crate::app::App;
use crate::auth::Peers;
pub use crate::config::{BadBind, Bind, Config, ConfigError, LogFormat};
use crate::descriptors::Descriptors;
use crate::intake::links::Links;
use crate::inventory::Inventory;
use crate::memory::Memory;
use crate::ring_file::CurrentRing;
use crate::series::Series;
use crate::store::{StoreOptions, Volumes};
use crate::sweeper::Sweeper;
use crate::transfers::Transfers;

/// The longest file that is held in memory, if the memory allows it.
const FILE_LIMIT_BYTES: u64 = 256 * 1024 * 1024;
/// How many threads may do file work at once, besides those of the transfers. Idle ones end after some
/// seconds.
const BLOCKING_THREADS: usize = 512;
/// How long file work may continue after the last request has ended.
const WIND_UP_LIMIT: Duration = Duration::from_secs(120);

/// Runs the daemon with these arguments (without the program's name) until a signal stops it.
///
/// Exit codes: 0 after an orderly stop or for help, 1 if it could not start or continue, 2 for flags that
/// cannot be read.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let config = match Config::parse(args) {
        Ok(config) => config,
        Err(error) => {
            report(&error);
            return ExitCode::from(error.exit_code());
        }
    };
    match start(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "buckyd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn report(error: &ConfigError) {
    match error {
        ConfigError::Clap(error) => {
            let _ = error.print();
        }
        error => {
            let _ = writeln!(std::io::stderr(), "buckyd: {error}\nbuckyd --help lists the flags");
        }
    }
}

/// Enough threads for every permit whose client may hold one for a long time, and many more for the rest.
fn blocking_threads(config: &Config) -> usize {
    let transfers = usize::try_from(config.limits.max_transfers).unwrap_or(0);
    BLOCKING_THREADS + 2 * transfers
}

fn start(config: Config) -> anyhow::Result<()> {
    logging::start(config.log_format).context("cannot start the log")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(blocking_threads(&config))
        .thread_name("buckyd")
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(serve(config));
    // A heal whose client is gone is finished anyway.
    runtime.shutdown_timeout(WIND_UP_LIMIT);
    result
}

async fn serve(config: Config) -> anyhow::Result<()> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let listener =
        config.bind.listen().await.with_context(|| format!("cannot listen on {}", config.bind))?;
    let local =
        listener.local_addr().context("cannot find out which address this daemon listens on")?;
    if let Some(warning) = config::exposure(local, &config.ring, config.auth.keys.is_some()) {
        tracing::warn!("{warning}");
    }
    let (stop, reload) =
        server::signals(config.ring_file.is_some()).context("cannot listen for signals")?;
    make_prefix(&config)?;
    let log_format = config.log_format;
    let descriptors = Descriptors::raised();
    let app = open(config, descriptors, stop.subscribe())?;

    let scanner = tokio::spawn(Arc::clone(&app.inventory).run());
    let watcher = tokio::spawn(ring_watch::watch(Arc::clone(&app), reload));
    let sweeping = tokio::spawn(Arc::clone(&app.sweeper).run(stop.subscribe()));
    tracing::info!(
        node = %app.node,
        prefix = %app.store.prefix().display(),
        ring = %app.ring.now().spec().summary(),
        "Starting server on {local}"
    );
    let (connections, router) = (descriptors.connections(), routes::router(app));
    server::serve(listener, connections, router, log_format, stop.subscribe()).await;
    scanner.abort();
    watcher.abort();
    sweeping.await.context("the sweeper failed")?;
    tracing::info!("stopped");
    Ok(())
}

/// Opens everything that the routes share. Nothing runs yet.
fn open(
    config: Config,
    descriptors: Descriptors,
    stopping: watch::Receiver<bool>,
) -> anyhow::Result<Arc<App>> {
    let series = Series::read(config.files.series, &config.files.prefix).context("--series")?;
    let inventory = Inventory::new(&config.files.prefix, config.files.list_max_age);
    let inventory = inventory.with_file_list(config.files.file_list).with_series(series);
    let inventory = Arc::new(inventory);
    let memory = Memory::new(config.limits.memory_bytes);
    let options = StoreOptions {
        lock_limit: config.limits.lock,
        file_limit_bytes: FILE_LIMIT_BYTES.min(memory.file_limit_bytes()),
        memory: memory.clone(),
        sparse: config.files.sparse,
        aggregation_six: config.files.aggregation_six,
        unnamed_files: descriptors.new_files(),
    };
    let (prefix, state_dir) = (&config.files.prefix, config.files.state_dir.as_deref());
    let store = Volumes::open(prefix, state_dir, config.files.follow, inventory.clone(), options)
        .context("cannot open the store")?;
    let store = Arc::new(store);
    inventory.scans(&store);
    let defaults = Timeouts::default();
    let timeouts = Timeouts {
        connect: defaults.connect.min(config.limits.peer),
        answer: config.limits.peer,
        idle: config.limits.idle,
        ..defaults
    };
    let client = Client::new(timeouts).context("cannot set up the HTTP client")?;
    let hosts = config.ring.spec().nodes.iter().map(bucky_ring::Node::host);
    let keys = config.auth.keys;
    let peers = Peers::new(client, keys.clone(), hosts, config.bind.port(), &config.auth.peers)
        .with_max_clock_difference(config.limits.max_clock_difference);
    let sweeper =
        Arc::new(Sweeper::new(Arc::clone(&store), peers.clone(), config.limits.tombstone_grace));
    let former = store.remember_ring(config.ring.spec());
    let ring = CurrentRing::new(config.ring, config.ring_file);
    ring.remember(former);
    Ok(Arc::new(App {
        node: config.node,
        ring: Arc::new(ring),
        local_prefixes: config.local_prefixes,
        set_mtime: config.files.set_mtime,
        store,
        inventory,
        sweeper,
        memory,
        transfers: Transfers::new(config.limits.max_transfers, stopping),
        keys,
        peers,
        links: Links::default(),
    }))
}

/// A new node may have no store yet. The log says that the prefix was created, because a disk may be missing.
fn make_prefix(config: &Config) -> anyhow::Result<()> {
    let prefix = &config.files.prefix;
    if !prefix.exists() {
        tracing::warn!(
            prefix = %prefix.display(),
            "the prefix does not exist and is created now; if this node's disk is not mounted, stop this buckyd"
        );
        std::fs::create_dir_all(prefix)
            .with_context(|| format!("cannot create the prefix {}", prefix.display()))?;
    }
    Ok(())
}
