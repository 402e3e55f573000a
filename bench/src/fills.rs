//! Filling one file from another, compared with the minimum that every fill needs, and with carbonate's
//! `whisper-fill`.
//!
//! A file of 147 KB that has all its points fills one that lacks half of its slots. The minimum is to read
//! both files and to write one of them into existing buffers: a fill must read every byte, and can never
//! write more. Ours opens, locks, reads, plans and writes, as the daemon does for each file of a batch, which
//! is synced once. A second figure adds the sync that `bucky fill` makes for each file, compared with the
//! same minimum plus that sync.
//!
//! There are enough pairs that they do not fit into the processor's first cache. The page cache is warm: no
//! disk is read.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bucky_tests::peer;
use bucky_whisper::{
    AggregationSix, Clocks, FillOptions, FillOutcome, Image, Written, fill, fill_file,
    lock_exclusive, lock_shared, write_in_place,
};
use tempfile::TempDir;

use crate::Plan;
use crate::figure::{Bar, Figure};
use crate::lay::{self, LARGE};
use crate::measure;
use crate::table::{Table, say};
use crate::turns::{ratio, ratio_in_turn, time};

/// Which half of the slots the destination lacks.
struct Half {
    is_kept: fn(age: u32, points: u32) -> bool,
    limit: Figure,
    durable: Figure,
    carbonate: Figure,
    carbonate_limit: Figure,
    command: Figure,
}

const HALVES: [Half; 2] = [
    Half {
        is_kept: |age, points| age >= points / 2,
        limit: Figure::ratio("fill, newer half: a fill / (read both, write one)", Bar::AtMost(3.0)),
        durable: Figure::ratio(
            "fill, newer half: a fill with its sync / (read both, write one, sync)",
            Bar::AtMost(3.0),
        ),
        carbonate: Figure::ratio(
            "fill, newer half: carbonate's fill_archives / a fill",
            Bar::AtLeast(500.0),
        ),
        carbonate_limit: Figure::ratio(
            "fill, newer half: carbonate's fill_archives / (read both, write one)",
            Bar::None,
        ),
        command: Figure::ratio("fill, newer half: whisper-fill / bucky fill", Bar::None),
    },
    Half {
        is_kept: |age, _| age % 2 == 1,
        limit: Figure::ratio(
            "fill, every other slot: a fill / (read both, write one)",
            Bar::AtMost(3.0),
        ),
        durable: Figure::ratio(
            "fill, every other slot: a fill with its sync / (read both, write one, sync)",
            Bar::AtMost(3.0),
        ),
        carbonate: Figure::ratio(
            "fill, every other slot: carbonate's fill_archives / a fill",
            Bar::AtLeast(500.0),
        ),
        carbonate_limit: Figure::ratio(
            "fill, every other slot: carbonate's fill_archives / (read both, write one)",
            Bar::None,
        ),
        command: Figure::ratio("fill, every other slot: whisper-fill / bucky fill", Bar::None),
    },
];

/// How many pairs are used in rotation.
const PAIRS: usize = 64;
/// How many pairs carbonate fills in a run: it takes a third of a second for each.
const CARBONATE_PAIRS: usize = 8;
/// How many times all pairs are filled within a run, by both.
const ROUNDS: usize = 15;
/// No other process uses the files.
const LOCK_LIMIT: Duration = Duration::from_secs(5);
/// Fills pairs in one process, and prints the seconds.
const CARBONATE: &str = include_str!("fill_archives.py");

/// Measures the figures.
pub(crate) fn measure(plan: &Plan, table: &mut Table) {
    for half in &HALVES {
        if table.wants_any(&half.figures()) {
            Pairs::lay(half).take(half, plan, table);
        }
    }
}

impl Half {
    fn figures(&self) -> [Figure; 5] {
        [self.limit, self.durable, self.carbonate, self.carbonate_limit, self.command]
    }
}

/// A pair of files.
struct Pair {
    source: PathBuf,
    destination: PathBuf,
    /// The content of the destination before it is filled.
    before: Vec<u8>,
}

struct Pairs {
    pairs: Vec<Pair>,
    buffer: Vec<u8>,
    now: u32,
    // Removed last.
    _folder: TempDir,
}

impl Pairs {
    fn lay(half: &Half) -> Self {
        let folder = tempfile::Builder::new().prefix("bucky-bench-").tempdir().unwrap();
        let pair = |number: usize| {
            let source = folder.path().join(format!("source{number}.wsp"));
            let destination = folder.path().join(format!("destination{number}.wsp"));
            std::fs::write(&source, lay::content(&LARGE, number, |_, _| true)).unwrap();
            let before = lay::content(&LARGE, number + PAIRS, half.is_kept);
            std::fs::write(&destination, &before).unwrap();
            Pair { source, destination, before }
        };
        let pairs: Vec<Pair> = (0..PAIRS).map(pair).collect();
        let buffer = vec![0; pairs[0].before.len()];
        Self { pairs, buffer, now: bucky_tests::metrics::now(), _folder: folder }
    }

    fn take(mut self, half: &Half, plan: &Plan, table: &mut Table) {
        self.check();
        for _ in 0..plan.runs {
            if table.wants_any(&[half.limit]) {
                let value = self.ratio_of(by_bucky, by_limit);
                table.add(&half.limit, value);
            }
            if table.wants_any(&[half.durable]) {
                let value = self.ratio_of(by_bucky_durably, by_limit_durably);
                table.add(&half.durable, value);
            }
            if table.wants_any(&[half.carbonate, half.carbonate_limit]) {
                let carbonate = self.by_carbonate();
                let ours = self.each(by_bucky, CARBONATE_PAIRS);
                let limit = self.each(by_limit, CARBONATE_PAIRS);
                table.add(&half.carbonate, ratio(carbonate, ours));
                table.add(&half.carbonate_limit, ratio(carbonate, limit));
            }
            if table.wants(&half.command) {
                let value = self.commands(plan);
                table.add(&half.command, value);
            }
        }
    }

    /// Checks that the fill works: afterwards the destination has a point in every slot.
    fn check(&mut self) {
        self.restore();
        let Pair { source, destination, before } = &self.pairs[0];
        let options =
            FillOptions { clocks: Clocks::at(self.now), aggregation_six: AggregationSix::AvgZero };
        let outcome = fill_file(source, destination, options, LOCK_LIMIT).unwrap();
        let FillOutcome::Filled(filled_file) = outcome else {
            panic!("nothing to fill: {outcome:?}")
        };
        let image = Image::parse(before).unwrap();
        let half =
            image.header().archives.iter().map(|archive| u64::from(archive.points)).sum::<u64>()
                / 2;
        let filled = filled_file.plan.points_filled() + filled_file.plan.points_rolled_up();
        // Points that have left the window since are not filled.
        assert!(filled + 10 >= half, "{filled} of {half} points were filled");
        say(&format!("fill: {filled} points a file"));
    }

    fn ratio_of(&mut self, ours: Act, peer: Act) -> f64 {
        // Both need all of `self`, one after the other.
        let pairs = std::cell::RefCell::new(self);
        ratio_in_turn(
            ROUNDS,
            || pairs.borrow_mut().each(ours, PAIRS),
            || pairs.borrow_mut().each(peer, PAIRS),
        )
    }

    /// How long `act` takes for the first `count` pairs, in their initial state.
    fn each(&mut self, act: Act, count: usize) -> Duration {
        self.restore();
        let now = self.now;
        let buffer = &mut self.buffer;
        time(|| self.pairs.iter().take(count).for_each(|pair| act(pair, now, buffer)))
    }

    /// Restores every destination, also on the disk.
    fn restore(&self) {
        for Pair { destination, before, .. } in &self.pairs {
            let file = File::options().write(true).open(destination).unwrap();
            file.write_all_at(before, 0).unwrap();
            file.sync_data().unwrap();
        }
    }

    /// How long carbonate takes for the first pairs, without the start of its interpreter.
    fn by_carbonate(&self) -> Duration {
        self.restore();
        let mut command = Command::new(peer::python());
        command.args(["-c", CARBONATE]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        for Pair { source, destination, .. } in self.pairs.iter().take(CARBONATE_PAIRS) {
            writeln!(input, "{}\t{}", source.display(), destination.display()).unwrap();
        }
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "carbonate failed: {}", output.status);
        Duration::from_secs_f64(String::from_utf8(output.stdout).unwrap().trim().parse().unwrap())
    }

    /// The ratio of `whisper-fill` to `bucky fill`, each started as a process for each pair.
    fn commands(&self, plan: &Plan) -> f64 {
        let run = |command: Command| -> Duration {
            self.restore();
            let pairs = self.pairs.iter().take(CARBONATE_PAIRS);
            let one = |Pair { source, destination, .. }: &Pair| {
                let program = command.get_program().to_owned();
                let mut one = Command::new(program);
                one.args(command.get_args()).arg(source).arg(destination);
                measure::run(one).wall
            };
            pairs.map(one).sum()
        };
        let mut ours = Command::new(plan.programs.bucky);
        ours.arg("fill");
        let peer = run(Command::new(peer::program("whisper-fill")));
        ratio(peer, run(ours))
    }
}

/// An operation on one pair, with a buffer of a file's length.
type Act = fn(&Pair, u32, &mut [u8]);

/// Reads both files, and writes the whole destination.
fn by_limit(pair: &Pair, now: u32, buffer: &mut [u8]) {
    limit(pair, now, buffer);
}

/// Does the same, and syncs.
fn by_limit_durably(pair: &Pair, now: u32, buffer: &mut [u8]) {
    limit(pair, now, buffer).sync_data().unwrap();
}

fn limit(pair: &Pair, _now: u32, buffer: &mut [u8]) -> File {
    let destination = File::options().read(true).write(true).open(&pair.destination).unwrap();
    destination.read_exact_at(buffer, 0).unwrap();
    File::open(&pair.source).unwrap().read_exact_at(buffer, 0).unwrap();
    destination.write_all_at(buffer, 0).unwrap();
    destination
}

/// What the daemon does for a file of a batch that exists already, except the sync, which the batch shares.
fn by_bucky(pair: &Pair, now: u32, _: &mut [u8]) {
    let source = File::open(&pair.source).unwrap();
    lock_shared(&source, LOCK_LIMIT).unwrap();
    let source = read(&source);
    let destination = File::options().read(true).write(true).open(&pair.destination).unwrap();
    lock_exclusive(&destination, LOCK_LIMIT).unwrap();
    let content = read(&destination);
    let image = Image::parse(&content).unwrap();
    let options = FillOptions { clocks: Clocks::at(now), aggregation_six: AggregationSix::AvgZero };
    let plan = fill(&Image::parse(&source).unwrap(), &image, options);
    assert_eq!(write_in_place(&plan, &image, &destination).unwrap(), Written::Whole);
}

fn read(mut file: &File) -> Vec<u8> {
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let mut bytes = Vec::with_capacity(length);
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// What `bucky fill` does for each file.
fn by_bucky_durably(pair: &Pair, now: u32, _: &mut [u8]) {
    let options = FillOptions { clocks: Clocks::at(now), aggregation_six: AggregationSix::AvgZero };
    fill_file(&pair.source, &pair.destination, options, LOCK_LIMIT).unwrap();
}
