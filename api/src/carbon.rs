//! What a go-carbon reports about itself.

use serde::{Deserialize, Serialize};

/// Answer of a go-carbon's `GET /admin/info`; only the fields that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CarbonInfo {
    /// Its cache.
    pub cache: CarbonCache,
}

/// How full a go-carbon's cache is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CarbonCache {
    /// The number of points that wait to be written.
    pub size: f64,
    /// The most points that it may hold; 0 means no limit.
    pub limit: f64,
}

impl CarbonCache {
    /// Whether it holds at least `share` of its limit.
    pub fn is_full(&self, share: f64) -> bool {
        self.limit > 0.0 && self.size >= self.limit * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_full_from_a_share_of_its_limit_on() {
        let cache = |size, limit| CarbonCache { size, limit };
        assert!(cache(75.0, 100.0).is_full(0.75) && !cache(74.0, 100.0).is_full(0.75));
        assert!(!cache(1e9, 0.0).is_full(0.75), "a cache without a limit is never full");
    }

    #[test]
    fn other_fields_of_carbons_answer_are_ignored() {
        let text = r#"{"cache":{"size":12,"limit":1000000,"x":1},"version":"0.17"}"#;
        let info: CarbonInfo = serde_json::from_str(text).unwrap();
        assert_eq!(info.cache, CarbonCache { size: 12.0, limit: 1e6 });
        assert!(serde_json::from_str::<CarbonInfo>(r#"{"cache":{"size":1}}"#).is_err());
    }
}
