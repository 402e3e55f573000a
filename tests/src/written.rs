//! The ledger of the points that were written before and during a move: every point with its time and writer,
//! and whether it is on its owners at the end.
//!
//! The value of a point follows from its metric and its time. So it does not matter which of two writers was
//! last, and a point in the wrong slot or in the wrong file is recognised. If nodes have different schemas, a
//! point must be in the archive that it was written to; a point of another resolution does not count.

use std::collections::{BTreeMap, BTreeSet};

use bucky_ring::Ring;
use bucky_whisper::{MetricName, Point};

use crate::ledger::owner_hosts;
use crate::live_check::LiveCheck;
use crate::live_copy::LiveCopy;
use crate::metrics::{self, Layout};
use crate::schema::Schemas;
use crate::{Node, TestCluster};

/// For how many seconds after a point was sent a carbon may still hold it in memory.
const WRITTEN_WITHIN: f64 = 6.0;
/// How many points in a row are written, and then left out.
const BLOCK: u32 = 30;
/// Values of this many consecutive seconds are close together, so that their averages are between them and
/// not between others.
const VALUES_TOGETHER: u32 = 600;

/// A metric that is written while it moves.
#[derive(Clone, Debug)]
pub struct LiveMetric {
    /// Its name.
    pub name: MetricName,
    /// Makes its values differ from those of other metrics.
    pub seed: u32,
    /// The schemas of its files.
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

    /// Whether a slot of `seconds_per_point` may have this value: its point's value, or an average of points
    /// inside the slot.
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
    /// The time, in Unix seconds.
    pub at: f64,
    /// The operation, such as `whisper.update_many`.
    pub how: &'static str,
    /// The host whose file got the points; `None` if a relay sent them to all owners.
    pub host: Option<String>,
}

/// All points that were written.
#[derive(Debug)]
pub struct Written {
    metrics: Vec<LiveMetric>,
    /// Metrics that other code checks.
    others: BTreeSet<MetricName>,
    /// By the metric's number: where each point was written, and the last operation that wrote it to that
    /// host.
    points: Vec<BTreeMap<PointLocation, usize>>,
    operations: Vec<Operation>,
    laid_down: u64,
    live: u64,
}

/// Where a point was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PointLocation {
    pub(crate) timestamp: u32,
    /// The resolution of the archive; `None` if a carbon chose it by the file that it found.
    pub(crate) seconds_per_point: Option<u32>,
    /// The host whose file got it; `None` if a relay sent it to all owners.
    pub(crate) host: Option<String>,
}

/// A point's time, and the resolution of the archive that it was written to, if that is known.
pub type Slot = (u32, Option<u32>);

/// An update that carbon has dropped, according to its log.
#[derive(Clone, Debug)]
pub struct DroppedUpdate {
    /// The metric of the update.
    pub metric: MetricName,
    /// Whether carbon was about to create the file, rather than open it.
    pub is_create: bool,
    /// When it was logged, in Unix seconds.
    pub at: f64,
    /// The line of the log.
    pub line: String,
}

impl DroppedUpdate {
    /// Whether a point that was sent at `sent_at` may have been part of it: carbon writes its points as soon
    /// as it can.
    pub(crate) fn explains(&self, metric: &MetricName, sent_at: f64) -> bool {
        self.metric == *metric && (self.at - WRITTEN_WITHIN..self.at + 1.5).contains(&sent_at)
    }
}

/// The numbers of points that were checked and found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Points that existed before the move, in all copies.
    pub laid_down: u64,
    /// Points that were written during the move, counted for each acknowledgement.
    pub live: u64,
    /// Points looked for in the owners' files at the end.
    pub looked_for: u64,
    /// Of these, points that were never in any file, because carbon dropped them and logged that.
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
    /// `count` metrics that have no points yet, with these schemas in rotation. Two or three share a folder,
    /// so that a move empties many folders.
    pub fn none(count: u32, schemas: &[Schemas]) -> Self {
        let numbers = (0..count).zip(schemas.iter().cycle());
        let name = |(number, schemas): (u32, &Schemas)| {
            let (app, host, kind) = (number % 3, number / 3, schemas.kind);
            format!("live.app{app}.host{host}.{kind}{number}")
        };
        Self::of(numbers.map(name), schemas)
    }

    /// Metrics with these names that have no points yet.
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

    /// Adds metrics that the nodes have too, and that other code checks.
    #[must_use]
    pub fn beside(mut self, others: impl IntoIterator<Item = MetricName>) -> Self {
        self.others.extend(others);
        self
    }

    /// The metrics, by their numbers.
    pub fn metrics(&self) -> &[LiveMetric] {
        &self.metrics
    }

    /// Writes the first `count` metrics to their owners in `ring`, as the old nodes create them: blocks of
    /// points with gaps between them. Returns the time of the newest point, which is the first of a block.
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

    /// Writes every `nth` of the metrics that `node` owns to it, as a new node creates them after a relay's
    /// failover.
    pub fn lay_down_at(&mut self, node: &Node, nth: usize, cluster: &TestCluster) {
        // Some of these points are in the old owner's file too.
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
        let places = slots.iter().map(|&(timestamp, seconds_per_point)| PointLocation {
            timestamp,
            seconds_per_point,
            host: host.clone(),
        });
        self.points[number].extend(places.map(|place| (place, index)));
        self.operations.push(operation);
    }

    /// How many of the first `count` metrics move between the rings: `to` names a host that is not an owner
    /// in `from`.
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
        let mut check = LiveCheck::default();
        self.check(cluster, &mut check);
        check.problems.len()
    }

    /// How many points that were sent to relays are in fewer files than they should have copies, on any
    /// nodes: not written yet, in a tombstone, or lost.
    pub fn lacking_copies(&self, cluster: &TestCluster) -> usize {
        let now = metrics::now();
        let wanted = cluster.ring().spec().replication_factor;
        let missing = |(metric, points): (&LiveMetric, &BTreeMap<PointLocation, usize>)| {
            let read =
                |node: &Node| std::fs::read(node.path(metric.name.as_str())).unwrap_or_default();
            let contents: Vec<Vec<u8>> = cluster.nodes().iter().map(read).collect();
            let copies: Vec<LiveCopy<'_>> =
                contents.iter().map(|content| LiveCopy::new(content, now)).collect();
            let is_missing = |place: &&PointLocation| {
                let has = |copy: &&LiveCopy<'_>| copy.has(metric, place);
                copies.iter().filter(has).count() < wanted
            };
            points.keys().filter(|place| place.host.is_none()).filter(is_missing).count()
        };
        self.metrics.iter().zip(&self.points).map(missing).sum()
    }

    /// Checks that every point is in the file of each of its owners, with its value, that there is no point
    /// that no process wrote, and that no metric is anywhere else.
    ///
    /// # Panics
    /// If the check fails. The message names the points, when and where they were written, what is stored
    /// there now, and what the daemons have logged of the metric.
    #[track_caller]
    pub fn assert_in_place(&self, cluster: &TestCluster) -> Found {
        self.assert_in_place_except(cluster, &[])
    }

    /// The same check, when carbon has dropped updates before they reached any file: only their points may be
    /// missing.
    ///
    /// # Panics
    /// The same as for [`Self::assert_in_place`].
    #[track_caller]
    pub fn assert_in_place_except(
        &self,
        cluster: &TestCluster,
        dropped: &[DroppedUpdate],
    ) -> Found {
        let mut check = LiveCheck { dropped, ..LiveCheck::default() };
        self.check(cluster, &mut check);
        self.check_for_misplaced(cluster, &mut check);
        assert!(check.problems.is_empty(), "{}", check.report(cluster));
        Found {
            laid_down: self.laid_down,
            live: self.live,
            looked_for: check.points,
            dropped: check.explained,
        }
    }

    fn check(&self, cluster: &TestCluster, check: &mut LiveCheck<'_>) {
        let now = metrics::now();
        for (number, metric) in self.metrics.iter().enumerate() {
            let owners = cluster.owners(metric.name.as_str());
            let hosts: Vec<&str> = owners.iter().map(|owner| cluster.node(*owner).host()).collect();
            for host in &hosts {
                let node = cluster.node_of(host);
                let content = std::fs::read(node.path(metric.name.as_str())).unwrap_or_default();
                let copy = LiveCopy::new(&content, now);
                for (place, operation) in &self.points[number] {
                    let of = &place.host;
                    // Points given to an owner stay there; points given to another host go to all owners.
                    let is_owners = of.as_ref().is_some_and(|of| hosts.contains(&of.as_str()));
                    if is_owners && of.as_deref() != Some(host) {
                        continue;
                    }
                    check.points += 1;
                    let sent_at = self.operations[*operation].at;
                    if copy.has(metric, place) {
                        continue;
                    }
                    if of.is_none()
                        && !copy.has_another(metric, place)
                        && check.explains(&metric.name, sent_at)
                    {
                        check.explained += 1;
                    } else {
                        let problem = self.problem(metric, place, *operation, host, &copy);
                        check.add(&metric.name, problem);
                    }
                }
                for (step, point) in copy.strange(metric) {
                    check.add(
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
        place: &PointLocation,
        operation: usize,
        owner: &str,
        copy: &LiveCopy<'_>,
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

    fn check_for_misplaced(&self, cluster: &TestCluster, check: &mut LiveCheck<'_>) {
        let known: BTreeSet<&MetricName> = self.metrics.iter().map(|metric| &metric.name).collect();
        for node in cluster.nodes() {
            for name in crate::tree::metrics(&node.prefix()) {
                if self.others.contains(&name) {
                    continue;
                }
                if !known.contains(&name) {
                    check.add(&name, format!("{name} on {} has come from nowhere", node.host()));
                } else if !is_owner(cluster, node, &name) {
                    check.add(&name, format!("{name} is on {}, no owner of it", node.host()));
                }
            }
        }
    }
}

fn is_owner(cluster: &TestCluster, node: &Node, name: &MetricName) -> bool {
    let owners = cluster.owners(name.as_str());
    owners.into_iter().any(|owner| cluster.node(owner).host() == node.host())
}
