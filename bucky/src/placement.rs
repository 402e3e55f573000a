//! Where metrics belong: names in, nodes of the ring out.
//!
//! Pure. What a relay hashed is the name of the series; for a tagged one that is not the name of its file (DESIGN
//! section 3). A name that is no tagged file's is hashed as it stands.

use std::borrow::Cow;

use bucky_ring::{Node, Ring};
use bucky_whisper::{MetricName, Series};

/// The folder that holds tagged series, as the beginning of a name.
const TAGGED: &str = "_tagged.";

/// Why a metric has no place on a ring.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPlace {
    /// The file is named by a hash of its series.
    #[error("{0} is named by a hash (TAG_HASH_FILENAMES); which series it is cannot be told")]
    Unplaceable(String),
    /// Below the folder of tagged series, and no name.
    #[error("{0:?} is not the name of a tagged series' file")]
    NoName(String),
}

/// The owners of the metric called `name`, the first copy first: indices into [`Ring::nodes`].
///
/// # Errors
/// [`NoPlace`] for some files of tagged series.
pub(crate) fn owners(ring: &Ring, name: &str) -> Result<Vec<usize>, NoPlace> {
    Ok(ring.owners(&series(name)?).collect())
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

fn series(name: &str) -> Result<Cow<'_, str>, NoPlace> {
    if !name.starts_with(TAGGED) {
        return Ok(Cow::Borrowed(name));
    }
    let metric = MetricName::parse(name).map_err(|_| NoPlace::NoName(name.to_owned()))?;
    match metric.series() {
        Series::Known(series) => Ok(Cow::Owned(series.into_owned())),
        Series::Unplaceable => Err(NoPlace::Unplaceable(name.to_owned())),
    }
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

    #[test]
    fn a_tagged_file_lies_where_its_series_does() {
        let ring = ring(&["a", "b", "c", "d"], 1);
        for host in 0..50 {
            let series = format!("disk.used;host=web{host}");
            let file = format!("_tagged.abc.def.disk_DOT_used;host=web{host}");
            assert_eq!(owners(&ring, &series), owners(&ring, &file));
        }
        let hashed = format!("_tagged.abc.def.{}", "0".repeat(64));
        assert!(matches!(owners(&ring, &hashed), Err(NoPlace::Unplaceable(_))));
        assert!(matches!(owners(&ring, "_tagged..x"), Err(NoPlace::NoName(_))));
    }

    #[test]
    fn a_name_is_hashed_as_it_stands_also_where_it_is_no_files() {
        let ring = ring(&["a", "b", "c", "d"], 1);
        let direct = |name: &str| ring.owners(name).collect::<Vec<_>>();
        for name in ["a/b", "a..b", ".a", "", "café"] {
            assert_eq!(owners(&ring, name), Ok(direct(name)));
        }
    }

    /// D16: only the first copy's place is known to the Go tool.
    #[test]
    fn all_copies_are_owners_and_a_host_counts_once() {
        let ring = ring(&["a=x", "a=y", "b=x", "b=y"], 3);
        let owners = owners(&ring, "some.metric").unwrap();
        assert_eq!(owners.len(), 3);
        let hosts = hosts(&ring, &owners);
        assert_eq!(hosts.len(), 2);
        assert_eq!(hosts[0], ring.nodes()[owners[0]].host());
    }
}
