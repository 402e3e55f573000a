//! Every point of every archive of every node: read before a move, it shows afterwards what is missing.
//!
//! The rules are those of the fill: a slot that the owner had keeps its value, and any other slot gets that
//! of a source. If several nodes had parts of a metric, slots coarser than the owner's finest may have been
//! rolled up again: for those, only their existence is checked. A point that has left its archive's window
//! since is not a loss.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bucky_ring::Ring;
use bucky_whisper::{Archive, Image, MetricName, Point, Series};

use crate::{metrics, tree};

/// The prefix of metrics that each node keeps for itself.
pub const LOCAL_PREFIX: &str = "carbon.agents.";

/// All valid points of some nodes at one time.
#[derive(Debug)]
pub struct Ledger {
    now: u32,
    copies: BTreeMap<MetricName, Vec<FileCopy>>,
}

/// One node's file of a metric.
#[derive(Debug)]
struct FileCopy {
    host: String,
    /// The finest first, as in all layouts of these tests.
    archives: Vec<(Archive, Vec<Point>)>,
}

/// The result of a comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The number of points that were checked.
    pub points: u64,
    /// What is missing, changed or misplaced, one line each.
    pub problems: Vec<String>,
}

impl Ledger {
    /// Reads the files of these hosts.
    ///
    /// # Panics
    /// If a file cannot be read. Files that are not Whisper files have no points.
    pub fn read(hosts: &[(String, PathBuf)]) -> Self {
        let now = metrics::now();
        let mut copies: BTreeMap<MetricName, Vec<FileCopy>> = BTreeMap::new();
        for (host, prefix) in hosts {
            for metric in tree::metrics(prefix) {
                let path = prefix.join(metric.relative_path());
                let archives = read_points(&path, now);
                copies.entry(metric).or_default().push(FileCopy { host: host.clone(), archives });
            }
        }
        Self { now, copies }
    }

    /// The time of the reading.
    pub fn now(&self) -> u32 {
        self.now
    }

    /// How many metrics there are.
    pub fn metrics(&self) -> usize {
        self.copies.len()
    }

    /// Removes these metrics.
    #[must_use]
    pub fn without<'m>(mut self, metrics: impl IntoIterator<Item = &'m MetricName>) -> Self {
        for metric in metrics {
            self.copies.remove(metric);
        }
        self
    }

    /// The metrics.
    pub fn names(&self) -> impl Iterator<Item = &MetricName> {
        self.copies.keys()
    }

    /// How many points all files together have.
    pub fn points(&self) -> u64 {
        let archives = self.copies.values().flatten().flat_map(|copy| &copy.archives);
        archives.map(|(_, points)| points.len() as u64).sum()
    }

    /// How many metrics have a file on a host that does not own them.
    pub fn misplaced(&self, ring: &Ring) -> usize {
        let unexpected_files = |metric: &MetricName, copies: &[FileCopy]| {
            owner_hosts(ring, metric)
                .is_some_and(|owners| copies.iter().any(|copy| !owners.contains(&copy.host)))
        };
        self.copies.iter().filter(|(metric, copies)| unexpected_files(metric, copies)).count()
    }

    /// The points of the archive with this resolution, from the file of `metric` on `host`.
    pub fn archive(&self, metric: &str, host: &str, seconds_per_point: u32) -> Option<&[Point]> {
        let copies = self.copies.get(&metric.parse::<MetricName>().ok()?)?;
        copies
            .iter()
            .find(|copy| copy.host == host)?
            .archive(seconds_per_point)
            .map(|(_, points)| points)
    }

    /// The points of the archive with this resolution, for a metric that only one host has.
    ///
    /// # Panics
    /// If no host or several hosts have it.
    pub fn only_archive(&self, metric: &str, seconds_per_point: u32) -> &[Point] {
        let copies = &self.copies[&metric.parse::<MetricName>().unwrap()];
        let [copy] = copies.as_slice() else { panic!("{metric} is on {} hosts", copies.len()) };
        copy.archive(seconds_per_point).unwrap_or_else(|| panic!("{metric}: no such archive")).1
    }

    /// Looks for everything in this ledger in `after`, which was read after a move to `ring`.
    pub fn compare(&self, after: &Self, ring: &Ring) -> Findings {
        let mut findings = Findings::default();
        for (metric, before) in &self.copies {
            let now_there = after.copies.get(metric).map_or(&[][..], Vec::as_slice);
            let owners = owner_hosts(ring, metric)
                .unwrap_or_else(|| before.iter().map(|copy| copy.host.clone()).collect());
            for copy in now_there.iter().filter(|copy| !owners.contains(&copy.host)) {
                findings
                    .problems
                    .push(format!("{metric} is still on {}, no owner of it", copy.host));
            }
            for owner in owners {
                let Some(owned) = now_there.iter().find(|copy| copy.host == owner) else {
                    findings.problems.push(format!("{metric} is not on its owner {owner}"));
                    continue;
                };
                compare_copies(metric, before, owned, after.now, &mut findings);
            }
        }
        for metric in after.copies.keys().filter(|metric| !self.copies.contains_key(*metric)) {
            findings.problems.push(format!("{metric} has come from nowhere"));
        }
        findings
    }
}

impl FileCopy {
    fn archive(&self, seconds_per_point: u32) -> Option<(&Archive, &[Point])> {
        let found = self.archives.iter().find(|(a, _)| a.seconds_per_point == seconds_per_point);
        found.map(|(archive, points)| (archive, points.as_slice()))
    }
}

/// The hosts that own `metric`, or `None` if every host keeps its own: local metrics, and those that no rule of
/// the relay sends to the ring.
pub fn owner_hosts(ring: &Ring, metric: &MetricName) -> Option<Vec<String>> {
    if metric.as_str().starts_with(LOCAL_PREFIX) {
        return None;
    }
    let Series::Known(series) = metric.series() else { return None };
    let mut hosts: Vec<String> =
        ring.owners(&series).map(|owner| ring.nodes()[owner].host().to_owned()).collect();
    hosts.dedup();
    Some(hosts).filter(|hosts| !hosts.is_empty())
}

fn read_points(path: &Path, now: u32) -> Vec<(Archive, Vec<Point>)> {
    let content = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let Ok(image) = Image::parse(&content) else { return Vec::new() };
    image.archives().map(|view| (view.archive(), view.points_valid(now).collect())).collect()
}

/// Looks for every point of the files `before` in the owner's file `after`.
fn compare_copies(
    metric: &MetricName,
    before: &[FileCopy],
    after: &FileCopy,
    now: u32,
    findings: &mut Findings,
) {
    let own = before.iter().find(|copy| copy.host == after.host);
    for copy in before {
        for (archive, points) in &copy.archives {
            let step = archive.seconds_per_point;
            let is_finest =
                after.archives.first().is_some_and(|(first, _)| first.seconds_per_point == step);
            let there = after.archive(step);
            let in_window =
                |point: &&Point| u64::from(point.timestamp) + archive.retention() > u64::from(now);
            for point in points.iter().filter(in_window) {
                findings.points += 1;
                let found = there.and_then(|(_, points)| at(points, point.timestamp));
                // A point that has left the owner's own, shorter window may have been overwritten before the
                // fill.
                let known_to_owner = own.and_then(|own| own.archive(step)).and_then(|own| {
                    let is_kept = u64::from(point.timestamp) + own.0.retention() > u64::from(now);
                    at(own.1, point.timestamp).filter(|_| is_kept)
                });
                // If both had it, the owner's value is kept; if several sources had it, any of theirs is
                // correct.
                let expected = known_to_owner.unwrap_or(point.value);
                let is_exact = before.len() == 1 || (is_finest && known_to_owner.is_some());
                let problem = match found {
                    None => "is gone".to_owned(),
                    Some(value) if is_exact && value.to_bits() != expected.to_bits() => {
                        format!("is {value} and was {expected}")
                    }
                    Some(value) if is_finest && !any_had(before, step, point.timestamp, value) => {
                        format!("is {value}, which no node had")
                    }
                    Some(_) => continue,
                };
                findings.problems.push(format!(
                    "{metric}: the point at {} ({step} s), on {} before, {problem} on {}",
                    point.timestamp, copy.host, after.host
                ));
            }
        }
    }
}

fn any_had(before: &[FileCopy], step: u32, timestamp: u32, value: f64) -> bool {
    let values = before.iter().filter_map(|copy| at(copy.archive(step)?.1, timestamp));
    values.into_iter().any(|had| had.to_bits() == value.to_bits())
}

fn at(points: &[Point], timestamp: u32) -> Option<f64> {
    let index = points.binary_search_by_key(&timestamp, |point| point.timestamp).ok()?;
    points.get(index).map(|point| point.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{MINUTES, minutes, newest_minute};

    fn ring(hosts: &[&str]) -> Ring {
        let (relay, tagged_names) =
            bucky_ring::resolve(bucky_ring::Algorithm::Carbon, None, None).unwrap();
        Ring::new(bucky_ring::RingSpec {
            nodes: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            algorithm: bucky_ring::Algorithm::Carbon,
            relay,
            replication_factor: 1,
            diverse_replicas: false,
            tagged_names,
            aggregation: None,
            routes: None,
        })
        .unwrap()
    }

    /// What the ledger finds after a move from `a` to `b`. `moved` gets the newest minute, so that it writes
    /// points of the same times.
    fn findings(moved: impl FnOnce(&Path, &Path, u32)) -> Vec<String> {
        let newest = newest_minute();
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [a, b] = [folders[0].path(), folders[1].path()];
        let metric = "m.x".parse().unwrap();
        write_values(a, &metric, newest, &[1.0, 2.0, 3.0]);
        let hosts = [("a".to_owned(), a.to_owned()), ("b".to_owned(), b.to_owned())];
        let before = Ledger::read(&hosts);
        moved(a, b, newest);
        before.compare(&Ledger::read(&hosts), &ring(&["b"])).problems
    }

    fn write_values(prefix: &Path, metric: &MetricName, newest: u32, values: &[f64]) {
        metrics::write(prefix, metric, &MINUTES, &minutes(newest, values.iter().copied()));
    }

    #[test]
    fn a_ledger_finds_nothing_wrong_where_the_file_has_moved() {
        let found = findings(|a, b, _| {
            std::fs::create_dir(b.join("m")).unwrap();
            std::fs::rename(a.join("m/x.wsp"), b.join("m/x.wsp")).unwrap();
        });
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn a_ledger_finds_missing_changed_and_leftover_points() {
        let metric: MetricName = "m.x".parse().unwrap();
        let gone = findings(|a, _, _| std::fs::remove_file(a.join("m/x.wsp")).unwrap());
        assert_eq!(gone, ["m.x is not on its owner b"]);
        let left = findings(|_, b, newest| write_values(b, &metric, newest, &[1.0, 2.0, 3.0]));
        assert_eq!(left, ["m.x is still on a, no owner of it"]);
        let changed = findings(|a, b, newest| {
            std::fs::remove_file(a.join("m/x.wsp")).unwrap();
            write_values(b, &metric, newest, &[1.0, 9.0]);
        });
        assert_eq!(changed.len(), 2, "{changed:?}");
        assert!(changed.iter().any(|line| line.contains("is 9 and was 2")), "{changed:?}");
        assert!(changed.iter().any(|line| line.contains("is gone on b")), "{changed:?}");
    }
}
