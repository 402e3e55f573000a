//! The routes as a client sees them. Each test has its own daemon on a loopback port, and sends bytes to it.

mod clock;
mod delete;
mod digests;
mod get;
mod list;
mod long;
mod offload;
mod paths;
mod plan;
mod points;
mod pull;
mod replace;
mod tokens;
mod upload;
mod v1;
mod wire;

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bucky_api::Encoding;
use bucky_api::clock::unix_now;
use bucky_api::go::{METRIC_STAT_HEADER, MetricStat, OCTET_STREAM};
use bucky_whisper::{
    Aggregation, CreateOptions, FileLayout, Image, MetricName, OpenMode, WhisperFile,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::wire::{Answer, Request};
use crate::app::App;
use crate::config::{Config, LogFormat};
use crate::descriptors::Descriptors;
use crate::store::tests::test_now;

/// A daemon over its own prefix. It ends when it is dropped.
struct TestDaemon {
    addr: SocketAddr,
    app: Arc<App>,
    prefix: TempDir,
    stop: watch::Sender<bool>,
}

impl TestDaemon {
    /// A daemon whose first scan has ended.
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A daemon with more flags, whose first scan has ended.
    async fn start_with(flags: &[&str]) -> Self {
        let daemon = Self::start_without_scans(flags).await;
        tokio::spawn(Arc::clone(&daemon.app.inventory).run());
        daemon.app.inventory.wait_for(1).await;
        daemon
    }

    /// A daemon that never scans.
    async fn start_without_scans(flags: &[&str]) -> Self {
        let prefix = tempfile::tempdir().unwrap();
        let path = prefix.path().to_owned();
        Self::start_at(prefix, path, flags).await
    }

    /// A daemon whose prefix is `path`, somewhere in the folder `prefix`.
    async fn start_at(prefix: TempDir, path: PathBuf, flags: &[&str]) -> Self {
        let mut args = vec![OsString::from("-prefix"), path.into_os_string()];
        // On a slow disk a lock takes long.
        args.extend(["-lock-timeout", "30", "-node", "a"].map(OsString::from));
        args.extend(flags.iter().map(OsString::from));
        args.push("a:2003".into());
        let (stop, stopping) = watch::channel(false);
        let (config, descriptors) = (Config::parse(args).unwrap(), Descriptors::raised());
        let app = crate::open(config, descriptors, stopping.clone()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = super::router(Arc::clone(&app));
        tokio::spawn(crate::server::serve(
            listener,
            descriptors.connections(),
            router,
            LogFormat::Text,
            stopping,
        ));
        Self { addr, app, prefix, stop }
    }

    async fn send(&self, request: &Request) -> Answer {
        wire::exchange(self.addr, &request.to_bytes()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(&Request::new("GET", path)).await
    }

    fn path(&self, metric: &str) -> PathBuf {
        self.prefix.path().join(metric.parse::<MetricName>().unwrap().relative_path())
    }

    /// Writes a file, as carbon would.
    fn put(&self, metric: &str, content: &[u8]) {
        let path = self.path(metric);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn content(&self, metric: &str) -> Vec<u8> {
        fs::read(self.path(metric)).unwrap()
    }

    fn has(&self, metric: &str) -> bool {
        self.path(metric).exists()
    }

    /// Whether the inventory has the metric.
    fn lists(&self, metric: &str) -> bool {
        self.app.inventory.list().unwrap().contains(metric)
    }

    /// Temporary files that are left.
    fn leftovers(&self) -> usize {
        fs::read_dir(self.prefix.path().join(".bucky/tmp")).unwrap().count()
    }
}

impl Drop for TestDaemon {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// A Whisper file of 2 archives with a point at each of these ages in minutes. The value is the age.
fn whisper(ages: &[u32]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.wsp");
    let options = CreateOptions {
        retentions: vec!["60s:2h".parse().unwrap(), "5m:1d".parse().unwrap()],
        x_files_factor: "0.0".parse().unwrap(),
        aggregation: Aggregation::Average,
        layout: FileLayout::Dense,
    };
    bucky_whisper::create(&path, &options).unwrap();
    let now = test_now();
    let mut file = WhisperFile::open(&path, OpenMode::Update, Duration::from_secs(1)).unwrap();
    for age in ages {
        file.update(f64::from(*age), now - age * 60, now).unwrap();
    }
    drop(file);
    fs::read(path).unwrap()
}

/// How many points the fine archive of a file has.
fn fine_points(content: &[u8]) -> usize {
    Image::parse(content).unwrap().archive(0).unwrap().points_valid(unix_now()).count()
}

/// An upload of `content` as the Go client sends it, plain.
fn upload(method: &str, metric: &str, content: &[u8]) -> Request {
    let stat = MetricStat {
        name: metric.into(),
        size: content.len().try_into().unwrap(),
        mode: 420,
        mod_time: 1_704_164_645,
        encoding: 0,
    };
    Request::new(method, &format!("/metrics/{metric}"))
        .header("Content-Type", OCTET_STREAM)
        .header(METRIC_STAT_HEADER, &stat.to_header())
        .body(content)
}

fn snappy(content: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = Encoding::Snappy.encoder(Vec::new()).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn unsnappy(encoded: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut content = Vec::new();
    Encoding::Snappy.decoder(encoded).unwrap().read_to_end(&mut content).unwrap();
    content
}
