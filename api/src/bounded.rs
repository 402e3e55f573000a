//! Bounded lists in JSON from outside.
//!
//! A short text can make a long list. A name of one letter takes four bytes in JSON, but a `String` and its
//! allocation take many times as much memory.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// The most metrics of one request, and of one report.
pub const METRICS_MOST: usize = 65_536;
/// The most owners of one metric.
pub const OWNERS_MOST: usize = 256;

/// Reads a list of at most [`METRICS_MOST`].
pub(crate) fn metrics<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(List::<T, METRICS_MOST>(PhantomData))
}

/// Reads a list of at most [`OWNERS_MOST`].
pub(crate) fn owners<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(List::<T, OWNERS_MOST>(PhantomData))
}

struct List<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            if list.len() == MOST {
                return Err(A::Error::custom(format_args!(
                    "a list has more than {MOST} entries; send them in several requests"
                )));
            }
            list.push(element);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use crate::{ArchiveReport, ArchiveRequest, ConfirmRequest, DeleteRequest, PullRequest};

    fn error<T: serde::de::DeserializeOwned>(text: &str) -> Option<String> {
        serde_json::from_str::<T>(text).err().map(|error| error.to_string())
    }

    #[test]
    fn a_request_names_no_more_metrics_than_a_stream_holds() {
        let of = |entry: &str, count: usize| vec![entry; count].join(",");
        for (count, fits) in [(super::METRICS_MOST, true), (super::METRICS_MOST + 1, false)] {
            let names = of("\"a\"", count);
            let confirm = of(r#"{"name":"a"}"#, count);
            let left_out = of(r#"{"metric":"a","problem":"busy","reason":""}"#, count);
            for error in [
                error::<ArchiveRequest>(&format!(r#"{{"metrics":[{names}]}}"#)),
                error::<PullRequest>(&format!(r#"{{"from":"a","metrics":[{names}]}}"#)),
                error::<ConfirmRequest>(&format!(r#"{{"metrics":[{confirm}]}}"#)),
                error::<ArchiveReport>(&format!(r#"{{"metrics":0,"left_out":[{left_out}]}}"#)),
            ] {
                assert_eq!(error.is_none(), fits, "{error:?}");
                assert!(error.is_none_or(|error| error.contains("more than 65536")));
            }
        }
        let owners = of("\"a\"", super::OWNERS_MOST + 1);
        let digest = "0".repeat(32);
        let delete =
            format!(r#"{{"metrics":[{{"name":"a","digest":"{digest}","owners":[{owners}]}}]}}"#);
        assert!(error::<DeleteRequest>(&delete).unwrap().contains("more than 256"));
    }
}
