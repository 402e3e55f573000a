//! whisper.py, stopped at the moments when a move and a write can collide.
//!
//! Each order is forced: whisper.py stops at its open, a gate holds the move's next request, and they
//! continue one after the other. The owner creates the metric's file like the source did, or with another
//! schema; then it is reshaped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use bucky_api::archive::{ArchiveWriter, FileMeta};
use bucky_tests::layout_account::SchemaPolicy;
use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Layout, Ledger, SteppedWhisper, Stop, TestCluster, tree, wait};
use bucky_whisper::{Aggregation, Digest, Point};

use crate::cluster;

/// How many bytes of an archive stream are held back: its end, so that its only member has arrived but
/// nothing is finished.
const STREAM_END_BYTES: usize = 1536;

/// The age of the late point in minutes: in the middle, and not in the sample that owners were once asked
/// for.
const LATE_AGE: usize = 50;

/// A shorter day: it has a place for the late point, but not for all points of the source.
const SHORTER: Layout =
    Layout { retentions: "1m:90m", aggregation: Aggregation::Average, x_files_factor: 0.5 };

/// What the owner has before the move.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Owner {
    /// No file, and its carbon creates the file like the source's.
    Absent,
    /// No file, and its carbon has another schema.
    AbsentOther,
    /// A file with another schema and some of the points.
    Other,
}

impl Owner {
    fn layout(self) -> Layout {
        if self == Self::Absent { MINUTES } else { SHORTER }
    }
}

/// Writers with and without locks, each with these owners.
fn cases<const N: usize>(owners: [Owner; N]) -> impl Iterator<Item = (bool, Owner)> {
    [true, false].into_iter().flat_map(move |locks| owners.map(|owner| (locks, owner)))
}

/// Two nodes behind gates, and metrics of the second node on the first.
struct Race {
    cluster: TestCluster,
    names: Vec<String>,
    before: Ledger,
    whisper: SteppedWhisper,
    late: Point,
    owner: Owner,
}

impl Race {
    fn new(locks: bool, owner: Owner) -> Self {
        Self::with_grace(locks, owner, "0.2")
    }

    fn with_grace(locks: bool, owner: Owner, grace: &str) -> Self {
        let mut cluster = cluster(2).gate(0).gate(1).flag("--tombstone-grace", grace).lay();
        let names = cluster.names_owned_by(1, "race", 5);
        let began = now();
        for name in &names {
            let mut points = minutes(began, (0..101).map(f64::from));
            points.remove(LATE_AGE);
            cluster.node(0).write(name, &MINUTES, &points);
            if owner == Owner::Other {
                points.truncate(70);
                cluster.node(1).write(name, &SHORTER, &points);
            }
        }
        cluster.start();
        let before = cluster.ledger();
        let late = Point { timestamp: minutes(began, [0.0; 101])[LATE_AGE].timestamp, value: 42.0 };
        Self { cluster, names, before, whisper: SteppedWhisper::start(locks), late, owner }
    }

    fn rebalance(&self) -> Vec<&'static str> {
        let policy = match self.owner {
            Owner::Absent => SchemaPolicy::Keep,
            Owner::AbsentOther | Owner::Other => SchemaPolicy::Reshape,
        };
        [&["rebalance"], policy.args()].concat()
    }

    /// Checks that everything is in place, including the late point of the first metric.
    #[track_caller]
    fn assert_nothing_lost(&self) {
        self.cluster.assert_all_in_place(&self.before);
        let after = self.cluster.ledger();
        let points = after.archive(&self.names[0], self.cluster.node(1).host(), 60).unwrap();
        assert!(
            points.contains(&self.late),
            "{} at {}: whisper.py's point is lost",
            self.names[0],
            self.late.timestamp
        );
    }
}

/// whisper.create checks for the file and then empties what it opens.
#[test]
fn a_file_that_whisper_create_empties_right_after_its_rename_is_healed_again() {
    for (locks, owner) in cases([Owner::Absent, Owner::AbsentOther]) {
        let mut race = Race::new(locks, owner);
        let path = race.cluster.node(1).path(&race.names[0]);
        race.whisper.begin_create(&path, &owner.layout(), Stop::BeforeOpen);
        race.cluster.node(0).gate().hold("POST /v1/delete");
        let run = race.cluster.start_bucky(&race.rebalance());
        race.cluster.node(0).gate().wait_until_held();
        let put_in_place = path.metadata().unwrap().ino();
        race.whisper.resume();
        assert_eq!(path.metadata().unwrap().ino(), put_in_place, "emptied, and not a new file");
        race.whisper.update(&path, &[race.late]);
        race.cluster.node(0).gate().release();
        run.finish().assert_code(0);
        race.assert_nothing_lost();
    }
}

/// The same at the last moment: the source is deleted, its grace time is over, and the owner is being asked.
#[test]
fn a_file_that_whisper_create_empties_while_its_owner_is_asked_is_healed_again() {
    for owner in [Owner::Absent, Owner::AbsentOther] {
        let mut race = Race::new(false, owner);
        let path = race.cluster.node(1).path(&race.names[0]);
        race.whisper.begin_create(&path, &owner.layout(), Stop::BeforeOpen);
        race.cluster.node(1).gate().hold("POST /v1/confirm");
        race.cluster.bucky(&race.rebalance()).assert_code(0);
        race.cluster.node(1).gate().wait_until_held();
        race.whisper.resume();
        race.whisper.update(&path, &[race.late]);
        race.cluster.node(1).gate().release();
        race.assert_nothing_lost();
    }
}

/// After whisper.create has opened and emptied it, the owner's file has no header yet.
#[test]
fn a_file_that_whisper_create_is_in_the_middle_of_is_waited_for_and_filled() {
    for (locks, owner) in cases([Owner::Absent, Owner::AbsentOther]) {
        let mut race = Race::new(locks, owner);
        let path = race.cluster.node(1).path(&race.names[0]);
        race.whisper.begin_create(&path, &owner.layout(), Stop::Open);
        let inode = path.metadata().unwrap().ino();
        let run = race.cluster.start_bucky(&race.rebalance());
        wait::until("the others have come", || {
            // Even on a slow machine, whisper.py opened it only a moment ago.
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now()).unwrap();
            tree::metrics(&race.cluster.node(1).prefix()).len() == 5
        });
        // The next attempt must not come too early for whisper.py.
        race.cluster.node(1).gate().hold("POST /v1/pull");
        race.cluster.node(1).gate().wait_until_held();
        assert!(race.cluster.node(0).has(&race.names[0]), "deleted before its owner had it");
        race.whisper.resume();
        race.whisper.update(&path, &[race.late]);
        race.cluster.node(1).gate().release();
        run.finish().assert_code(0);
        if owner == Owner::Absent {
            assert_eq!(path.metadata().unwrap().ino(), inode, "carbon's file was replaced");
        }
        race.assert_nothing_lost();
    }
}

/// The daemon has found no file. When it is about to put its own in place, there is one.
#[test]
fn a_file_that_whisper_py_creates_between_our_look_and_our_rename_is_filled_and_not_replaced() {
    let mut race = Race::new(true, Owner::Absent);
    let source = race.cluster.node(0).path(&race.names[0]);
    let path = race.cluster.node(1).path(&race.names[0]);
    let mut heal = HeldHeal::begin(&race.cluster, &race.names[0], &std::fs::read(source).unwrap());
    race.whisper.begin_create(&path, &MINUTES, Stop::BeforeOpen);
    race.whisper.resume();
    race.whisper.update(&path, &[race.late]);
    let inode = path.metadata().unwrap().ino();
    let answer = heal.finish();
    assert!(answer.contains(r#""outcome":"filled""#), "{answer}");
    assert_eq!(path.metadata().unwrap().ino(), inode, "carbon's file was replaced");
    race.cluster.bucky(&race.rebalance()).assert_code(0);
    race.assert_nothing_lost();
}

/// A `POST /v1/heal` whose stream has not ended.
struct HeldHeal {
    connection: TcpStream,
    end: Vec<u8>,
}

impl HeldHeal {
    /// Sends a file to node 1 except the stream's end, and waits until the daemon has checked the metric and
    /// staged the file.
    fn begin(cluster: &TestCluster, name: &str, content: &[u8]) -> Self {
        let mut archive = ArchiveWriter::new(Vec::new());
        let meta = FileMeta { mode: 0o644, mtime: u64::from(now()) };
        archive.append(&name.parse().unwrap(), meta, Digest::of(content), content).unwrap();
        let mut stream = archive.finish().unwrap();
        let length = stream.len();
        let end = stream.split_off(length - STREAM_END_BYTES);
        let mut connection = TcpStream::connect(cluster.node(1).addr()).unwrap();
        let head = format!(
            "POST /v1/heal HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).unwrap();
        connection.write_all(&stream).unwrap();
        let open = format!("/proc/{}/fd", cluster.node(1).pid());
        wait::until("the daemon has the file, without a name", || {
            std::fs::read_dir(&open).unwrap().filter_map(Result::ok).any(|entry| {
                let is_unnamed = entry.path().read_link().is_ok_and(|path| {
                    path.starts_with(cluster.node(1).prefix())
                        && path.to_string_lossy().ends_with(" (deleted)")
                });
                is_unnamed
                    && entry.path().metadata().is_ok_and(|it| it.len() == content.len() as u64)
            })
        });
        Self { connection, end }
    }

    fn finish(&mut self) -> String {
        self.connection.write_all(&self.end).unwrap();
        let mut answer = String::new();
        self.connection.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// The delete compares the source with the content that was healed.
#[test]
fn a_point_that_whisper_py_writes_to_the_source_after_its_copy_is_moved_too() {
    for owner in [Owner::Absent, Owner::Other] {
        let mut race = Race::new(false, owner);
        race.cluster.node(0).gate().hold("POST /v1/delete");
        let run = race.cluster.start_bucky(&race.rebalance());
        race.cluster.node(0).gate().wait_until_held();
        race.whisper.update(&race.cluster.node(0).path(&race.names[0]), &[race.late]);
        race.cluster.node(0).gate().release();
        run.finish().assert_code(0);
        race.assert_nothing_lost();
    }
}

/// whisper.py has opened the source and is about to lock it, if it locks; then the source is renamed. The
/// write goes to the tombstone, before that is checked again.
#[test]
fn a_point_written_to_a_source_that_was_open_across_its_delete_is_healed_to_the_owner() {
    for (locks, owner) in [(true, Owner::Absent), (false, Owner::Absent), (false, Owner::Other)] {
        // Long enough for whisper.py's write.
        let mut race = Race::with_grace(locks, owner, "8");
        let path = race.cluster.node(0).path(&race.names[0]);
        race.whisper.begin_update(&path, &[race.late], Stop::Open);
        race.cluster.bucky(&race.rebalance()).assert_code(0);
        assert!(!path.exists(), "the source was to be renamed");
        race.whisper.resume();
        race.assert_nothing_lost();
    }
}

/// whisper.py has opened the owner's file; then another file replaces it. The write goes to the old one,
/// which is a tombstone now, before that is checked again.
#[test]
fn a_point_written_to_an_owners_file_that_was_open_across_its_reshape_is_in_the_new_one() {
    for locks in [true, false] {
        let mut race = Race::with_grace(locks, Owner::Other, "6");
        let path = race.cluster.node(1).path(&race.names[0]);
        let inode = path.metadata().unwrap().ino();
        race.whisper.begin_update(&path, &[race.late], Stop::Open);
        race.cluster.bucky(&race.rebalance()).assert_code(0);
        assert_ne!(path.metadata().unwrap().ino(), inode, "the file was to be reshaped");
        race.whisper.resume();
        race.assert_nothing_lost();
    }
}

/// whisper.py has opened the source, which is renamed. The tombstone has been read already, and its owner is
/// being asked.
#[test]
fn a_point_written_to_a_tombstone_while_its_owner_is_asked_is_healed_to_the_owner() {
    for (locks, owner) in cases([Owner::Absent, Owner::Other]) {
        let mut race = Race::new(locks, owner);
        let path = race.cluster.node(0).path(&race.names[0]);
        race.whisper.begin_update(&path, &[race.late], Stop::Open);
        race.cluster.node(1).gate().hold("POST /v1/confirm");
        race.cluster.bucky(&race.rebalance()).assert_code(0);
        race.cluster.node(1).gate().wait_until_held();
        assert!(!path.exists(), "the source was to be renamed");
        race.whisper.resume();
        race.cluster.node(1).gate().release();
        race.assert_nothing_lost();
    }
}
