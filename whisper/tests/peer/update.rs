//! Updating files: after each operation our file has the same bytes as that of whisper.py.

use std::fs;
use std::path::{Path, PathBuf};

use bucky_whisper::{
    Aggregation, CreateOptions, FileLayout, OpenMode, Point, UpdateError, WhisperFile,
    XFilesFactor, create, info,
};
use serde_json::{Value, json};

use crate::layouts::{LAYOUTS, ODD_LAYOUTS, X_FILES_FACTORS, any_content, retentions};
use crate::python::{LOCK_LIMIT, Operations, to_bits, to_hex};
use crate::random::{Random, SEEDS};

/// The time at which the cases begin.
const START: u32 = 1_700_000_000;
/// How many operations each file gets.
const OPERATIONS: usize = 30;

#[derive(Clone, Debug)]
enum Operation {
    Update(Point),
    UpdateMany(Vec<Point>),
}

#[test]
fn files_we_create_and_update_have_the_bytes_of_whispers() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = Session::new(Operations::default());
    for seed in SEEDS {
        let mut random = Random::new(seed);
        for (number, layout) in LAYOUTS.iter().enumerate() {
            for aggregation in Aggregation::ALL {
                let share = random.pick(&X_FILES_FACTORS);
                let path = folder.path().join(format!("{seed}-{number}-{aggregation}"));
                let options = CreateOptions {
                    retentions: retentions(layout),
                    x_files_factor: XFilesFactor::new(share).unwrap(),
                    aggregation,
                    layout: FileLayout::Sparse,
                };
                create(&path, &options).unwrap();
                session.copy_to_peer(&path);
                session.random_updates(&mut random, &path);
            }
        }
    }
    let refused = session.compare();
    assert!(refused > 100, "points outside the retention were tried: {refused}");
}

#[test]
fn any_file_that_whisper_reads_is_updated_as_whisper_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = Session::new(Operations::default());
    for seed in SEEDS {
        let mut random = Random::new(seed);
        let creatable =
            LAYOUTS.iter().map(|layout| layout.iter().map(|(s, p)| (0, *s, *p)).collect());
        let odd = ODD_LAYOUTS.iter().map(|layout| layout.to_vec());
        for (number, layout) in creatable.chain(odd).enumerate() {
            let layout: Vec<(u32, u32, u32)> = layout;
            for copy in 0..4 {
                let path = folder.path().join(format!("{seed}-{number}-{copy}"));
                fs::write(&path, any_content(&mut random, &layout, START)).unwrap();
                session.copy_to_peer(&path);
                session.random_updates(&mut random, &path);
            }
        }
    }
    session.compare();
}

/// The order in which Python walks a set decides which slot of an empty archive becomes its first, and
/// nothing else.
#[test]
fn files_read_the_same_in_whatever_order_python_rolled_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut operations = Operations::in_python_set_order();
    let mut cases = Vec::new();
    for seed in SEEDS {
        let mut random = Random::new(seed);
        for (number, layout) in LAYOUTS.iter().enumerate() {
            let ours = folder.path().join(format!("{seed}-{number}"));
            let options = CreateOptions {
                retentions: retentions(layout),
                x_files_factor: XFilesFactor::new(0.0).unwrap(),
                aggregation: random.pick(&Aggregation::ALL),
                layout: FileLayout::Dense,
            };
            create(&ours, &options).unwrap();
            let theirs = peer_path(&ours);
            fs::copy(&ours, &theirs).unwrap();
            let reach = info(&ours).unwrap().max_retention;
            let points: Vec<Point> =
                (0..200).map(|_| any_point(&mut random, START, reach)).collect();
            let mut file = WhisperFile::open(&ours, OpenMode::Update, LOCK_LIMIT).unwrap();
            file.update_many(&points, START).unwrap();
            operations.add(&update_many(&theirs, &points, START));
            cases.push((ours, theirs));
        }
    }
    operations.run();
    for (ours, theirs) in cases {
        let (ours, theirs) = (fs::read(ours).unwrap(), fs::read(theirs).unwrap());
        let images = [&ours, &theirs].map(|bytes| bucky_whisper::Image::parse(bytes).unwrap());
        let [ours, theirs] = images.map(|image| -> Vec<Vec<(u32, u64)>> {
            let bits = |point: Point| (point.timestamp, point.value.to_bits());
            image.archives().map(|view| view.points_valid(START).map(bits).collect()).collect()
        });
        assert_eq!(ours, theirs);
    }
}

/// Operations that were applied to our files, and will be applied to the peer's.
struct Session {
    operations: Operations,
    /// For each operation, its description and our file after it, or `None` if it was refused.
    ours: Vec<(String, Option<String>)>,
}

impl Session {
    fn new(operations: Operations) -> Self {
        Self { operations, ours: Vec::new() }
    }

    fn copy_to_peer(&mut self, path: &Path) {
        let digits = to_hex(&fs::read(path).unwrap());
        self.operations.add(&json!({"op": "write", "path": peer_path(path), "digits": digits}));
        self.ours.push((format!("write {path:?}"), None));
    }

    fn random_updates(&mut self, random: &mut Random, path: &Path) {
        let header = info(path).unwrap();
        let reach = header.archives.iter().map(|archive| archive.retention()).max().unwrap();
        let reach = u32::try_from(reach).unwrap();
        let finest = header.archives[0];
        let mut now = START + random.below(10_000);
        for _ in 0..OPERATIONS {
            let ages = [0, 1, finest.seconds_per_point, reach / 7, reach];
            let pause = random.pick(&ages);
            now += random.below(pause + 1);
            let operation = if random.below(2) == 0 {
                let retentions = header.archives.iter().map(|archive| archive.retention());
                let edges: Vec<u32> = retentions.map(|edge| u32::try_from(edge).unwrap()).collect();
                Operation::Update(any_edge_point(random, now, reach, &edges))
            } else {
                Operation::UpdateMany(any_batch(random, now, reach, finest.points))
            };
            self.apply(path, operation, now);
        }
    }

    fn apply(&mut self, path: &Path, operation: Operation, now: u32) {
        let mut file = WhisperFile::open(path, OpenMode::Update, LOCK_LIMIT).unwrap();
        let peer = peer_path(path);
        let (done, line) = match &operation {
            Operation::Update(Point { timestamp, value }) => (
                file.update(*value, *timestamp, now),
                json!({"op": "update", "path": peer, "timestamp": timestamp, "value": to_bits(*value), "now": now}),
            ),
            Operation::UpdateMany(points) => {
                (file.update_many(points, now), update_many(&peer, points, now))
            }
        };
        self.operations.add(&line);
        let content = match done {
            Ok(()) => Some(to_hex(&fs::read(path).unwrap())),
            Err(UpdateError::NotCovered { .. }) => None,
            Err(error) => panic!("{error}"),
        };
        self.ours.push((format!("{path:?} at {now}: {operation:?}"), content));
    }

    /// Lets the peer apply all operations, and compares. Returns how many points both refused.
    fn compare(self) -> usize {
        let mut refused = 0;
        for ((what, ours), theirs) in self.ours.into_iter().zip(self.operations.run()) {
            match ours {
                Some(ours) => assert!(theirs["bytes"] == ours, "{what}\n{theirs}\n{ours}"),
                None if what.starts_with("write") => assert_eq!(theirs, json!({})),
                None => {
                    assert_eq!(theirs, json!({"error": "TimestampNotCovered"}), "{what}");
                    refused += 1;
                }
            }
        }
        refused
    }
}

fn peer_path(path: &Path) -> PathBuf {
    path.with_extension("peer")
}

fn update_many(path: &Path, points: &[Point], now: u32) -> Value {
    let points: Vec<Value> =
        points.iter().map(|point| json!([point.timestamp, to_bits(point.value)])).collect();
    json!({"op": "update_many", "path": path, "points": points, "now": now})
}

fn any_point(random: &mut Random, now: u32, reach: u32) -> Point {
    Point { timestamp: now - random.below(reach + 5), value: random.value() }
}

/// A point at the edge of an archive's retention, in the future, or anywhere.
fn any_edge_point(random: &mut Random, now: u32, reach: u32, edges: &[u32]) -> Point {
    let edge = random.pick(edges);
    let timestamp = match random.below(8) {
        0 => now - edge,
        1 => now - edge - 1,
        2 => now - edge + 1,
        3 => now + 1 + random.below(3),
        _ => now - random.below(reach + 5).min(reach / (1 + random.below(9))),
    };
    Point { timestamp, value: random.value() }
}

/// Points in any order, some of one time or slot, some in the future, some in a row.
fn any_batch(random: &mut Random, now: u32, reach: u32, finest_points: u32) -> Vec<Point> {
    let count = 1 + random.below(40);
    let span = random.pick(&[3, 20, reach]);
    // If a batch may wrap around an archive more than once, whisper.py writes into the next one.
    let ahead = if count <= finest_points { random.below(4) } else { 0 };
    (0..count)
        .map(|_| Point {
            timestamp: now + ahead - random.below(span + 5 + ahead),
            value: random.value(),
        })
        .collect()
}
