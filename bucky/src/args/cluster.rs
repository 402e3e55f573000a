//! Arguments of every command that speaks to a cluster: which cluster, and how long to wait for it.

use std::path::PathBuf;
use std::time::Duration;

use bucky_api::token::TOKEN_LIMIT_BYTES;
use bucky_api::{Client, DaemonAddr, Timeouts, Token};
use bucky_flags::integer;

use super::heading;
use super::short_file::read_short_file;
use crate::byte_order_mark::without_mark;
use crate::cluster::{Cluster, Scope};
use crate::outcome::UsageError;
use crate::output::Output;

/// The daemon to ask if none is given.
const DEFAULT_HOST: &str = "localhost:4242";
/// The environment variable that names it.
const HOST_VARIABLE: &str = "BUCKYHOST";
/// The longest time to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// Flags of every command that speaks to a cluster.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ClusterArgs {
    /// Daemon to ask first [default: $BUCKYHOST, else localhost:4242]
    ///
    /// All nodes are asked on the port of this one.
    #[arg(short = 'h', long = "host", value_name = "HOST[:PORT]", help_heading = heading::CONNECTION)]
    host: Option<DaemonAddr>,
    /// Use only the node at -h
    #[arg(short = 's', long, help_heading = heading::CONNECTION)]
    pub(crate) single: bool,
    /// Seconds to wait for an answer
    #[arg(short = 't', long, value_name = "SECONDS", default_value_t = 30, value_parser = integer::<u64>(1..=86_400), help_heading = heading::CONNECTION)]
    pub(crate) timeout: u64,
    /// Seconds that an answer may pause after it has begun [default: 60]
    ///
    /// A busy daemon sends something every 5 s. The default is --timeout if that is longer than 60.
    #[arg(long, value_name = "SECONDS", value_parser = integer::<u64>(1..=86_400), help_heading = heading::CONNECTION, hide_short_help = true)]
    idle_timeout: Option<u64>,
    /// Seconds to keep trying a node that is down
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = integer::<u64>(0..=86_400), help_heading = heading::CONNECTION)]
    away_timeout: u64,
    /// Print which nodes are asked, and each metric that is done
    #[arg(short = 'v', long, help_heading = heading::OUTPUT)]
    pub(crate) verbose: bool,
    /// Ask for uncompressed files
    #[arg(long = "no-encoding", help_heading = heading::GO, hide_short_help = true)]
    pub(crate) no_encoding: bool,
    /// Token for daemons that require one
    ///
    /// `bucky token` creates it.
    #[arg(long, value_name = "FILE", help_heading = heading::CONNECTION)]
    api_token_file: Option<PathBuf>,
}

impl ClusterArgs {
    /// The daemon to ask first.
    ///
    /// # Errors
    /// [`UsageError`] if `BUCKYHOST` is not a valid address.
    pub(crate) fn host(&self) -> anyhow::Result<DaemonAddr> {
        if let Some(host) = &self.host {
            return Ok(host.clone());
        }
        let variable = std::env::var(HOST_VARIABLE).unwrap_or_default();
        let text = if variable.is_empty() { DEFAULT_HOST } else { &variable };
        text.parse().map_err(|error| UsageError::because(format!("{HOST_VARIABLE}: {error}")))
    }

    /// A client with the timeouts and the token that were given.
    ///
    /// # Errors
    /// [`UsageError`] if the file does not contain a token; any error of setting up the HTTP library.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let answer = Duration::from_secs(self.timeout);
        let defaults = Timeouts::default();
        let timeouts = Timeouts {
            connect: CONNECT.min(answer),
            answer,
            idle: self.idle_timeout.map_or(answer.max(defaults.idle), Duration::from_secs),
            upload: answer.max(defaults.upload),
            away: Duration::from_secs(self.away_timeout),
        };
        let client = Client::new(timeouts)?;
        Ok(match self.token()? {
            Some(token) => client.with_token(token),
            None => client,
        })
    }

    /// D36: the Go tool panics if the file cannot be read.
    fn token(&self) -> anyhow::Result<Option<Token>> {
        let Some(path) = &self.api_token_file else { return Ok(None) };
        let in_context = |reason: String| {
            UsageError::because(format!("-api-token-file {}: {reason}", path.display()))
        };
        let content = read_short_file(path, TOKEN_LIMIT_BYTES)
            .map_err(|error| in_context(error.to_string()))?;
        Token::parse(without_mark(&content))
            .map(Some)
            .map_err(|error| in_context(error.to_string()))
    }
}

/// The cluster that `args` select: all of it, or with `-s` only the node at `-h`.
///
/// # Errors
/// [`crate::outcome::UnhealthyError`] if `-h` gives no ring.
pub(crate) async fn discover(args: &ClusterArgs, output: &Output) -> anyhow::Result<Cluster> {
    // D7: the Go tool accepts -s and still asks, or deletes from, all nodes.
    let scope = if args.single { Scope::Single } else { Scope::All };
    let cluster = Cluster::discover(args.client()?, args.host()?, scope).await?;
    if args.verbose {
        cluster.print_members(output);
    }
    Ok(cluster)
}
