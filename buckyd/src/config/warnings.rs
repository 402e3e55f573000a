//! What the operator is told at start: settings that do nothing here, and those that are likely mistaken.

use std::net::{IpAddr, SocketAddr};

use bucky_ring::Ring;

use super::args::Args;

/// What is odd about these settings, a line each.
pub(super) fn warnings(args: &Args, node: &str, ring: &Ring) -> Vec<String> {
    let mut warnings = ring.warnings();
    if !ring.spec().nodes.iter().any(|member| member.host() == node) {
        warnings.push(format!(
            "this node calls itself {node:?}, which is no host of the ring; give -node as the ring has it, or \
             everything here counts as misplaced"
        ));
    }
    // With an empty value the Go daemon does without, too.
    for (flag, given) in [("-pprof", &args.pprof), ("-pyroscope", &args.pyroscope)] {
        if given.as_ref().is_some_and(|value| !value.is_empty()) {
            warnings.push(format!("{flag} is the Go daemon's and has no effect here"));
        }
    }
    if args.tmpdir.as_ref().is_some_and(|path| !path.is_empty()) {
        warnings.push(
            "-tmpdir has no effect: temporary files lie in the state folder (--state-dir)".into(),
        );
    }
    if args.compressed {
        warnings.push(
            "-compressed has no effect: new files are stored as they come, in whichever format; go-carbon reads and \
             writes both"
                .into(),
        );
    }
    warnings
}

/// What there is to say about listening on `local` with this ring.
pub(crate) fn exposure(local: SocketAddr, ring: &Ring, has_tokens: bool) -> Option<String> {
    if !local.ip().to_canonical().is_loopback() {
        return (!has_tokens).then(|| {
            format!(
                "listening on {local} without authentication: anyone who can reach it can read and delete metrics; \
                 -auth-jwt-secret-file FILE has them show a token"
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
        "listening on {local}: only this host can connect; give -bind IP:PORT, or -bind :PORT, to open it to the cluster"
    ))
}
