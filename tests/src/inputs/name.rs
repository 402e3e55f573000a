//! Names of metrics and paths of files: each maps only to the other.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use bucky_whisper::{MetricName, Series};

pub(super) fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(metric) = MetricName::parse(text)
    {
        assert_is_one_file(&metric);
    }
    let path = Path::new(OsStr::from_bytes(bytes));
    if let Ok(metric) = MetricName::from_relative_path(path) {
        // A path may have more slashes than components.
        assert_eq!(metric.relative_path(), path, "{metric} means another file");
        assert_is_one_file(&metric);
    }
}

fn assert_is_one_file(metric: &MetricName) {
    let path = metric.relative_path();
    let bytes = path.as_os_str().as_bytes();
    assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
    assert!(bytes.len() <= 4096 && !bytes.contains(&0) && !bytes.contains(&b'\n'), "{path:?}");
    assert!(bytes.split(|byte| *byte == b'/').all(|part| part.len() <= 255), "{path:?}");
    assert!(bytes.split(|byte| *byte == b'/').all(|part| !part.starts_with(b".")), "{path:?}");
    assert_eq!(MetricName::from_relative_path(&path).as_ref(), Ok(metric));
    assert_eq!(MetricName::parse(metric.as_str()).as_ref(), Ok(metric));
    let json = serde_json::to_string(metric).unwrap();
    assert_eq!(serde_json::from_str::<MetricName>(&json).unwrap(), *metric);
    if let Series::Known(series) = metric.series() {
        assert!(!series.is_empty(), "{metric} has a series without a name");
    }
}
