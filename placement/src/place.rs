//! The rule: which nodes of a ring a metric belongs to, by its name.

use std::borrow::Cow;
use std::sync::Arc;

use bucky_ring::{Owners, Ring};
use bucky_whisper::Series;

use crate::series::{HashedSeries, SeriesHash};

/// Where a metric belongs.
#[derive(Clone, Debug)]
pub enum Place<'ring> {
    /// On every node that has it: each node writes it about itself.
    Local,
    /// Unknown: its file is named by the hash of an unknown series.
    Unplaceable,
    /// Where it is: no rule of the relay sends it to a ring.
    Unrouted,
    /// On its owners.
    Owned {
        /// The owners, the first copy first; at least one.
        owners: Owners<'ring>,
        /// The series that placed it, if its file is named by the hash.
        series: Option<HashedSeries>,
    },
}

/// Looks up series by their hash.
pub trait KnownSeries {
    /// The series of this hash, if it is known.
    fn series_of(&self, hash: &SeriesHash) -> Option<HashedSeries>;
}

/// Knows no series.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSeries;

impl KnownSeries for NoSeries {
    fn series_of(&self, _: &SeriesHash) -> Option<HashedSeries> {
        None
    }
}

impl<T: KnownSeries> KnownSeries for Option<T> {
    fn series_of(&self, hash: &SeriesHash) -> Option<HashedSeries> {
        self.as_ref()?.series_of(hash)
    }
}

impl<T: KnownSeries + ?Sized> KnownSeries for Arc<T> {
    fn series_of(&self, hash: &SeriesHash) -> Option<HashedSeries> {
        (**self).series_of(hash)
    }
}

/// Where the metric `name` belongs. Names that begin with one of `local_prefixes` are local metrics.
pub fn place<'ring>(
    ring: &'ring Ring,
    local_prefixes: &[String],
    known: &(impl KnownSeries + ?Sized),
    name: &str,
) -> Place<'ring> {
    if local_prefixes.iter().any(|prefix| name.starts_with(prefix.as_str())) {
        return Place::Local;
    }
    match key(known, name) {
        None => Place::Unplaceable,
        Some(key) => {
            let owners = ring.owners(key.as_str());
            match (owners.len(), key) {
                (0, _) => Place::Unrouted,
                (_, Key::Name(_)) => Place::Owned { owners, series: None },
                (_, Key::Hashed(series)) => Place::Owned { owners, series: Some(series) },
            }
        }
    }
}

/// What a relay hashes to place a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key<'name> {
    /// The name of the metric, or the series that is encoded in it.
    Name(Cow<'name, str>),
    /// The series whose hash is the name of the file.
    Hashed(HashedSeries),
}

impl Key<'_> {
    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Name(series) => series,
            Self::Hashed(series) => series.as_str(),
        }
    }
}

/// What a relay hashes to place the metric `name`, or `None` if that is unknown.
pub fn key<'name>(known: &(impl KnownSeries + ?Sized), name: &'name str) -> Option<Key<'name>> {
    match Series::of(name) {
        Series::Known(series) => Some(Key::Name(series)),
        Series::Unplaceable => known.series_of(&SeriesHash::in_name(name)?).map(Key::Hashed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucky_ring::{Algorithm, RingSpec};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Returns the series that the test gave it.
    struct GivenSeries(BTreeMap<SeriesHash, String>);

    impl KnownSeries for GivenSeries {
        fn series_of(&self, hash: &SeriesHash) -> Option<HashedSeries> {
            HashedSeries::checked(self.0.get(hash)?, hash)
        }
    }

    fn ring() -> Ring {
        let (relay, tagged_names) = bucky_ring::resolve(Algorithm::Carbon, None, None).unwrap();
        Ring::new(RingSpec {
            nodes: ["a:2003", "b:2003", "c:2003", "d:2003"].map(|n| n.parse().unwrap()).into(),
            algorithm: Algorithm::Carbon,
            relay,
            replication_factor: 2,
            diverse_replicas: false,
            tagged_names,
            aggregation: None,
            routes: None,
        })
        .unwrap()
    }

    fn placed_at(place: Place<'_>) -> String {
        match place {
            Place::Local => "local".into(),
            Place::Unplaceable => "unplaceable".into(),
            Place::Unrouted => "unrouted".into(),
            Place::Owned { owners, series } => {
                let series = series.map(|series| series.as_str().to_owned());
                format!("{:?} {series:?}", owners.collect::<Vec<_>>())
            }
        }
    }

    #[test]
    fn a_name_is_local_owned_or_unplaceable() {
        let ring = ring();
        let local = ["carbon.agents.".to_owned()];
        let placed = |name: &str| placed_at(place(&ring, &local, &NoSeries, name));
        let of = |series: &str| format!("{:?} None", ring.owners(series).collect::<Vec<_>>());
        assert_eq!(placed("carbon.agents.a.cpu"), "local");
        assert_eq!(placed("carbon.agent.a"), of("carbon.agent.a"));
        assert_eq!(placed("_tagged.abc.def.disk_DOT_used;host=a"), of("disk.used;host=a"));
        let hashed = SeriesHash::of("disk.used;host=a").metric_name();
        assert_eq!(placed(&hashed), "unplaceable");
        assert_eq!(placed(&hashed["_tagged.".len()..]), of(&hashed["_tagged.".len()..]));
        let ours = ["_tagged.".to_owned()];
        assert_eq!(placed_at(place(&ring, &ours, &NoSeries, &hashed)), "local");
    }

    /// A rule set that sends only `a.` somewhere. A file that no rule sends stays where it is.
    #[test]
    fn a_name_that_no_rule_sends_is_unrouted() {
        let plain = ring();
        let document = format!(
            r#"{{"Nodes":[{{"Server":"a"}},{{"Server":"b"}}],"Algo":"carbon","Replicas":1,"Relay":"carbon-c-relay",
                "Routes":{{"Clusters":[{{"Name":"x","Algo":"carbon","Replicas":1,"Nodes":[0,1]}}],
                "Rules":[{{"Match":"{}","To":["x"]}}]}}}}"#,
            r"^a\\."
        );
        let document = bucky_ring::RingDocument::from_json(document.as_bytes()).unwrap();
        let ring = Ring::new(document.to_spec().unwrap()).unwrap();
        assert_eq!(placed_at(place(&ring, &[], &NoSeries, "b.x")), "unrouted");
        assert!(placed_at(place(&ring, &[], &NoSeries, "a.x")).starts_with('['));
        assert_ne!(placed_at(place(&plain, &[], &NoSeries, "b.x")), "unrouted");
    }

    proptest! {
        /// A series that is known by its hash has the owners of its text; a wrong text places nothing.
        #[test]
        fn a_hash_named_file_lies_where_its_series_does_and_a_wrong_text_places_nothing(
            series in "[a-z.]{1,12};[a-z]{1,4}=[a-zA-Z0-9.é ]{0,8}",
            wrong in "[a-z.]{1,12};[a-z]{1,4}=[a-z]{0,8}",
        ) {
            prop_assume!(series != wrong);
            let ring = ring();
            let hash = SeriesHash::of(&series);
            let name = hash.metric_name();
            let right = GivenSeries(BTreeMap::from([(hash, series.clone())]));
            let owners: Vec<usize> = ring.owners(&series).collect();
            prop_assert_eq!(
                placed_at(place(&ring, &[], &right, &name)),
                format!("{owners:?} {:?}", Some(series))
            );
            let wrong = GivenSeries(BTreeMap::from([(hash, wrong)]));
            prop_assert_eq!(placed_at(place(&ring, &[], &Some(wrong), &name)), "unplaceable");
        }
    }
}
