//! Asks the nodes' carbons from time to time how full their caches are, and reports when one becomes full or
//! stops answering.

use std::fmt;
use std::time::{Duration, Instant};

use bucky_api::{CarbonCache, Daemon, DaemonAddr};
use futures_util::{StreamExt, stream};

use super::Pace;
use super::speed::CacheState;
use crate::chain;
use crate::output::Output;
use crate::transfer::options::HealthOptions;

/// How many carbons are asked at once.
const ASKED_AT_ONCE: usize = 32;
/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node with a watched carbon.
pub(crate) struct Watched {
    /// The daemon beside it.
    pub(crate) node: DaemonAddr,
    /// The address at which carbon reports its state.
    pub(crate) carbon: Daemon,
}

impl Pace {
    /// The port of the carbons, if they are watched.
    pub(crate) fn watched_port(&self) -> Option<u16> {
        self.options.health.as_ref().map(|health| health.port)
    }

    /// Watches `nodes` for as long as it is polled.
    pub(crate) async fn watch(&self, nodes: &[Watched], output: &Output) {
        let Some(options) = &self.options.health else { return std::future::pending().await };
        let mut interval = tokio::time::interval(options.interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let looks = nodes.iter().map(|node| self.look(node, options, output));
            stream::iter(looks).buffer_unordered(ASKED_AT_ONCE).collect::<()>().await;
        }
    }

    async fn look(&self, watched: &Watched, options: &HealthOptions, output: &Output) {
        let carbon = &watched.carbon;
        let answer = tokio::time::timeout(PATIENCE, carbon.carbon_cache()).await;
        let (cache, reason) = match answer {
            Ok(Ok(cache)) => (Some(cache), String::new()),
            Ok(Err(error)) => (None, chain(&error)),
            Err(_) => {
                let seconds = PATIENCE.as_secs();
                (None, format!("{}: no answer within {seconds} s", carbon.addr()))
            }
        };
        if let Some(state) = self.note(&watched.node, cache, options, Instant::now()) {
            let host = watched.node.host();
            output.say(CacheChange { host, state, cache, reason: &reason });
        }
    }
}

/// A change of a carbon's state, for people.
struct CacheChange<'a> {
    host: &'a str,
    state: CacheState,
    cache: Option<CarbonCache>,
    reason: &'a str,
}

impl fmt::Display for CacheChange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host;
        match (self.state, self.cache) {
            (CacheState::Fine, _) => {
                write!(
                    f,
                    "bucky: the carbon cache on {host} is no longer full; the rate there rises again"
                )
            }
            (CacheState::Full, Some(cache)) => write!(
                f,
                "bucky: the carbon cache on {host} is full ({} of {}); the rate there is back to \
                 --metrics-per-second",
                cache.size, cache.limit
            ),
            (CacheState::Full | CacheState::Silent, _) => write!(
                f,
                "bucky: cannot read the carbon cache on {host}; the rate there is --metrics-per-second until \
                 it answers: {}",
                self.reason
            ),
        }
    }
}
