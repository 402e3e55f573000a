//! The ledger of what was written before and while metrics moved: every point, when, by whom, and whether it is with
//! its owners in the end.
//!
//! The value of a point follows from its metric and its time. So it does not matter which of two writers was last, and
//! a point that stands in the wrong slot, or in the wrong file, is seen to be wrong. Where nodes have other schemas, a point
//! is looked for in the archive that it was written to: one of another resolution does not count.

use std::collections::{BTreeMap, BTreeSet};

use bucky_ring::Ring;
use bucky_whisper::{MetricName, Point};

use crate::ledger::owner_hosts;
use crate::live_copy::Copy;
use crate::live_look::Look;
use crate::metrics::{self, Layout};
use crate::schema::Schemas;
use crate::{Node, TestCluster};

/// How many seconds after a point was sent a carbon may have it in its hands.
const WRITTEN_WITHIN: f64 = 6.0;
/// How many points in a row are laid down, and then left out.
const BLOCK: u32 = 30;
/// Values of so many seconds in a row lie close together: their averages are between them, and not between others.
const VALUES_TOGETHER: u32 = 600;

/// A metric that is written while it moves.
#[derive(Clone, Debug)]
pub struct LiveMetric {
    /// Its name.
    pub name: MetricName,
    /// What makes its values differ from those of the others.
    pub seed: u32,
    /// What its files keep.
    pub schemas: Schemas,
}

impl LiveMetric {
    /// The value of its point at a time.
    pub fn value(&self, timestamp: u32) -> f64 {
        let together = u64::from(timestamp / VALUES_TOGETHER);
        let base = (u64::from(self.seed) + together * 7919) % 1_000_003;
        let value = base * u64::from(VALUES_TOGETHER) + u64::from(timestamp % VALUES_TOGETHER);
        #[expect(clippy::cast_precision_loss, reason = "below 600,001,800")]
        let value = value as f64;
        value
    }

    /// Whether a slot of so many seconds may have this value: its point's, or an average of points inside the slot.
    pub(crate) fn may_be(&self, timestamp: u32, seconds_per_point: u32, value: f64) -> bool {
        if seconds_per_point <= self.schemas.finest_step() {
            return value == self.value(timestamp);
        }
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut from, end) = (timestamp, timestamp + seconds_per_point);
        while from < end {
            let next = ((from / VALUES_TOGETHER + 1) * VALUES_TOGETHER).min(end);
            (least, most) = (least.min(self.value(from)), most.max(self.value(next - 1)));
            from = next;
        }
        (least..=most).contains(&value)
    }

    fn point(&self, timestamp: u32) -> Point {
        Point { timestamp, value: self.value(timestamp) }
    }
}

/// One write: the points of one metric that were acknowledged together.
#[derive(Clone, Debug)]
pub struct Operation {
    /// When, in Unix seconds.
    pub at: f64,
    /// How: `whisper.update_many`, say.
    pub how: &'static str,
    /// The host whose file it went to; none where a relay sent it to all owners.
    pub host: Option<String>,
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    metrics: Vec<LiveMetric>,
    /// Metrics that others keep account of.
    others: BTreeSet<MetricName>,
    /// By the metric's number: the points, and the operation that wrote each last to one host.
    points: Vec<BTreeMap<Place, usize>>,
    operations: Vec<Operation>,
    laid_down: u64,
    live: u64,
}

/// Where a point was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) timestamp: u32,
    /// The resolution of the archive; none where a carbon chose it, by the file that it found.
    pub(crate) seconds_per_point: Option<u32>,
    /// The host whose file got it; none where a relay sent it to all owners.
    pub(crate) host: Option<String>,
}

/// A point's time, and the resolution of the archive that it was written to, where that is known.
pub type Slot = (u32, Option<u32>);

/// An update of which carbon itself has logged that it dropped it.
#[derive(Clone, Debug)]
pub struct DroppedUpdate {
    /// Of which metric.
    pub metric: MetricName,
    /// Whether carbon was about to create the file, and not to open it.
    pub is_create: bool,
    /// When it was logged, in Unix seconds.
    pub at: f64,
    /// The line of the log.
    pub line: String,
}

impl DroppedUpdate {
    /// Whether a point that was sent then may have been part of it: carbon writes what it has as soon as it can.
    pub(crate) fn explains(&self, metric: &MetricName, sent_at: f64) -> bool {
        self.metric == *metric && (self.at - WRITTEN_WITHIN..self.at + 1.5).contains(&sent_at)
    }
}

/// How much was looked for and found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Points that were there before the move, in all copies.
    pub laid_down: u64,
    /// Points that were written during it, as often as they were acknowledged.
    pub live: u64,
    /// Points looked for in the owners' files in the end.
    pub looked_for: u64,
    /// Of these, points that never were in any file, since carbon dropped them and said so.
    pub dropped: u64,
}

impl std::ops::AddAssign for Found {
    fn add_assign(&mut self, other: Self) {
        self.laid_down += other.laid_down;
        self.live += other.live;
        self.looked_for += other.looked_for;
        self.dropped += other.dropped;
    }
}

impl Written {
    /// `count` metrics of which nothing is written yet, of these schemas in turn. They share folders by twos and threes, so that a
    /// move empties many folders.
    pub fn none(count: u32, schemas: &[Schemas]) -> Self {
        let numbers = (0..count).zip(schemas.iter().cycle());
        let name = |(number, schemas): (u32, &Schemas)| {
            let (app, host, kind) = (number % 3, number / 3, schemas.kind);
            format!("live.app{app}.host{host}.{kind}{number}")
        };
        Self::of(numbers.map(name), schemas)
    }

    /// The same with metrics of these names.
    pub fn of(names: impl IntoIterator<Item = String>, schemas: &[Schemas]) -> Self {
        let metric = |((name, number), schemas): ((String, u32), &Schemas)| LiveMetric {
            name: name.parse().unwrap(),
            seed: number * 7_001 + 13,
            schemas: *schemas,
        };
        let metrics: Vec<LiveMetric> =
            names.into_iter().zip(0..).zip(schemas.iter().cycle()).map(metric).collect();
        let points = metrics.iter().map(|_| BTreeMap::new()).collect();
        let (others, operations) = (BTreeSet::new(), Vec::new());
        Self { metrics, others, points, operations, laid_down: 0, live: 0 }
    }

    /// The nodes have other metrics, too.
    #[must_use]
    pub fn beside(mut self, others: impl IntoIterator<Item = MetricName>) -> Self {
        self.others.extend(others);
        self
    }

    /// The metrics, by their numbers.
    pub fn metrics(&self) -> &[LiveMetric] {
        &self.metrics
    }

    /// Lays down the first `count` metrics where `ring` has them, as the old nodes create them: blocks of points with gaps
    /// between them. Gives the time of the newest point, the first of a block.
    pub fn lay_down(&mut self, count: usize, cluster: &TestCluster, ring: &Ring) -> u32 {
        let newest = metrics::newest_minute();
        for number in 0..count.min(self.metrics.len()) {
            let metric = self.metrics[number].clone();
            for host in owner_hosts(ring, &metric.name).expect("a metric that the ring places") {
                self.lay_file(number, cluster.node_of(&host), &metric.schemas.old, newest);
            }
        }
        newest
    }

    /// Lays down every `nth` of the metrics that `node` owns on it, as a new node creates them: from a relay that failed over.
    pub fn lay_down_at(&mut self, node: &Node, nth: usize, cluster: &TestCluster) {
        // Some of these points are the old owner's, too.
        let newest = metrics::newest_minute() - BLOCK / 2 * 60;
        for number in (0..self.metrics.len()).step_by(nth) {
            let metric = self.metrics[number].clone();
            if is_owner(cluster, node, &metric.name) {
                self.lay_file(number, node, &metric.schemas.new, newest);
            }
        }
    }

    fn lay_file(&mut self, number: usize, node: &Node, layout: &Layout, newest: u32) {
        let metric = self.metrics[number].clone();
        let finest = layout.archives()[0];
        let (step, slots) = (finest.seconds_per_point(), finest.points());
        let newest = newest / step * step;
        let ages = (0..slots * 3 / 4).filter(|age| (age / BLOCK).is_multiple_of(2));
        let points: Vec<Point> = ages.map(|age| metric.point(newest - age * step)).collect();
        metrics::write(&node.prefix(), &metric.name, layout, &points);
        self.laid_down += points.len() as u64;
        let at = f64::from(metrics::now());
        let host = Some(node.host().to_owned());
        let operation = Operation { at, how: "laid down", host };
        let times: Vec<Slot> = points.iter().map(|point| (point.timestamp, Some(step))).collect();
        self.note(operation, number, &times);
    }

    /// Adds an acknowledged write of the metric with this number.
    pub fn add(&mut self, operation: Operation, number: usize, slots: &[Slot]) {
        self.note(operation, number, slots);
        self.live += slots.len() as u64;
    }

    fn note(&mut self, operation: Operation, number: usize, slots: &[Slot]) {
        let index = self.operations.len();
        let host = &operation.host;
        let places = slots.iter().map(|&(timestamp, seconds_per_point)| Place {
            timestamp,
            seconds_per_point,
            host: host.clone(),
        });
        self.points[number].extend(places.map(|place| (place, index)));
        self.operations.push(operation);
    }

    /// How many of the metrics that `from` places lie elsewhere by `to`: on a host that was no owner before.
    pub fn to_move(&self, count: usize, from: &Ring, to: &Ring) -> usize {
        let moves = |metric: &&LiveMetric| {
            let before = owner_hosts(from, &metric.name).unwrap_or_default();
            let after = owner_hosts(to, &metric.name).unwrap_or_default();
            after.iter().any(|host| !before.contains(host))
        };
        self.metrics.iter().take(count).filter(moves).count()
    }

    /// How many points are not in their owners' files yet.
    pub fn missing(&self, cluster: &TestCluster) -> usize {
        let mut look = Look::default();
        self.look(cluster, &mut look);
        look.problems.len()
    }

    /// How many points that relays were sent are in fewer files than they should have copies, on whatever nodes: not written
    /// yet, in a tombstone, or lost.
    pub fn lack_copies(&self, cluster: &TestCluster) -> usize {
        let now = metrics::now();
        let wanted = cluster.ring().spec().replication_factor;
        let missing = |(metric, points): (&LiveMetric, &BTreeMap<Place, usize>)| {
            let read =
                |node: &Node| std::fs::read(node.path(metric.name.as_str())).unwrap_or_default();
            let contents: Vec<Vec<u8>> = cluster.nodes().iter().map(read).collect();
            let copies: Vec<Copy<'_>> =
                contents.iter().map(|content| Copy::new(content, now)).collect();
            let is_missing = |place: &&Place| {
                let has = |copy: &&Copy<'_>| copy.has(metric, place);
                copies.iter().filter(has).count() < wanted
            };
            points.keys().filter(|place| place.host.is_none()).filter(is_missing).count()
        };
        self.metrics.iter().zip(&self.points).map(missing).sum()
    }

    /// Wants every point in the file of each of its owners, with its value, no point that nobody wrote, and no metric
    /// anywhere else.
    ///
    /// # Panics
    /// Where it is not so; says which points, when they were written and where, what is there now, and what the
    /// daemons have logged of the metric.
    #[track_caller]
    pub fn assert_in_place(&self, cluster: &TestCluster) -> Found {
        self.assert_in_place_but(cluster, &[])
    }

    /// The same, where carbon has dropped updates before they reached any file: their points, and no others, may lack.
    ///
    /// # Panics
    /// As above.
    #[track_caller]
    pub fn assert_in_place_but(&self, cluster: &TestCluster, dropped: &[DroppedUpdate]) -> Found {
        let mut look = Look { dropped, ..Look::default() };
        self.look(cluster, &mut look);
        self.look_for_strays(cluster, &mut look);
        assert!(look.problems.is_empty(), "{}", look.tell(cluster));
        Found {
            laid_down: self.laid_down,
            live: self.live,
            looked_for: look.points,
            dropped: look.explained,
        }
    }

    fn look(&self, cluster: &TestCluster, look: &mut Look<'_>) {
        let now = metrics::now();
        for (number, metric) in self.metrics.iter().enumerate() {
            let owners = cluster.owners(metric.name.as_str());
            let hosts: Vec<&str> = owners.iter().map(|owner| cluster.node(*owner).host()).collect();
            for host in &hosts {
                let node = cluster.node_of(host);
                let content = std::fs::read(node.path(metric.name.as_str())).unwrap_or_default();
                let copy = Copy::new(&content, now);
                for (place, operation) in &self.points[number] {
                    let of = &place.host;
                    // What an owner was given stays there; what another was given, all owners get.
                    let is_owners = of.as_ref().is_some_and(|of| hosts.contains(&of.as_str()));
                    if is_owners && of.as_deref() != Some(host) {
                        continue;
                    }
                    look.points += 1;
                    let sent_at = self.operations[*operation].at;
                    if copy.has(metric, place) {
                        continue;
                    }
                    if of.is_none()
                        && !copy.has_another(metric, place)
                        && look.explains(&metric.name, sent_at)
                    {
                        look.explained += 1;
                    } else {
                        let problem = self.problem(metric, place, *operation, host, &copy);
                        look.add(&metric.name, problem);
                    }
                }
                for (step, point) in copy.strange(metric) {
                    look.add(
                        &metric.name,
                        format!(
                            "{} at {} ({step} s): {} on {host}, which nobody wrote",
                            metric.name, point.timestamp, point.value,
                        ),
                    );
                }
            }
        }
    }

    fn problem(
        &self,
        metric: &LiveMetric,
        place: &Place,
        operation: usize,
        owner: &str,
        copy: &Copy<'_>,
    ) -> String {
        let Operation { at, how, host } = &self.operations[operation];
        let timestamp = place.timestamp;
        let archive = place.seconds_per_point.map(|step| format!(" ({step} s)"));
        format!(
            "{} at {timestamp}{}, {}, {how} at {at:.3} on {}: its owner {owner} has {}",
            metric.name,
            archive.unwrap_or_default(),
            metric.value(timestamp),
            host.as_deref().unwrap_or("all owners"),
            copy.describe(metric, place)
        )
    }

    fn look_for_strays(&self, cluster: &TestCluster, look: &mut Look<'_>) {
        let known: BTreeSet<&MetricName> = self.metrics.iter().map(|metric| &metric.name).collect();
        for node in cluster.nodes() {
            for name in crate::tree::metrics(&node.prefix()) {
                if self.others.contains(&name) {
                    continue;
                }
                if !known.contains(&name) {
                    look.add(&name, format!("{name} on {} has come from nowhere", node.host()));
                } else if !is_owner(cluster, node, &name) {
                    look.add(&name, format!("{name} is on {}, no owner of it", node.host()));
                }
            }
        }
    }
}

fn is_owner(cluster: &TestCluster, node: &Node, name: &MetricName) -> bool {
    let owners = cluster.owners(name.as_str());
    owners.into_iter().any(|owner| cluster.node(owner).host() == node.host())
}
