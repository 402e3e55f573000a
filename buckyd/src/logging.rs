//! Where events go: requests to stdout, everything else to stderr, as text or as JSON lines.

use std::io;

use tracing_subscriber::filter::{EnvFilter, FilterFn};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry};

use crate::access_log::TARGET;
use crate::config::LogFormat;

/// Starts the log. `RUST_LOG` chooses the events; the default is info and above.
///
/// # Errors
/// If a log was started before.
pub(crate) fn start(format: LogFormat) -> Result<(), TryInitError> {
    let requests = FilterFn::new(|event| event.target() == TARGET);
    let others = FilterFn::new(|event| event.target() != TARGET);
    let level = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    match format {
        LogFormat::Text => {
            let access = fmt::layer()
                .with_writer(io::stdout)
                .with_ansi(false)
                .without_time()
                .with_level(false)
                .with_target(false);
            let events = fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(false);
            Registry::default()
                .with(access.with_filter(requests))
                .with(events.with_filter(others).with_filter(level))
                .try_init()
        }
        LogFormat::Json => {
            let access = fmt::layer().json().flatten_event(true).with_writer(io::stdout);
            let events = fmt::layer().json().flatten_event(true).with_writer(io::stderr);
            Registry::default()
                .with(access.with_filter(requests))
                .with(events.with_filter(others).with_filter(level))
                .try_init()
        }
    }
}
