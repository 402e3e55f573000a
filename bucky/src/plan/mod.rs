//! What a run will do: how much goes from which node to which, and whether there is room for it.
//!
//! Pure. The same table is printed by `--no-op` and before a run. A metric with several owners counts for
//! each of them, so the rows can add up to more than the misplaced metrics.

pub(crate) mod copies;
pub(crate) mod room;
pub(crate) mod survey;

use std::collections::BTreeMap;
use std::fmt;

use bucky_api::{DaemonAddr, DiskStatus};

use self::room::{Reserve, Shortage};
use crate::counted;
use crate::output::{Table, human_bytes, human_count};

/// What is to be moved.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// How much goes from which node to which, sorted by the indexes of the nodes.
    pub(crate) rows: Vec<PlanRow>,
    /// What each destination gets, sorted by address.
    pub(crate) destinations: Vec<Destination>,
    /// Misplaced metrics; a metric on several nodes counts once for each.
    pub(crate) metrics: u64,
    /// How much must stay free at each destination.
    pub(crate) reserve: Reserve,
}

/// What one node sends to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlanRow {
    /// Where the metrics are.
    pub(crate) from: DaemonAddr,
    /// Where they belong.
    pub(crate) to: DaemonAddr,
    /// How much.
    pub(crate) load: Load,
}

/// What one node gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    /// The node.
    pub(crate) addr: DaemonAddr,
    /// The volume, by its path below the prefix, or `None` for the prefix itself.
    pub(crate) volume: Option<String>,
    /// How much.
    pub(crate) load: Load,
    /// How much room it has, or `None` if the daemon cannot report it.
    pub(crate) disk: Option<DiskStatus>,
}

impl Destination {
    /// The node, and the volume if it is not the prefix.
    pub(crate) fn name(&self) -> String {
        match &self.volume {
            Some(volume) => format!("{} {volume}/", self.addr),
            None => self.addr.to_string(),
        }
    }
}

/// An amount of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// How many metrics.
    pub(crate) metrics: u64,
    /// The length of their files, in bytes.
    pub(crate) bytes: u64,
    /// How many of the metrics have an unknown length.
    pub(crate) unknown: u64,
}

impl Load {
    /// Adds one metric.
    pub(crate) fn add_metric(&mut self, bytes: Option<u64>) {
        self.metrics += 1;
        match bytes {
            Some(bytes) => self.bytes = self.bytes.saturating_add(bytes),
            None => self.unknown += 1,
        }
    }

    /// Adds another load.
    pub(crate) fn add(&mut self, other: Self) {
        self.metrics += other.metrics;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.unknown += other.unknown;
    }

    /// Subtracts a part.
    fn subtract(&mut self, part: Self) {
        self.metrics = self.metrics.saturating_sub(part.metrics);
        self.bytes = self.bytes.saturating_sub(part.bytes);
        self.unknown = self.unknown.saturating_sub(part.unknown);
    }

    fn bytes_text(self) -> String {
        match (self.unknown, self.bytes) {
            (0, bytes) => human_bytes(bytes),
            (_, 0) => "?".to_owned(),
            (_, bytes) => format!(">= {}", human_bytes(bytes)),
        }
    }
}

impl Plan {
    /// A plan of these rows; `disk` gives the room of each destination.
    pub(crate) fn new(
        rows: Vec<PlanRow>,
        metrics: u64,
        disk: impl Fn(&DaemonAddr) -> Option<DiskStatus>,
    ) -> Self {
        let mut loads: BTreeMap<&DaemonAddr, Load> = BTreeMap::new();
        for row in &rows {
            loads.entry(&row.to).or_default().add(row.load);
        }
        let destinations = loads.into_iter().map(|(addr, load)| Destination {
            addr: addr.clone(),
            volume: None,
            load,
            disk: disk(addr),
        });
        let destinations = destinations.collect();
        Self { rows, destinations, metrics, reserve: Reserve::NONE }
    }

    /// Sets how much room must stay free at each destination.
    #[must_use]
    pub(crate) fn reserving(self, reserve: Reserve) -> Self {
        Self { reserve, ..self }
    }

    /// Lists what goes to volumes of destinations separately, and subtracts it from what goes to the prefix
    /// there.
    pub(crate) fn with_volumes(mut self, volumes: Vec<Destination>) -> Self {
        for volume in volumes {
            let node = self.destinations.iter_mut().find(|node| node.addr == volume.addr);
            if let Some(node) = node {
                node.load.subtract(volume.load);
            }
            self.destinations.push(volume);
        }
        self.destinations.retain(|destination| destination.load.metrics > 0);
        let position =
            |destination: &Destination| (destination.addr.clone(), destination.volume.clone());
        self.destinations.sort_by_key(position);
        self
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.metrics == 0
    }

    /// Where it does not fit: one sentence for each destination.
    pub(crate) fn shortages(&self) -> Vec<String> {
        let short = self.destinations.iter().filter_map(|destination| {
            Some(self.shortage(destination)?.sentences(&destination.name()))
        });
        short.flatten().collect()
    }

    /// Whether what a destination with known room gets fits.
    pub(crate) fn fits(&self, destination: &Destination) -> bool {
        self.shortage(destination).is_none()
    }

    /// Whether what a destination gets fits, for a table.
    pub(crate) fn fits_word(&self, destination: &Destination) -> &'static str {
        match destination.disk {
            None => "?",
            Some(_) => self.shortage(destination).map_or("yes", |shortage| shortage.word()),
        }
    }

    fn shortage(&self, destination: &Destination) -> Option<Shortage> {
        Shortage::of(destination.load, &destination.disk?, self.reserve)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n\n{} misplaced.", self.tables(), counted::metrics_are(self.metrics))
    }
}

impl Plan {
    /// The tables: how much goes from which node to which, and whether there is room.
    pub(crate) fn tables(&self) -> String {
        let table = pairs(self.rows.iter());
        let mut room = Table::new(&["DESTINATION", ">METRICS", ">GETS", ">FREE", "FITS"]);
        for destination in &self.destinations {
            let free = match destination.disk {
                None => "?".to_owned(),
                Some(disk) => human_bytes(disk.free_bytes),
            };
            room.row(vec![
                destination.name(),
                human_count(destination.load.metrics),
                destination.load.bytes_text(),
                free,
                self.fits_word(destination).to_owned(),
            ]);
        }
        format!("{table}\n\n{room}")
    }
}

/// A table of how much goes from which node to which.
pub(crate) fn pairs<'a>(rows: impl Iterator<Item = &'a PlanRow>) -> Table {
    let mut table = Table::new(&["FROM", "TO", ">METRICS", ">BYTES"]);
    for row in rows {
        table.row(vec![
            row.from.to_string(),
            row.to.to_string(),
            human_count(row.load.metrics),
            row.load.bytes_text(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> DaemonAddr {
        text.parse().unwrap()
    }

    fn row(from: &str, to: &str, metrics: u64, bytes: u64, unknown: u64) -> PlanRow {
        PlanRow { from: addr(from), to: addr(to), load: Load { metrics, bytes, unknown } }
    }

    #[test]
    fn a_plan_shows_where_from_and_where_to_and_whether_it_fits() {
        let rows = vec![
            row("graphite-1", "graphite-4", 250_317, 88 << 30, 0),
            row("graphite-2", "graphite-4", 249_002, 87 << 30, 0),
            row("graphite-2", "graphite-1", 3, 4_000, 0),
            row("old", "graphite-5", 12, 0, 12),
        ];
        let disk = |free_bytes| {
            Some(DiskStatus { total_bytes: 400 << 30, free_bytes, ..DiskStatus::default() })
        };
        let room = |to: &DaemonAddr| match to.host() {
            "graphite-4" => disk(120 << 30),
            "graphite-5" => None,
            _ => disk(40 << 30),
        };
        let plan = Plan::new(rows, 499_334, room);
        insta::assert_snapshot!(plan.to_string());
        assert_eq!(
            plan.shortages(),
            ["graphite-4:4242 would get 175.0 GiB and has 120.0 GiB free"]
        );
    }

    #[test]
    fn the_load_of_a_volume_is_compared_with_its_own_room() {
        let rows = vec![row("a", "b", 10, 100, 0), row("a", "c", 1, 7, 0)];
        let disk = |free_bytes| DiskStatus { free_bytes, ..DiskStatus::default() };
        let volume = |bytes, free| Destination {
            addr: addr("b"),
            volume: Some("stats".into()),
            load: Load { metrics: 4, bytes, unknown: 0 },
            disk: Some(disk(free)),
        };
        let plan = Plan::new(rows, 11, |_| Some(disk(50))).with_volumes(vec![volume(60, 20)]);
        let gets: Vec<_> = plan
            .destinations
            .iter()
            .map(|to| (to.name(), to.load.metrics, to.load.bytes))
            .collect();
        let gets: Vec<_> =
            gets.iter().map(|(name, metrics, bytes)| (name.as_str(), *metrics, *bytes)).collect();
        assert_eq!(gets, [("b:4242", 6, 40), ("b:4242 stats/", 4, 60), ("c:4242", 1, 7)]);
        assert_eq!(plan.shortages(), ["b:4242 stats/ would get 60 B and has 20 B free"]);
    }

    #[test]
    fn a_plan_without_metrics_is_empty() {
        let plan = Plan::new(Vec::new(), 0, |_| None);
        assert!(plan.is_empty());
        assert_eq!(plan.shortages(), Vec::<String>::new());
    }
}
