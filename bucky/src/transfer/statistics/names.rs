//! The names of hosts that are given as addresses.
//!
//! A resolver may be slow or never answer. It is asked on threads of its own. A host without a name at the
//! first sending keeps its address, so that no series has two names.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::task::JoinSet;

/// How long to wait for names before the first sending.
const PATIENCE: Duration = Duration::from_secs(2);

/// The names of hosts.
pub(super) struct HostNames {
    found: BTreeMap<String, String>,
    open: JoinSet<Option<(String, String)>>,
}

impl HostNames {
    /// All hosts keep the names that were given.
    pub(super) fn none() -> Self {
        Self { found: BTreeMap::new(), open: JoinSet::new() }
    }

    /// Starts to look up the names of hosts that are given as addresses.
    pub(super) fn look_up<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names = Self::none();
        for host in hosts {
            let Ok(ip) = host.parse::<IpAddr>() else { continue };
            let host = host.to_owned();
            names.open.spawn_blocking(move || {
                let name = dns_lookup::lookup_addr(&ip).ok()?;
                Some((host, name))
            });
        }
        names
    }

    /// Waits a little for missing names, once.
    pub(super) async fn settle(&mut self) {
        let all = async {
            while let Some(looked_up) = self.open.join_next().await {
                self.found.extend(looked_up.ok().flatten());
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            self.open.detach_all();
        }
    }

    /// The name of this host.
    pub(super) fn name_of(&self, host: &str) -> String {
        self.found.get(host).cloned().unwrap_or_else(|| host.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn addresses_get_names_and_names_stay_as_they_are() {
        assert_eq!(HostNames::none().name_of("127.0.0.1"), "127.0.0.1");
        let name = dns_lookup::lookup_addr(&[127, 0, 0, 1].into()).unwrap();
        for _ in 0..20 {
            let mut names = HostNames::look_up(["127.0.0.1", "graphite-1"]);
            let begun = Instant::now();
            names.settle().await;
            assert_eq!(names.name_of("graphite-1"), "graphite-1");
            // On a busy machine the resolver may not answer in time.
            if begun.elapsed() < PATIENCE {
                assert_eq!(names.name_of("127.0.0.1"), name);
                return;
            }
        }
        panic!("the resolver never answers in time");
    }
}
