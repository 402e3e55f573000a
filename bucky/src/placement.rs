//! Where metrics belong: takes names, returns nodes of the ring.
//!
//! The rule is `bucky_placement`'s. This module has the series of `--series`, and the message about
//! unplaceable files.

use std::fmt;
use std::sync::Arc;

use bucky_placement::{HashedSeries, KnownSeries, Place, SeriesHash, SeriesList, place};
use bucky_ring::{Node, Ring};
use bucky_whisper::MetricName;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::counted::{counted, human_count};

/// The prefix of names of tagged series.
const TAGGED: &str = "_tagged.";

/// The reason why a metric cannot be placed on a ring.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPlace {
    /// The file is named by a hash of its series.
    #[error("{0} is named by the hash of an unknown series; give the series with --series FILE")]
    Unplaceable(String),
    /// No rule of the relay sends it to a ring.
    #[error("no rule of the relay sends {0} to this ring")]
    Unrouted(String),
    /// It is below the folder of tagged series, and is not a metric's name.
    #[error("{0:?} is not the file name of a tagged series")]
    NoName(String),
}

/// The series that are known by their hash: those of `--series`, if it was given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Option<Arc<SeriesList>>);

impl Series {
    /// The series of `list`.
    pub(crate) fn of(list: SeriesList) -> Self {
        Self(Some(Arc::new(list)))
    }

    /// Whether there are any.
    pub(crate) fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// These series, after the one that a daemon reported for a file. Its hash is checked all the same.
    pub(crate) fn with_reported<'a>(&'a self, reported: Option<&'a str>) -> impl KnownSeries + 'a {
        WithReported { series: self, reported }
    }

    /// The message about this many unplaceable files.
    pub(crate) fn unplaceable(&self, files: u64) -> Unplaceable {
        Unplaceable { files, was_given: self.is_given() }
    }
}

impl KnownSeries for Series {
    fn series_of(&self, hash: &SeriesHash) -> Option<HashedSeries> {
        let list = self.0.as_ref()?;
        // This reads a line of the file. Other tasks of this thread continue on another one.
        match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(|| list.series_of(hash)),
            _ => list.series_of(hash),
        }
    }
}

struct WithReported<'a> {
    series: &'a Series,
    reported: Option<&'a str>,
}

impl KnownSeries for WithReported<'_> {
    fn series_of(&self, hash: &SeriesHash) -> Option<HashedSeries> {
        let reported = self.reported.and_then(|reported| HashedSeries::checked(reported, hash));
        reported.or_else(|| self.series.series_of(hash))
    }
}

/// A message of one or two sentences: tagged files stay where they are, and what to do about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unplaceable {
    files: u64,
    was_given: bool,
}

impl fmt::Display for Unplaceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = counted(self.files, "tagged file is", "tagged files are");
        write!(f, "{files} named by the hash of an unknown series, so the owner is unknown. ")?;
        f.write_str(if self.was_given {
            "The file of --series does not have the series; export it again"
        } else {
            "Give the series with --series FILE, one a line"
        })?;
        f.write_str(
            "; `SELECT path FROM tags_series` in graphite-web's tag database lists them (docs/runbooks/tagged-series.md).",
        )
    }
}

/// The owners of the metric `name`, the first copy first: indexes of [`Ring::nodes`].
///
/// # Errors
/// [`NoPlace`] for some files of tagged series, and for a metric that no rule of the relay sends here.
pub(crate) fn owners(
    ring: &Ring,
    known: &impl KnownSeries,
    name: &str,
) -> Result<Vec<usize>, NoPlace> {
    if name.starts_with(TAGGED) && MetricName::parse(name).is_err() {
        return Err(NoPlace::NoName(name.to_owned()));
    }
    match place(ring, &[], known, name) {
        Place::Owned { owners, .. } => Ok(owners.collect()),
        Place::Unrouted => Err(NoPlace::Unrouted(name.to_owned())),
        Place::Local | Place::Unplaceable => Err(NoPlace::Unplaceable(name.to_owned())),
    }
}

/// The message about metrics that no rule of the relay sends to the ring, by node. `None` if there are none.
pub(crate) fn unrouted(counts: &[(String, u64)]) -> Option<String> {
    let total = counts.iter().map(|(_, count)| count).sum();
    if total == 0 {
        return None;
    }
    let nodes: Vec<String> =
        counts.iter().map(|(node, count)| format!("{node} ({})", human_count(*count))).collect();
    Some(format!(
        "bucky: no rule of the relay sends {} to this ring; they stay on {}",
        counted(total, "metric", "metrics"),
        nodes.join(", ")
    ))
}

/// The hosts of `owners`, each once, in their order.
pub(crate) fn hosts<'ring>(ring: &'ring Ring, owners: &[usize]) -> Vec<&'ring str> {
    let mut hosts: Vec<&str> = Vec::with_capacity(owners.len());
    for host in owners.iter().filter_map(|owner| ring.nodes().get(*owner)).map(Node::host) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::test_cluster::document;

    fn ring(nodes: &[&str], copies: i64) -> Ring {
        let mut document = document(nodes);
        document.replicas = copies;
        Ring::new(document.to_spec().unwrap()).unwrap()
    }

    fn none() -> Series {
        Series::default()
    }

    #[test]
    fn a_tagged_file_belongs_where_its_series_does() {
        let ring = ring(&["a", "b", "c", "d"], 1);
        for host in 0..50 {
            let series = format!("disk.used;host=web{host}");
            let file = format!("_tagged.abc.def.disk_DOT_used;host=web{host}");
            assert_eq!(owners(&ring, &none(), &series), owners(&ring, &none(), &file));
            let hashed = SeriesHash::of(&series).metric_name();
            let known = none();
            let known = known.with_reported(Some(&series));
            assert_eq!(owners(&ring, &known, &hashed), owners(&ring, &none(), &series));
        }
        let hashed = format!("_tagged.abc.def.{}", "0".repeat(64));
        assert!(matches!(owners(&ring, &none(), &hashed), Err(NoPlace::Unplaceable(_))));
        assert!(matches!(owners(&ring, &none(), "_tagged..x"), Err(NoPlace::NoName(_))));
    }

    /// A daemon may report anything.
    #[test]
    fn a_series_that_a_daemon_reports_counts_only_with_the_right_hash() {
        let ring = ring(&["a", "b"], 1);
        let hashed = SeriesHash::of("disk.used;host=a").metric_name();
        let known = none();
        let wrong = known.with_reported(Some("disk.used;host=b"));
        assert!(matches!(owners(&ring, &wrong, &hashed), Err(NoPlace::Unplaceable(_))));
    }

    #[test]
    fn a_name_is_hashed_unchanged_also_if_no_file_can_have_it() {
        let ring = ring(&["a", "b", "c", "d"], 1);
        let direct = |name: &str| ring.owners(name).collect::<Vec<_>>();
        for name in ["a/b", "a..b", ".a", "", "café"] {
            assert_eq!(owners(&ring, &none(), name), Ok(direct(name)));
        }
    }

    /// D16: the Go tool knows only the place of the first copy.
    #[test]
    fn all_copies_are_owners_and_a_host_counts_once() {
        let ring = ring(&["a=x", "a=y", "b=x", "b=y"], 3);
        let owners = owners(&ring, &none(), "some.metric").unwrap();
        assert_eq!(owners.len(), 3);
        let hosts = hosts(&ring, &owners);
        assert_eq!(hosts.len(), 2);
        assert_eq!(hosts[0], ring.nodes()[owners[0]].host());
    }

    #[test]
    fn the_message_about_unplaceable_files_ends_with_what_to_do() {
        let text = none().unplaceable(1_200).to_string();
        assert!(text.starts_with("1,200 tagged files are named by the hash"), "{text}");
        assert!(text.contains("Give the series with --series FILE"), "{text}");
        assert!(none().unplaceable(1).to_string().contains("1 tagged file is named by"));
    }
}
