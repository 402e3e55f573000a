//! How long a fill takes, compared with the minimum that every fill needs: reading both files and writing
//! one.
//!
//! The pair has 60s:1d, 5m:7d, 1h:1y (147 KB). `cargo bench -p bucky-whisper --bench fill`. The comparisons
//! are printed at the end, as ratios of alternating measurements; `-- bars` runs that part alone. If
//! BUCKY_PEERS_PYTHON names a Python with carbonate 1.1.10, its whisper-fill is compared too.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bucky_whisper::{
    Aggregation, AggregationSix, Clocks, Coverage, FillOptions, FillPlan, Header, Image, Point,
    Retention, Written, XFilesFactor, fill, lock_exclusive, write_in_place,
};
use criterion::{BatchSize, Criterion};

const RETENTIONS: [&str; 3] = ["60s:1d", "5m:7d", "1h:1y"];
/// How many times each figure is measured for the comparisons, and how many fills one measurement has.
const ROUNDS: usize = 15;
const FILLS: usize = 40;
/// How many times whisper-fill fills.
const PEER_FILLS: &str = "7";

/// A file with points in the slots for which `keep` returns true. It gets the age of a slot, in slots.
fn image(now: u32, keep: impl Fn(u32) -> bool) -> Vec<u8> {
    let retentions = RETENTIONS.map(|text| text.parse::<Retention>().expect("a retention"));
    let header = Header::for_retentions(&retentions, Aggregation::Average, XFilesFactor::default())
        .expect("retentions of one file");
    let mut bytes = header.encode();
    for archive in &header.archives {
        let (step, points) = (archive.seconds_per_point, archive.points);
        for age in (0..points).rev() {
            let timestamp = now - now % step - step * age;
            // The first slot is the base, so it always has a point.
            let kept = age + 1 == points || keep(age);
            let point = Point { timestamp, value: f64::from(age + 1) };
            bytes.extend(if kept { point.encode() } else { [0; Point::SIZE_BYTES] });
        }
    }
    bytes
}

struct Pair {
    name: &'static str,
    source: Vec<u8>,
    destination: Vec<u8>,
}

fn pairs(now: u32) -> Vec<Pair> {
    let whole = image(now, |_| true);
    let mut copy = whole.clone();
    copy.push(0);
    let pair =
        |name, source: &[u8], destination| Pair { name, source: source.to_vec(), destination };
    vec![
        pair("the newer half of each archive is missing", &whole, image(now, |age| age > 700)),
        pair("every other slot is missing", &whole, image(now, |age| age % 2 == 0)),
        pair("every other slot is missing, as chance has it", &whole, image(now, by_chance)),
        pair(
            "two halves of a series",
            &image(now, |age| age % 2 == 1),
            image(now, |age| age % 2 == 0),
        ),
        pair("an hour is missing", &whole, image(now, |age| !(300..360).contains(&age))),
        pair("an empty destination", &whole, image(now, |_| false)),
        pair("a copy, but for a byte behind the archives", &copy, whole.clone()),
    ]
}

/// Half of all numbers, without a pattern.
fn by_chance(age: u32) -> bool {
    (age.wrapping_mul(0x9e37_79b1) ^ 0x5bd1_e995).wrapping_mul(0x85eb_ca6b) >> 31 == 0
}

fn plan(now: u32, source: &[u8], destination: &[u8]) -> FillPlan {
    let source = Image::parse(source).expect("a sound source");
    let destination = Image::parse(destination).expect("a sound destination");
    fill(
        &source,
        &destination,
        FillOptions { clocks: Clocks::at(now), aggregation_six: AggregationSix::AvgZero },
    )
}

fn plans(criterion: &mut Criterion, now: u32) {
    let mut group = criterion.benchmark_group("plan");
    for Pair { name, source, destination } in pairs(now) {
        group.bench_function(name, |bencher| {
            bencher.iter(|| plan(now, black_box(&source), black_box(&destination)));
        });
    }
    let Pair { source, destination, .. } = &pairs(now)[0];
    group.bench_function("for comparison: copy both images in memory", |bencher| {
        bencher.iter(|| (black_box(source).to_vec(), black_box(destination).to_vec()));
    });
    group.finish();
}

/// The coverage check, which runs after every fill.
fn coverages(criterion: &mut Criterion, now: u32) {
    let mut group = criterion.benchmark_group("coverage");
    let of = |source: &[u8], destination: &[u8]| {
        let source = Image::parse(source).expect("a sound source");
        let destination = Image::parse(destination).expect("a sound destination");
        Coverage::of(&source, &destination, Clocks::at(now))
    };
    let whole = image(now, |_| true);
    for (name, destination) in [("all is held", whole.clone()), ("half is", image(now, by_chance))]
    {
        group.bench_function(name, |bencher| {
            bencher.iter(|| of(black_box(&whole), black_box(&destination)));
        });
    }
    group.finish();
}

/// A pair on disk.
struct Files {
    from: PathBuf,
    into: PathBuf,
    destination: Vec<u8>,
}

impl Files {
    fn lay(folder: &Path, pair: &Pair) -> Self {
        let (from, into) = (folder.join("source.wsp"), folder.join("destination.wsp"));
        fs::write(&from, &pair.source).expect("a source");
        fs::write(&into, &pair.destination).expect("a destination");
        Self { from, into, destination: pair.destination.clone() }
    }

    /// Restores the content of the destination without changing its size.
    fn restore(&self) {
        let file = File::options().write(true).open(&self.into).expect("the destination");
        file.write_all_at(&self.destination, 0).expect("the destination");
    }

    /// What the daemon does for a metric that it has already, except the sync of a whole batch.
    fn fill(&self, now: u32) {
        let source = fs::read(&self.from).expect("the source");
        let file =
            File::options().read(true).write(true).open(&self.into).expect("the destination");
        lock_exclusive(&file, Duration::ZERO).expect("the lock");
        let mut content = Vec::with_capacity(self.destination.len() + 1);
        (&file).read_to_end(&mut content).expect("the destination");
        let plan = plan(now, &source, &content);
        let image = Image::parse(&content).expect("a sound destination");
        assert_eq!(write_in_place(&plan, &image, &file).expect("to write"), Written::Whole);
    }

    /// The minimum that every fill needs.
    fn read_both_and_write_one(&self) {
        let source = fs::read(&self.from).expect("the source");
        black_box(fs::read(&self.into).expect("the destination"));
        let file = File::options().write(true).open(&self.into).expect("the destination");
        file.write_all_at(&source, 0).expect("the whole file");
    }
}

fn files(criterion: &mut Criterion, now: u32) {
    let mut group = criterion.benchmark_group("files");
    let folder = tempfile::tempdir().expect("a temporary folder");
    for pair in pairs(now) {
        let files = Files::lay(folder.path(), &pair);
        group.bench_function(pair.name, |bencher| {
            bencher.iter_batched(|| files.restore(), |()| files.fill(now), BatchSize::PerIteration);
        });
    }
    let files = Files::lay(folder.path(), &pairs(now)[0]);
    group.bench_function("for comparison: read both and write one", |bencher| {
        bencher.iter_batched(
            || files.restore(),
            |()| files.read_both_and_write_one(),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// The smallest, the median and the greatest figure.
fn spread(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_unstable_by(f64::total_cmp);
    (figures[0], figures[figures.len() / 2], figures[figures.len() - 1])
}

/// The seconds that one fill took, as the mean of [`FILLS`].
fn seconds(files: &Files, mut act: impl FnMut()) -> f64 {
    let mut spent = Duration::ZERO;
    for _ in 0..FILLS {
        files.restore();
        let begun = Instant::now();
        act();
        spent += begun.elapsed();
    }
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let fills = FILLS as f64;
    spent.as_secs_f64() / fills
}

/// The median of the seconds that carbonate's fills took, or `None` if carbonate is not installed.
fn peer(files: &Files) -> Option<f64> {
    let python = std::env::var_os("BUCKY_PEERS_PYTHON")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/whisper_fill.py");
    let mut command = Command::new(python);
    command.arg(script).args([&files.from, &files.into]).arg(PEER_FILLS);
    let output = command.output().expect("a Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("numbers");
    let figures = text.lines().map(|line| line.parse().expect("seconds")).collect();
    Some(spread(figures).1)
}

#[expect(clippy::print_stdout, reason = "it is what this program is for")]
fn bars(now: u32) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for pair in pairs(now) {
        let files = Files::lay(folder.path(), &pair);
        let (mut ratios, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let limit = seconds(&files, || files.read_both_and_write_one());
            let fill = seconds(&files, || files.fill(now));
            ours.push(fill);
            ratios.push(fill / limit);
        }
        let ((least, median, greatest), (_, ours, _)) = (spread(ratios), spread(ours));
        files.restore();
        let beside = peer(&files).map_or(String::new(), |peer| {
            format!(", {:.0} times as fast as whisper-fill ({:.1} ms)", peer / ours, peer * 1e3)
        });
        println!(
            "bars/{}: {:.1} us, {median:.2} ({least:.2} to {greatest:.2}) x reading both and writing one{beside}",
            pair.name,
            ours * 1e6
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "whisper-fill fills up to the time that it is")]
fn main() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
    let now = u32::try_from(now).expect("a time that Whisper can tell");
    if !std::env::args().any(|argument| argument == "bars") {
        let mut criterion = Criterion::default().configure_from_args();
        plans(&mut criterion, now);
        coverages(&mut criterion, now);
        files(&mut criterion, now);
        criterion.final_summary();
    }
    if !std::env::args().any(|argument| argument == "--test") {
        bars(now);
    }
}
