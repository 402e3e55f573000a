//! `bucky pickle-relay`: pickles in, lines out.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bucky_flags::integer;
use tokio::net::TcpListener;

use crate::outcome::{Outcome, UsageError};
use crate::output::Output;
use crate::pickle_relay::{self, Settings};

/// How many metrics wait at most where `-q` sets no other limit.
const QUEUE: u32 = 100_000;
/// The most metrics that may be let wait.
const QUEUE_MOST: i64 = 100_000_000;
/// The longest pickle that may be allowed: it is held in memory.
const BYTES_MOST: i64 = 1 << 30;
/// The longest that a sender may be silent: a hundred years.
const SECONDS_MOST: i64 = 100 * 365 * 86_400;
/// What the figures of a relay begin with, before the name of its host.
const PREFIX: &str = "bucky-pickle-relay";

/// Arguments of `bucky pickle-relay`.
#[derive(clap::Args)]
#[command(
    about = "Take metrics as carbon's pickles, and send them on as lines",
    long_about = "Take metrics as carbon's pickles, and send them on as lines to HOST:PORT.\n\nA pickle is never run: what \
                  is no name with a timestamp and a value is dropped and told. Where the upstream is away it is tried \
                  again every second; meanwhile metrics wait, and where -q of them do, senders are read no further. \
                  What may have been lost with a connection is sent again over the next one, so that a line may come \
                  twice. SIGINT and SIGTERM end it once all that waits is sent, within 10 s."
)]
pub(crate) struct Args {
    /// Listen at this address
    #[arg(short = 'b', long = "bind", value_name = "HOST:PORT", default_value = ":2004")]
    bind: String,
    /// What the relay's own figures begin with [default: bucky-pickle-relay.HOST]
    #[arg(short = 'p', long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Tell of every connection
    #[arg(short = 'd', long)]
    debug: bool,
    /// Seconds after which a sender that says nothing is disconnected
    #[arg(short = 't', long, value_name = "SECONDS", default_value_t = 300, value_parser = integer::<u64>(1..=SECONDS_MOST))]
    timeout: u64,
    /// Accepted for the Go tool's sake, which does nothing with it
    #[arg(short = 's', long = "statistics", value_name = "SECONDS", hide = true, value_parser = integer::<u64>(i64::MIN..=i64::MAX))]
    unused: Option<u64>,
    /// The longest pickle, in bytes; a sender with a longer one is disconnected
    #[arg(short = 'x', long, value_name = "BYTES", default_value_t = 1_048_576, value_parser = integer::<u32>(1..=BYTES_MOST))]
    max_pickle: u32,
    /// How many metrics may wait for the upstream; 0 for 100000
    #[arg(short = 'q', long, value_name = "METRICS", default_value_t = 0, value_parser = integer::<u32>(0..=QUEUE_MOST))]
    queue: u32,
    /// How often the relay's own figures are sent: seconds, or a time such as 1m30s; 0 for never
    #[arg(short = 'i', long, value_name = "TIME", default_value = "60", value_parser = interval)]
    interval: Duration,
    /// Where lines are sent
    #[arg(value_name = "HOST:PORT")]
    upstream: String,
}

/// Runs it.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let upstream = host_port(&args.upstream).filter(|(host, port)| !host.is_empty() && *port > 0);
    if upstream.is_none() {
        let given = &args.upstream;
        return Err(UsageError::because(format!("{given:?} is no upstream; give HOST:PORT")));
    }
    let prefix = args.prefix.unwrap_or_else(default_prefix);
    if prefix.is_empty() || prefix.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(UsageError::because(format!("-p {prefix:?} is no beginning of a name")));
    }
    let settings = Settings {
        upstream: args.upstream,
        prefix,
        verbose: args.debug,
        idle: Duration::from_secs(args.timeout),
        frame_bytes: args.max_pickle,
        queue: if args.queue == 0 { QUEUE } else { args.queue },
        interval: Some(args.interval).filter(|interval| !interval.is_zero()),
    };
    let listener = listen(&args.bind).await?;
    let addr = listener.local_addr().context("the listening socket has no address")?;
    output.say(format_args!("listening at {addr}, sending to {}", settings.upstream));
    pickle_relay::run(listener, settings, output).await
}

/// Listens at `HOST:PORT`; without a host at all addresses.
async fn listen(bind: &str) -> anyhow::Result<TcpListener> {
    let Some((host, port)) = host_port(bind) else {
        return Err(UsageError::because(format!("-b {bind:?} is no address; give HOST:PORT")));
    };
    if !host.is_empty() {
        return TcpListener::bind(bind).await.with_context(|| format!("cannot listen at {bind}"));
    }
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        // A host without IPv6.
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
            let bound = TcpListener::bind(("0.0.0.0", port)).await;
            bound.with_context(|| format!("cannot listen at {bind}"))
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen at {bind}")),
    }
}

fn host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let is_bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if is_bare_ipv6 { None } else { Some((host, port.parse().ok()?)) }
}

fn default_prefix() -> String {
    let system = rustix::system::uname();
    let host: String = system
        .nodename()
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_alphanumeric() || "-_".contains(c) { c } else { '_' })
        .collect();
    format!("{PREFIX}.{host}")
}

/// A time: a number of seconds, or as Go writes one: `1m30s`, `1.5h`, `90s`.
///
/// D38: the Go relay takes the nanoseconds of a time for seconds, so that `-i 60s` never comes to an end.
fn interval(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no time; give seconds, or a time such as 1m30s");
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(Duration::from_secs).map_err(|_| bad());
    }
    let (mut seconds, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| bad())?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        seconds += number
            * match unit {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(bad()),
            };
        rest = after;
    }
    let time = Duration::try_from_secs_f64(seconds).map_err(|_| bad())?;
    if time < Duration::from_secs(1) {
        return Err(format!(
            "{text} is less than a second; where the Go relay was given nanoseconds and took them for seconds, \
             give seconds"
        ));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D38: the Go relay refuses `-i 60`, and takes the nanoseconds of `60s` for seconds.
    #[test]
    fn an_interval_is_in_seconds_or_in_go_units() {
        for (text, seconds) in [
            ("60", 60.0),
            ("0", 0.0),
            ("60s", 60.0),
            ("1m30s", 90.0),
            ("1.5h", 5400.0),
            ("1500ms", 1.5),
        ] {
            assert_eq!(interval(text).map(|time| time.as_secs_f64()), Ok(seconds), "{text}");
        }
        for text in ["", "-1", "1d", "s", "1.2.3s", "10ns", "1m x", "9e99h", "99999999999999999999"]
        {
            assert!(interval(text).is_err(), "{text}");
        }
        assert!(interval("60ns").unwrap_err().contains("took them for seconds"));
    }

    #[test]
    fn addresses_need_a_port_and_ipv6_its_brackets() {
        assert_eq!(host_port(":2004"), Some(("", 2004)));
        assert_eq!(host_port("a.b:1"), Some(("a.b", 1)));
        assert_eq!(host_port("[::1]:2004"), Some(("[::1]", 2004)));
        for text in ["", "a", "a:", "a:x", "a:70000", "::1:2004"] {
            assert_eq!(host_port(text), None, "{text}");
        }
    }

    #[test]
    fn the_own_figures_begin_with_the_hosts_name_as_one_part() {
        let prefix = default_prefix();
        assert!(
            prefix.starts_with("bucky-pickle-relay.") && prefix.split('.').count() == 2,
            "{prefix}"
        );
    }
}
