//! 100,000 names, and writers that do not wait.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use bucky_tests::metrics::{self, Layout, MINUTES, minutes, now};
use bucky_tests::{Running, Schemas, WriterOptions, Writers, Written, wait};
use bucky_whisper::{Aggregation, Image};

use super::{files_below, input, listed, tar, unpacked};
use crate::cluster;

/// How many names there are.
const NAMES: usize = 100_000;
/// The limit for the memory of a client.
const PEAK_MIB: u64 = 100;

/// Creates `count` metrics as links to a few files, which is faster than creating as many files.
fn lay_links(prefix: &Path, count: usize) -> Vec<String> {
    let content = Layout { retentions: "1m:10m", ..MINUTES };
    let mut names = Vec::with_capacity(count);
    let mut original = None;
    for number in 0..count {
        let (folder, file) = (number / 1_000, number % 1_000);
        let name = format!("many.folder{folder:03}.metric.number{file:03}");
        let path = prefix.join(format!("many/folder{folder:03}/metric/number{file:03}.wsp"));
        // A file may have only some ten thousand links.
        if number % 10_000 == 0 {
            metrics::write(prefix, &name.parse().unwrap(), &content, &minutes(now(), [1.0]));
            original = Some(path);
        } else {
            if file == 0 {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            }
            std::fs::hard_link(original.as_ref().unwrap(), path).unwrap();
        }
        names.push(name);
    }
    names
}

/// Runs a command, and returns its peak memory.
fn peak_of(mut run: Running) -> (u64, bucky_tests::Finished) {
    let mut peak = 0;
    while run.is_running() {
        peak = peak.max(run.peak_mib().unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    }
    (peak, run.finish())
}

#[test]
fn an_archive_of_100_000_names_keeps_the_client_small() {
    let mut cluster = cluster(1).lay();
    let names = lay_links(&cluster.node(0).prefix(), NAMES);
    cluster.start();
    let list = input(&cluster, serde_json::to_string(&names).unwrap().as_bytes());
    let nowhere = File::options().write(true).open("/dev/null").unwrap();
    let run = Running::start_between(cluster.command(&["tar", "-"]), list, Some(nowhere));
    let (peak, run) = peak_of(run);
    run.assert_code(0).assert_stderr_has("100,000 metrics in 100,000 files");
    assert!((5..PEAK_MIB).contains(&peak), "{peak} MiB");
}

/// Files are read under the lock that carbon takes for writing, so no member contains half a write.
#[test]
fn no_member_of_an_archive_of_live_files_is_torn() {
    let cluster = cluster(2).start();
    // Three quarters of it are written to, so that no point expires before the check, even on a slow machine.
    let layout =
        Layout { retentions: "1s:2h,1m:1d", aggregation: Aggregation::Last, x_files_factor: 0.0 };
    let mut written = Written::none(20, &[Schemas::same("m", layout)]);
    written.lay_down(20, &cluster, cluster.ring());
    let manner = WriterOptions { locks: true, pause: Duration::ZERO, seed: 7 };
    let writers = Writers::start(&cluster, &written, cluster.ring(), manner);
    writers.wait_for(20);
    let mut points = 0;
    for _ in 0..8 {
        let (run, path) = tar(&cluster, &["-r", "^live"]);
        run.assert_code(0);
        assert_eq!(listed(&cluster, &path).len(), 20);
        for (name, path) in files_below(&unpacked(&cluster, &path)) {
            let metric =
                written.metrics().iter().find(|metric| metric.name.as_str() == name).unwrap();
            let content = std::fs::read(path).unwrap();
            let image = Image::parse(&content).unwrap();
            for point in image.archive(0).unwrap().points_valid(now()) {
                assert_eq!(
                    point.value,
                    metric.value(point.timestamp),
                    "{name} {}",
                    point.timestamp
                );
                points += 1;
            }
        }
    }
    assert!(points > 10_000, "{points}");
    writers.stop(&mut written);
    wait::until("all is where it was written", || written.missing(&cluster) == 0);
}
