//! Warnings at start: settings that have no effect, and settings that are probably mistakes.

use std::net::{IpAddr, SocketAddr};

use bucky_ring::{Relay, Ring};

use super::args::Args;

/// Warnings about these settings, one per line.
pub(super) fn warnings(args: &Args, node: &str, ring: &Ring) -> Vec<String> {
    let mut warnings = ring.warnings();
    if args.relay.is_none() && ring.spec().relay == Relay::Buckytools {
        warnings.push(
            "no --relay was given, so the ring is computed as buckytools computes it; give the relay that writes \
             the metrics (--relay carbon, carbon-c-relay or carbon-relay-ng), or read its file with --ring-from; --relay buckytools \
             confirms this ring"
                .into(),
        );
    }
    if !ring.spec().nodes.iter().any(|member| member.host() == node) {
        warnings.push(format!(
            "this node calls itself {node:?}, which is not a host of the ring; give -node as the ring has it, or \
             every metric here counts as misplaced"
        ));
    }
    // With an empty value the feature is off in the Go daemon, too.
    for (flag, given) in [("-pprof", &args.pprof), ("-pyroscope", &args.pyroscope)] {
        if given.as_ref().is_some_and(|value| !value.is_empty()) {
            warnings.push(format!("{flag} is a flag of the Go daemon and has no effect here"));
        }
    }
    if args.tmpdir.as_ref().is_some_and(|path| !path.is_empty()) {
        warnings.push(
            "-tmpdir has no effect: temporary files are in the state folder (--state-dir)".into(),
        );
    }
    if args.compressed {
        warnings.push(
            "-compressed has no effect: new files are stored as they arrive, compressed or not; go-carbon reads and \
             writes both"
                .into(),
        );
    }
    warnings
}

/// The warning about listening on `local` with this ring, if there is one.
pub(crate) fn exposure(local: SocketAddr, ring: &Ring, has_tokens: bool) -> Option<String> {
    if !local.ip().to_canonical().is_loopback() {
        return (!has_tokens).then(|| {
            format!(
                "listening on {local} without authentication: anyone who can reach it can read and delete metrics; to \
                 require a token, give -auth-jwt-secret-file FILE"
            )
        });
    }
    let is_here = |host: &str| match host.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => host == "localhost",
    };
    if ring.spec().nodes.iter().all(|node| is_here(node.host())) {
        return None;
    }
    Some(format!(
        "listening on {local}: only this host can connect; to open it to the cluster, give -bind IP:PORT or -bind :PORT"
    ))
}
