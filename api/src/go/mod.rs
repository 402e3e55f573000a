//! The Go tool's side of the contract: the `X-Metric-Stat` header, and owners whose daemon is the Go tool's.
//!
//! Both kinds of daemon speak it, and `bucky` needs it for daemons without `/v1`.

pub mod owner;

use serde::Serialize;

use crate::archive::FileMeta;

/// The header that describes a metric's file, in JSON.
pub const METRIC_STAT_HEADER: &str = "x-metric-stat";
/// The only media type that the Go daemon accepts for a metric.
pub const OCTET_STREAM: &str = "application/octet-stream";
/// The media type of list requests.
pub const FORM: &str = "application/x-www-form-urlencoded";
/// The answer of a daemon without a ready list, with status 202.
pub const NOT_READY_BODY: &str = "Cache update in progress.\n";
/// The Go daemon refuses files up to this length as too small.
pub const SMALLEST_REFUSED_BYTES: i64 = 28;

/// The value of `X-Metric-Stat`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetricStat {
    /// The metric's name as it was requested.
    pub name: String,
    /// The length of the plain file.
    pub size: i64,
    /// Go's mode bits: the permissions, and above them kinds of files.
    pub mode: i64,
    /// Last written, in Unix seconds.
    pub mod_time: i64,
    /// 0 for a plain body, 1 for snappy.
    pub encoding: i64,
}

/// Why a stat header could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MetricStatError {
    /// Not JSON.
    #[error("the X-Metric-Stat header is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// JSON, but not an object.
    #[error("the X-Metric-Stat header is not a JSON object")]
    NotAnObject,
    /// A field of another type.
    #[error("field {field} of the X-Metric-Stat header is {found}")]
    BadField {
        /// Which field.
        field: &'static str,
        /// The value that was found.
        found: String,
    },
}

impl MetricStat {
    /// Permissions and time of change, as in an archive. A time before 1970 becomes 1970.
    pub fn file_meta(&self) -> FileMeta {
        FileMeta {
            mode: u32::try_from(self.mode & 0o777).unwrap_or(0o644),
            mtime: u64::try_from(self.mod_time).unwrap_or(0),
        }
    }

    /// Parses the header's value: keys match in any letter case, unknown ones are ignored, a missing number
    /// is 0.
    ///
    /// # Errors
    /// [`MetricStatError`]. A number with a fraction or in quotes is refused, as in the Go tool.
    pub fn parse(text: &str) -> Result<Self, MetricStatError> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(MetricStatError::NotJson)?;
        let object = value.as_object().ok_or(MetricStatError::NotAnObject)?;
        let find = |field: &str| {
            object.iter().find(|(key, _)| key.eq_ignore_ascii_case(field)).map(|(_, value)| value)
        };
        let number = |field: &'static str| match find(field) {
            None | Some(serde_json::Value::Null) => Ok(0),
            Some(value) => value
                .as_i64()
                .filter(|_| value.is_i64() || value.is_u64())
                .ok_or_else(|| MetricStatError::BadField { field, found: value.to_string() }),
        };
        let name = match find("Name") {
            None | Some(serde_json::Value::Null) => String::new(),
            Some(serde_json::Value::String(name)) => name.clone(),
            Some(other) => {
                return Err(MetricStatError::BadField { field: "Name", found: other.to_string() });
            }
        };
        Ok(Self {
            name,
            size: number("Size")?,
            mode: number("Mode")?,
            mod_time: number("ModTime")?,
            encoding: number("Encoding")?,
        })
    }

    /// The header's value. Bytes that a header cannot contain are escaped.
    pub fn to_header(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        let mut text = String::with_capacity(json.len());
        for c in json.chars() {
            if c.is_ascii() && !c.is_ascii_control() {
                text.push(c);
            } else {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_written_as_the_go_tool_writes_it() {
        let stat = MetricStat {
            name: "top".into(),
            size: 148,
            mode: 420,
            mod_time: 1_704_164_645,
            encoding: 0,
        };
        let text = r#"{"Name":"top","Size":148,"Mode":420,"ModTime":1704164645,"Encoding":0}"#;
        assert_eq!(stat.to_header(), text);
        assert_eq!(MetricStat::parse(text).unwrap(), stat);
    }

    #[test]
    fn names_outside_ascii_survive_the_header() {
        let stat = MetricStat { name: "café.😀".into(), ..MetricStat::default() };
        assert!(stat.to_header().is_ascii());
        assert_eq!(MetricStat::parse(&stat.to_header()).unwrap(), stat);
    }

    #[test]
    fn keys_match_in_any_case_and_missing_numbers_are_zero() {
        let stat = MetricStat::parse(r#"{"SIZE": 5, "more": [1]}"#).unwrap();
        assert_eq!(stat, MetricStat { size: 5, ..MetricStat::default() });
    }

    #[test]
    fn an_invalid_stat_is_refused() {
        for text in
            ["", "null", "[]", "{", r#"{"Size":148.0}"#, r#"{"Size":"148"}"#, r#"{"Name":1}"#]
        {
            assert!(MetricStat::parse(text).is_err(), "{text}");
        }
    }
}
