//! A metric as a client of the Go tool names it, and what its answer says about the file.

use axum::http::HeaderValue;
use bucky_api::Encoding;
use bucky_api::go::MetricStat;
use bucky_whisper::MetricName;

use super::answer::PlainAnswer;

/// A metric as a request names it.
pub(super) struct RequestedMetric {
    /// The name as the client spelled it; `X-Metric-Stat` repeats it.
    pub(super) spelled: String,
    /// The metric it means.
    pub(super) metric: MetricName,
}

/// The value of `X-Metric-Stat` in an answer. `mode` is Unix permissions.
pub(super) fn stat_header(
    name: String,
    size: i64,
    mode: u32,
    mod_time: i64,
    encoding: Encoding,
) -> Result<HeaderValue, PlainAnswer> {
    let encoding = i64::from(encoding == Encoding::Snappy);
    let stat = MetricStat { name, size, mode: go_mode(mode), mod_time, encoding };
    HeaderValue::from_str(&stat.to_header()).map_err(PlainAnswer::internal)
}

/// Go's mode bits for Unix permissions. Setuid, setgid and sticky have other positions there.
fn go_mode(mode: u32) -> i64 {
    let bits = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = bits.iter().filter(|(unix, _)| mode & unix != 0).map(|(_, go)| go);
    i64::from(mode & 0o777) + special.sum::<i64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_written_in_gos_bits() {
        for (unix, go) in [
            (0o644, 420),
            (0o600, 384),
            (0o4644, 8_389_028),
            (0o2000, 4_194_304),
            (0o1000, 1_048_576),
        ] {
            assert_eq!(go_mode(unix), go, "{unix:o}");
        }
    }
}
