//! The only way to other daemons: which ones this daemon contacts, and with which token.
//!
//! With tokens, it contacts only the members of the ring, on the port that this daemon itself listens on, and
//! the hosts of `--peer`. A client must not be able to make this daemon send a token to the client's own
//! host, or query a host that only this daemon can reach (D9). The token is valid for some minutes, for one
//! purpose and for the metrics of the request. Without tokens nothing secret is sent, so any daemon may be
//! asked, unless `--peer` was given.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bucky_api::token::{Operation, TokenTextError};
use bucky_api::{
    Client, ClockDoubt, ClockOffset, Daemon, DaemonAddr, MAX_CLOCK_DIFFERENCE, may_trust,
};
use bucky_whisper::MetricName;

use super::{Keys, narrow};

/// Other daemons.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    client: Client,
    keys: Option<Keys>,
    /// The port of the members of the ring.
    port: u16,
    /// The daemons of `--peer`, in canonical spelling.
    named: Arc<BTreeSet<(String, u16)>>,
    /// The hosts of the ring, in canonical spelling. They change when the daemon takes another ring.
    members: Arc<RwLock<BTreeSet<String>>>,
    /// How far their clocks may differ from ours before nothing is deleted because of what they say.
    max_clock_difference: Duration,
}

/// Why another daemon is not contacted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoDaemon {
    /// It is not a known daemon.
    #[error(
        "{0} is not a member of this daemon's ring and is not named by --peer, so this daemon sends it no requests; \
         to allow them, start this buckyd with --peer {0}"
    )]
    Unknown(DaemonAddr),
    /// The token could not be made.
    #[error("cannot create a token for {addr}")]
    Token { addr: DaemonAddr, source: TokenTextError },
}

impl Peers {
    /// The peers: daemons of the ring on these hosts, all on `port`, and `named`. They are the only ones if
    /// there are tokens or names.
    pub(crate) fn new<'a>(
        client: Client,
        keys: Option<Keys>,
        hosts: impl Iterator<Item = &'a str>,
        port: u16,
        named: &[DaemonAddr],
    ) -> Self {
        let named = named.iter().map(|addr| (host_key(addr.host()), addr.port())).collect();
        let peers = Self {
            client,
            keys,
            port,
            named: Arc::new(named),
            members: Arc::default(),
            max_clock_difference: MAX_CLOCK_DIFFERENCE,
        };
        peers.take_members(hosts);
        peers
    }

    /// From now on these are the members of the ring, for all clones of this value.
    pub(crate) fn take_members<'a>(&self, hosts: impl Iterator<Item = &'a str>) {
        let hosts = hosts.map(host_key).collect();
        *self.members.write().unwrap_or_else(PoisonError::into_inner) = hosts;
    }

    fn is_member(&self, host: &str) -> bool {
        self.members.read().unwrap_or_else(PoisonError::into_inner).contains(host)
    }

    /// Sets the largest clock difference.
    #[must_use]
    pub(crate) fn with_max_clock_difference(self, max_clock_difference: Duration) -> Self {
        Self { max_clock_difference, ..self }
    }

    /// Any daemon, without a token.
    #[cfg(test)]
    pub(crate) fn everybody(client: Client) -> Self {
        Self::new(client, None, [].into_iter(), 0, &[])
    }

    /// Whether the daemon at `addr` may be contacted.
    ///
    /// # Errors
    /// [`NoDaemon::Unknown`].
    pub(crate) fn check(&self, addr: &DaemonAddr) -> Result<(), NoDaemon> {
        let is_confined = self.keys.is_some() || !self.named.is_empty();
        let (host, port) = (host_key(addr.host()), addr.port());
        let is_member = || port == self.port && self.is_member(&host);
        if !is_confined || is_member() || self.named.contains(&(host.clone(), port)) {
            return Ok(());
        }
        Err(NoDaemon::Unknown(addr.clone()))
    }

    /// Whether something may be deleted because of what a peer with this clock says.
    ///
    /// # Errors
    /// [`ClockDoubt`].
    pub(crate) fn may_trust(&self, offset: Option<ClockOffset>) -> Result<(), ClockDoubt> {
        may_trust(offset, self.max_clock_difference)
    }

    /// The daemon at `addr`, for requests within the next minutes that do only these operations, and only to
    /// these metrics.
    ///
    /// # Errors
    /// [`NoDaemon`].
    pub(crate) fn daemon<'a>(
        &self,
        addr: &DaemonAddr,
        operations: &[Operation],
        metrics: impl IntoIterator<Item = &'a MetricName> + Clone,
    ) -> Result<Daemon, NoDaemon> {
        self.check(addr)?;
        let Some(keys) = &self.keys else { return Ok(self.client.daemon(addr.clone())) };
        let token = keys.sign(operations, narrow::patterns(metrics));
        let token = token.map_err(|source| NoDaemon::Token { addr: addr.clone(), source })?;
        Ok(self.client.with_token(token).daemon(addr.clone()))
    }
}

/// A host in canonical spelling. Names are not resolved, because others may control what a name resolves to.
fn host_key(host: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(ip) => ip.to_string(),
        Err(_) => host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bucky_api::Timeouts;
    use bucky_api::token::Secret;

    fn peers(keys: Option<Keys>, named: &[&str]) -> Peers {
        let client = Client::new(Timeouts::default()).unwrap();
        let named: Vec<DaemonAddr> = named.iter().map(|text| text.parse().unwrap()).collect();
        Peers::new(client, keys, ["Graphite-1", "10.0.0.2", "fd00::2"].into_iter(), 4242, &named)
    }

    fn knows(peers: &Peers, addr: &str) -> bool {
        peers.check(&addr.parse().unwrap()).is_ok()
    }

    /// D9: the Go daemon asks any host that a client names, and sends it a token with all rights.
    #[test]
    fn d9_with_tokens_only_members_and_configured_peers_are_contacted() {
        let keys = Keys::new(Secret::new(b"secret").unwrap(), Vec::new());
        let peers = peers(Some(keys), &["old:4343"]);
        for addr in
            ["graphite-1", "GRAPHITE-1.:4242", "10.0.0.2", "[fd00::2]", "[fd00:0::2]", "old:4343"]
        {
            assert!(knows(&peers, addr), "{addr}");
        }
        for addr in ["graphite-1:22", "graphite-10", "10.0.0.3", "old", "localhost", "[::1]"] {
            assert!(!knows(&peers, addr), "{addr}");
            let error = peers.daemon(&addr.parse().unwrap(), &[], &[]).unwrap_err().to_string();
            assert!(error.contains("--peer"), "{error}");
        }
    }

    #[test]
    fn without_tokens_any_daemon_is_contacted_unless_peers_are_named() {
        assert!(knows(&peers(None, &[]), "anybody:1"));
        let confined = peers(None, &["old"]);
        assert!(knows(&confined, "old:4242") && knows(&confined, "graphite-1"));
        assert!(!knows(&confined, "anybody:1"));
    }
}
