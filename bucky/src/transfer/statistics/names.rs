//! The names of hosts that are known by their addresses.
//!
//! A resolver may take its time or never answer: it is asked on threads of its own, and whoever has no name
//! by the first sending keeps its address, so that no series has two names.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::task::JoinSet;

/// How long names are waited for before the first sending.
const PATIENCE: Duration = Duration::from_secs(2);

/// What hosts are called.
pub(super) struct HostNames {
    found: BTreeMap<String, String>,
    open: JoinSet<Option<(String, String)>>,
}

impl HostNames {
    /// All hosts are called as they are given.
    pub(super) fn none() -> Self {
        Self { found: BTreeMap::new(), open: JoinSet::new() }
    }

    /// Begins to ask for the names of those that are addresses.
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

    /// Waits a little for what has not been told yet, once.
    pub(super) async fn settle(&mut self) {
        let all = async {
            while let Some(told) = self.open.join_next().await {
                self.found.extend(told.ok().flatten());
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            self.open.detach_all();
        }
    }

    /// What this host is called.
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
            // On a machine that is busy elsewhere the resolver may not answer in time.
            if begun.elapsed() < PATIENCE {
                assert_eq!(names.name_of("127.0.0.1"), name);
                return;
            }
        }
        panic!("the resolver never answers in time");
    }
}
