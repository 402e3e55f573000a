//! `bucky pickle-relay`: receives pickles and sends lines.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bucky_flags::integer;
use tokio::net::TcpListener;

use crate::outcome::{Outcome, UsageError};
use crate::output::Output;
use crate::pickle_relay::{self, Settings};

/// How many metrics wait at most if `-q` sets no other limit.
const QUEUE: u32 = 100_000;
/// The largest value of `-q`.
const QUEUE_MOST: i64 = 100_000_000;
/// The longest pickle that can be allowed: it is held in memory.
const BYTES_MOST: i64 = 1 << 30;
/// The longest time that a sender can be allowed to be silent: a hundred years.
const SECONDS_MOST: i64 = 100 * 365 * 86_400;
/// The prefix of a relay's own statistics, before the name of its host.
const PREFIX: &str = "bucky-pickle-relay";

/// Arguments of `bucky pickle-relay`.
#[derive(clap::Args)]
#[command(
    about = "Receive metrics as carbon pickles and forward them as plaintext lines",
    long_about = "Receive metrics as carbon pickles and forward them as plaintext lines to \
                  HOST:PORT.\n\n\
                  Pickles are never executed: an entry that is not a name with a timestamp and a value is \
                  dropped and reported. If the upstream is down, the relay tries again every second. Metrics \
                  wait meanwhile; once -q of them wait, the relay stops reading from its senders. Metrics that \
                  may have been lost with a connection are sent again on the next one, so a line may arrive \
                  twice. SIGINT and SIGTERM stop the relay after it has sent what is waiting, for at most 10 \
                  s.",
    after_help = "Examples:\n\
        \x20 bucky pickle-relay -b 127.0.0.1:2004 graphite-1:2003",
    after_long_help = "Exit codes: 0 stopped after everything was sent, 1 something was not sent or it\n\
        could not listen, 2 wrong usage."
)]
pub(crate) struct Args {
    /// Address to listen on
    #[arg(short = 'b', long = "bind", value_name = "HOST:PORT", default_value = ":2004")]
    bind: String,
    /// First part of the names of the relay's own statistics [default: bucky-pickle-relay.HOST]
    #[arg(short = 'p', long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Log every connection
    #[arg(short = 'd', long)]
    debug: bool,
    /// Seconds after which a silent sender is disconnected
    #[arg(short = 't', long, value_name = "SECONDS", default_value_t = 300, value_parser = integer::<u64>(1..=SECONDS_MOST))]
    timeout: u64,
    /// Accepted for compatibility with the Go tool; it has no effect there either
    #[arg(short = 's', long = "statistics", value_name = "SECONDS", hide = true, value_parser = integer::<u64>(i64::MIN..=i64::MAX))]
    unused: Option<u64>,
    /// Longest pickle in bytes; a sender with a longer one is disconnected
    #[arg(short = 'x', long, value_name = "BYTES", default_value_t = 1_048_576, value_parser = integer::<u32>(1..=BYTES_MOST))]
    max_pickle: u32,
    /// Most metrics that wait for the upstream; 0 means 100000
    #[arg(short = 'q', long, value_name = "METRICS", default_value_t = 0, value_parser = integer::<u32>(0..=QUEUE_MOST))]
    queue: u32,
    /// Time between two sets of the relay's own statistics, such as 60 or 1m30s; 0: never
    #[arg(short = 'i', long, value_name = "TIME", default_value = "60", value_parser = interval)]
    interval: Duration,
    /// Carbon to send the lines to
    #[arg(value_name = "HOST:PORT")]
    upstream: String,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let upstream = host_port(&args.upstream).filter(|(host, port)| !host.is_empty() && *port > 0);
    if upstream.is_none() {
        let given = &args.upstream;
        return Err(UsageError::because(format!(
            "not a valid upstream: {given:?} (give HOST:PORT)"
        )));
    }
    let prefix = args.prefix.unwrap_or_else(default_prefix);
    if prefix.is_empty() || prefix.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(UsageError::because(format!(
            "-p {prefix:?}: not the beginning of a metric name"
        )));
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
    output.say(format_args!("listening on {addr}, sending to {}", settings.upstream));
    pickle_relay::run(listener, settings, output).await
}

/// Listens at `HOST:PORT`, or at all addresses without a host.
async fn listen(bind: &str) -> anyhow::Result<TcpListener> {
    let Some((host, port)) = host_port(bind) else {
        return Err(UsageError::because(format!(
            "-b {bind:?}: not a valid address (give HOST:PORT)"
        )));
    };
    if !host.is_empty() {
        return TcpListener::bind(bind).await.with_context(|| format!("cannot listen on {bind}"));
    }
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        // The host has no IPv6.
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
            let bound = TcpListener::bind(("0.0.0.0", port)).await;
            bound.with_context(|| format!("cannot listen on {bind}"))
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {bind}")),
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
/// D38: the Go relay takes the nanoseconds of a time for seconds, so that `-i 60s` never ends.
fn interval(text: &str) -> Result<Duration, String> {
    let bad = || format!("not a valid time: {text:?} (try 90 or 1m30s)");
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
            "{text} is less than a second; give seconds (the Go relay took nanoseconds for seconds)"
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
        assert!(interval("60ns").unwrap_err().contains("took nanoseconds for seconds"));
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
