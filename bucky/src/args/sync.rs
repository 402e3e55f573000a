//! Arguments of the commands that move or copy many metrics: `rebalance`, `copy`, `backfill2`.
//!
//! The Go tool's flags with its defaults, and ours. [`SyncArgs::options`] decides what they mean together.

use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use bucky_api::DaemonAddr;

use super::batch::{BatchArgs, PASSED};
use super::clock::ClockArgs;
use super::cluster::ClusterArgs;
use super::heading;
use crate::transfer::options::{
    HealthOptions, PaceOptions, Repairs, SourceRules, StatisticsOptions, SyncOptions,
};
use crate::transfer::{MoveOrder, MoveSelection, Task};

/// The metrics a second of a node with a watched cache, if no rate is given (the Go tool's default).
const WATCHED_METRICS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN;

/// How metrics are moved, how fast, and what is reported where.
#[derive(clap::Args, Debug)]
pub(crate) struct SyncArgs {
    /// Print the plan and change nothing
    #[arg(long, visible_alias = "dry-run", help_heading = heading::WHAT_MOVES)]
    pub(crate) no_op: bool,
    /// Keep the sources
    #[arg(long, overrides_with = "delete", help_heading = heading::WHAT_MOVES)]
    pub(crate) no_delete: bool,
    /// Delete each source when all its owners have it on disk
    #[arg(long, overrides_with = "no_delete", help_heading = heading::WHAT_MOVES)]
    pub(crate) delete: bool,
    #[command(flatten)]
    pub(crate) clocks: ClockArgs,
    #[command(flatten)]
    pub(crate) batches: BatchArgs,
    /// Slow down for nodes whose go-carbon cache is full (GET /admin/info)
    ///
    /// Each node starts at --metrics-per-second [default: 1]. A node whose cache is full returns to that
    /// rate; the others speed up step by step.
    #[arg(long, help_heading = heading::GO, hide_short_help = true)]
    go_carbon_health_check: bool,
    /// Seconds between two checks of a cache
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = bucky_flags::integer::<u64>(1..=86_400), help_heading = heading::GO, hide_short_help = true)]
    go_carbon_health_check_interval: u64,
    /// Protocol for /admin/info; only http is supported
    #[arg(long, value_name = "PROTOCOL", default_value = "http", value_parser = protocol, help_heading = heading::GO, hide_short_help = true)]
    go_carbon_protocol: String,
    /// Port of /admin/info
    #[arg(long, value_name = "PORT", default_value_t = 8080, value_parser = bucky_flags::integer::<u16>(1..=65_535), help_heading = heading::GO, hide_short_help = true)]
    go_carbon_port: u16,
    /// Share of its limit at which a cache counts as full
    #[arg(long, value_name = "SHARE", default_value = "0.75", value_parser = threshold, help_heading = heading::GO, hide_short_help = true)]
    go_carbon_cache_threshold: f64,
    /// Seconds after which a node whose cache is not full gets 1 to 5 more metrics a second; 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = bucky_flags::integer::<i64>(i64::MIN..=i64::MAX), help_heading = heading::GO, hide_short_help = true)]
    sync_speed_up_interval: i64,
    /// Do not randomly slow down nodes that run at three times --metrics-per-second or more
    #[arg(long, help_heading = heading::GO, hide_short_help = true)]
    no_random_easing: bool,
    /// Accepted for compatibility with the Go tool: a metric that is gone by its turn never makes a run fail
    #[arg(long = "ignore404", hide = true)]
    ignore404: bool,
    /// Exit with 0 if at most N metrics were not copied and at most N sources were not deleted
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = bucky_flags::integer::<u64>(0..=i64::MAX), help_heading = heading::GO, hide_short_help = true)]
    error_tolerance: u64,
    /// Print the name of each metric whose source is deleted, on standard error
    #[arg(long, help_heading = heading::OUTPUT, hide_short_help = true)]
    print_deletion: bool,
    /// Append a line to this file for each metric that was not copied
    ///
    /// The line is `TIME src,NAME,HOST:PORT` if the source failed, and `TIME dst,NAME,HOST:PORT` if the
    /// destination failed. --errors also has the reasons.
    #[arg(long, value_name = "FILE", help_heading = heading::GO, hide_short_help = true)]
    metric_err_file: Option<PathBuf>,
    /// Append a line of JSON to this file for each metric that is done, and skip the metrics that are in it
    ///
    /// Useful for copies. A move does not find again what was moved, and --journal costs less time.
    #[arg(long, value_name = "FILE", help_heading = heading::GO, hide_short_help = true)]
    job_state_file: Option<PathBuf>,
    /// Send statistics about the run to this carbon, as plaintext lines
    #[arg(long, value_name = "HOST:PORT", value_parser = endpoint, help_heading = heading::GO, hide_short_help = true)]
    graphite_endpoint: Option<DaemonAddr>,
    /// First part of the names of these statistics
    #[arg(long, value_name = "NAME", default_value = "carbon.buckytools", value_parser = prefix, help_heading = heading::GO, hide_short_help = true)]
    graphite_metrics_prefix: String,
    /// Seconds between two sets of statistics
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = bucky_flags::integer::<u64>(1..=86_400), help_heading = heading::GO, hide_short_help = true)]
    graphite_stat_interval: u64,
    /// Use host names instead of addresses in the names of statistics
    #[arg(long, help_heading = heading::GO, hide_short_help = true)]
    graphite_ip_to_hostname: bool,
    /// Accepted for compatibility with the Go tool: destinations always fetch by themselves
    #[arg(long, hide = true)]
    offload: bool,
    /// Accepted for compatibility with the Go tool
    #[arg(long = "testing.worker-sleep-seconds", hide = true, default_value_t = 0, value_parser = bucky_flags::integer::<i64>(i64::MIN..=i64::MAX))]
    testing_worker_sleep_seconds: i64,
}

/// The flag as the help of a command shows it whose default it is.
pub(crate) fn default(flag: clap::Arg) -> clap::Arg {
    let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
    flag.help(format!("{help} (default)"))
}

impl SyncArgs {
    /// Whether sources are deleted; `by_default` decides if no flag was given.
    pub(crate) fn deletes(&self, by_default: bool) -> bool {
        if by_default { !self.no_delete } else { self.delete }
    }

    /// The order to copy whole nodes: everything that the node at `seed`, or its cluster, has. Sources stay
    /// unless a flag says that they are deleted: a command called copy must not lose anything by default.
    pub(crate) fn copying(&self, cluster: &ClusterArgs, seed: DaemonAddr) -> MoveOrder {
        MoveOrder {
            task: Task::Copy,
            seed,
            selected: MoveSelection::default(),
            preparation: self.batches.preparation(false, self.no_op),
            sources: SourceRules {
                deletes: self.deletes(false),
                copies_from_owners: true,
                ..SourceRules::default()
            },
            batching: self.batches.batching(cluster, PASSED),
            journal: None,
            sync: self.options(),
            verbose: cluster.verbose,
        }
    }

    /// How fast metrics travel, and what is reported where.
    pub(crate) fn options(&self) -> SyncOptions {
        let seconds = |seconds: i64| {
            u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
        };
        let health = self.go_carbon_health_check.then(|| HealthOptions {
            port: self.go_carbon_port,
            interval: Duration::from_secs(self.go_carbon_health_check_interval),
            threshold: self.go_carbon_cache_threshold,
            speed_up_interval: seconds(self.sync_speed_up_interval),
            eases_at_random: !self.no_random_easing,
        });
        let statistics = self.graphite_endpoint.as_ref().map(|endpoint| StatisticsOptions {
            endpoint: endpoint.clone(),
            prefix: self.graphite_metrics_prefix.clone(),
            interval: Duration::from_secs(self.graphite_stat_interval),
            names_hosts: self.graphite_ip_to_hostname,
        });
        let watched = health.is_some().then_some(WATCHED_METRICS_PER_SECOND);
        let pace = self.batches.pace();
        SyncOptions {
            on_schema_difference: self.batches.schema.on_schema_difference,
            give_up_most: if self.batches.schema.yes { u64::MAX } else { 0 },
            preview: None,
            pace: PaceOptions {
                metrics_per_second: pace.metrics_per_second.or(watched),
                health,
                ..pace
            },
            statistics,
            errors: self.batches.errors.clone(),
            metric_errors: self.metric_err_file.clone(),
            job_state: self.job_state_file.clone(),
            error_tolerance: self.error_tolerance,
            repairs: Repairs::default(),
            names_deletions: self.print_deletion,
            max_clock_difference: self.clocks.max_clock_difference,
        }
    }
}

fn protocol(text: &str) -> Result<String, String> {
    match text {
        "http" => Ok(text.to_owned()),
        "https" => Err("bucky does not support TLS; give http".into()),
        _ => Err("not a supported protocol; give http".into()),
    }
}

fn threshold(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("not a number: {text}"))?;
    if share > 0.0 && share <= 1.0 {
        Ok(share)
    } else {
        Err(format!("not a share of a cache: {text} (more than 0, at most 1)"))
    }
}

fn endpoint(text: &str) -> Result<DaemonAddr, String> {
    let addr: DaemonAddr = text.parse().map_err(|error| format!("{error}"))?;
    // Without a port, [`DaemonAddr`] would take the daemons' port, and this is carbon's.
    let has_port =
        text.parse::<Ipv6Addr>().is_err() && text.ends_with(&format!(":{}", addr.port()));
    if has_port { Ok(addr) } else { Err(format!("{text} has no port (try {text}:2003)")) }
}

fn prefix(text: &str) -> Result<String, String> {
    let prefix = text.trim_end_matches('.');
    if prefix.is_empty() || prefix.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("not the beginning of a metric name: {text:?}"));
    }
    Ok(prefix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        sync: SyncArgs,
    }

    fn read(args: &[&str]) -> Result<SyncArgs, String> {
        let line = Line::try_parse_from(["x"].iter().chain(args));
        line.map(|line| line.sync).map_err(|error| error.to_string())
    }

    #[test]
    fn a_twentieth_of_the_room_is_left_unless_it_is_said_otherwise() {
        use crate::plan::room::Reserve;
        assert_eq!(read(&[]).unwrap().batches.reserve, Reserve::Percent(5.0));
        assert_eq!(read(&["--reserve", "0"]).unwrap().batches.reserve, Reserve::NONE);
    }

    fn options(args: &[&str]) -> SyncOptions {
        read(args).unwrap().options()
    }

    #[test]
    fn the_defaults_are_those_of_the_go_tool() {
        let args = read(&["--go-carbon-health-check", "--graphite-endpoint", "g:2003"]).unwrap();
        let options = args.options();
        assert_eq!(
            options.pace.health,
            Some(HealthOptions {
                port: 8080,
                interval: Duration::from_secs(10),
                threshold: 0.75,
                speed_up_interval: Some(Duration::from_secs(600)),
                eases_at_random: true,
            })
        );
        assert_eq!(options.pace.metrics_per_second.map(NonZeroU32::get), Some(1));
        assert_eq!(
            options.statistics,
            Some(StatisticsOptions {
                endpoint: "g:2003".parse().unwrap(),
                prefix: "carbon.buckytools".into(),
                interval: Duration::from_secs(60),
                names_hosts: false,
            })
        );
        assert_eq!((options.error_tolerance, options.names_deletions), (0, false));
        assert!(args.deletes(true) && !args.deletes(false), "a move deletes, a copy does not");
    }

    #[test]
    fn the_go_tools_flags_without_effect_are_accepted() {
        let plain = options(&[]);
        let args = ["--offload", "--ignore404", "--testing.worker-sleep-seconds=3"];
        assert_eq!(options(&args), plain);
    }

    #[test]
    fn without_a_flag_nothing_is_held_back_and_nothing_is_sent() {
        let options = options(&[]);
        let pace = PaceOptions { bytes_per_second: None, metrics_per_second: None, health: None };
        assert_eq!((options.pace, options.statistics), (pace, None));
    }

    /// D34: the Go tool panics with `-metrics-per-second 0` or a health check interval of 0.
    #[test]
    fn rates_and_intervals_of_nothing_are_refused() {
        for flag in [
            "--metrics-per-second",
            "--go-carbon-health-check-interval",
            "--graphite-stat-interval",
        ] {
            for value in ["0", "-1", "x"] {
                let error = read(&[&format!("{flag}={value}")]).unwrap_err();
                assert!(error.contains(flag), "{error}");
            }
        }
        assert_eq!(
            options(&["--go-carbon-health-check", "--sync-speed-up-interval=0"])
                .pace
                .health
                .unwrap()
                .speed_up_interval,
            None
        );
        assert_eq!(
            options(&["--go-carbon-health-check", "--sync-speed-up-interval=-5"])
                .pace
                .health
                .unwrap()
                .speed_up_interval,
            None
        );
    }

    /// D33: the Go tool notices it at the end of the run, and then logs thousands of lines.
    #[test]
    fn an_endpoint_needs_a_host_and_a_port() {
        assert_eq!(endpoint("g:2003").unwrap().port(), 2003);
        assert_eq!(endpoint("[::1]:2003").unwrap().host(), "::1");
        for text in ["", "g", "g:", ":2003", "g:x", "g:0", "::1", "fe80::4242"] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_http_is_spoken_to_carbon() {
        let error = read(&["--go-carbon-protocol=https"]).unwrap_err();
        assert!(error.contains("not support TLS"), "{error}");
        assert!(read(&["--go-carbon-protocol=http"]).is_ok());
    }

    #[test]
    fn a_share_of_a_cache_is_above_nothing_and_at_most_all() {
        for text in ["0", "-1", "1.01", "nan", "inf", "x"] {
            assert!(threshold(text).is_err(), "{text}");
        }
        assert_eq!(threshold("1"), Ok(1.0));
    }
}
