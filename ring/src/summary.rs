//! A ring in one line, and as the flags that give it to a daemon.

use crate::{Algorithm, Relay, RingSpec};

/// How many digits of the fingerprint are shown where people compare rings.
const SHORT_FINGERPRINT: usize = 8;

impl RingSpec {
    /// The ring in one line, for people:
    /// `carbon, carbon_ch arithmetic of carbon 1.1, 2 copies on different hosts, 4 nodes, 60e07fd7`. The last
    /// part is the beginning of [`RingSpec::fingerprint`].
    pub fn summary(&self) -> String {
        let (copies, nodes, fingerprint) =
            (self.copies_text(), self.nodes_text(), self.short_fingerprint());
        if let Some(routes) = &self.routes {
            let hash = self.algorithm.name_in_relays();
            let rings = match routes.document().clusters.len() {
                1 => format!("{hash}, {copies}"),
                several => format!("{several} clusters"),
            };
            let digest = routes.digest();
            return format!(
                "{rings} by routing rules {digest} of {}, {nodes}, {fingerprint}",
                self.relay
            );
        }
        let rules = match &self.aggregation {
            Some(rules) => format!(", aggregated by rules {}", rules.digest()),
            None => String::new(),
        };
        format!(
            "{} arithmetic of {}{rules}, {copies}, {nodes}, {fingerprint}",
            self.algorithm.both_names(", "),
            self.relay.tested_version(),
        )
    }

    /// The same, shorter, where the relay is known: `carbon_ch, 2 copies, 4 nodes (60e07fd7)`.
    pub fn short_summary(&self) -> String {
        let (copies, nodes) = (self.copies_text(), self.nodes_text());
        let hash = self.algorithm.name_in_relays();
        let rules = if self.routes.is_some() { ", by routing rules" } else { "" };
        format!("{hash}{rules}, {copies}, {nodes} ({})", self.short_fingerprint())
    }

    fn copies_text(&self) -> String {
        match (self.replication_factor, self.diverse_replicas) {
            (1, _) => "1 copy".to_owned(),
            (copies, false) => format!("{copies} copies"),
            (copies, true) => format!("{copies} copies on different hosts"),
        }
    }

    fn nodes_text(&self) -> String {
        match self.nodes.len() {
            1 => "1 node".to_owned(),
            nodes => format!("{nodes} nodes"),
        }
    }

    fn short_fingerprint(&self) -> String {
        let mut fingerprint = self.fingerprint();
        fingerprint.truncate(SHORT_FINGERPRINT);
        fingerprint
    }

    /// The flags and nodes that give this ring to a `buckyd`, each as one word of a command line. Rules are in a
    /// file, which only the caller knows: aggregation rules are left out, and a ring with routing rules is
    /// `--ring-from FILE`.
    pub fn daemon_words(&self) -> Vec<String> {
        if self.routes.is_some() {
            return vec!["--ring-from".to_owned(), "FILE".to_owned()];
        }
        let mut words = vec![
            "--relay".to_owned(),
            self.relay.to_string(),
            "--hash".to_owned(),
            self.algorithm.to_string(),
        ];
        if self.replication_factor != 1 {
            words.extend(["--replicas".to_owned(), self.replication_factor.to_string()]);
        }
        if self.diverse_replicas {
            words.push("--diverse-replicas".to_owned());
        }
        if self.tagged_names != self.relay.default_tagged_names() {
            words.extend(["--tagged-names".to_owned(), self.tagged_names.to_string()]);
        }
        words.extend(self.nodes.iter().map(ToString::to_string));
        words
    }
}

impl Algorithm {
    /// What the relays' configuration files call this kind of ring.
    pub fn name_in_relays(self) -> &'static str {
        match self {
            Self::Carbon => "carbon_ch",
            Self::Fnv1a => "fnv1a_ch",
            Self::JumpFnv1a => "jump_fnv1a_ch",
            Self::Mmh3 => "mmh3_ch",
            Self::FastMmh3 => "fast mmh3_ch",
            Self::FastCarbon => "fast carbon_ch",
            Self::FastFnv1a => "fast fnv1a_ch",
            Self::ConsistentHashing => "consistentHashing",
            Self::ConsistentHashingV2 => "consistentHashing-v2",
        }
    }
}

impl Algorithm {
    /// Our name of this kind of ring and the relays', with `between` between them; once if they are equal.
    fn both_names(self, between: &str) -> String {
        match (self.name(), self.name_in_relays()) {
            (ours, theirs) if ours == theirs => ours.to_owned(),
            (ours, theirs) => format!("{ours}{between}{theirs}"),
        }
    }
}

impl Relay {
    /// The program with the version whose arithmetic this crate has, for people.
    pub fn tested_version(self) -> &'static str {
        match self {
            Self::Buckytools => "buckytools 0.6",
            Self::Carbon => "carbon 1.1",
            Self::CarbonCRelay => "carbon-c-relay 3.2+",
            Self::CarbonRelayNg => "carbon-relay-ng 1.5",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{
        Algorithm, ClusterDocument, Relay, RingSpec, RouteRules, RoutesDocument, TaggedNames,
    };

    fn spec() -> RingSpec {
        RingSpec {
            nodes: ["a:2003=x", "b:2003=y"]
                .iter()
                .map(|node| node.parse().expect("a node"))
                .collect(),
            algorithm: Algorithm::Carbon,
            relay: Relay::Carbon,
            replication_factor: 1,
            diverse_replicas: false,
            tagged_names: TaggedNames::Whole,
            aggregation: None,
            routes: None,
        }
    }

    #[test]
    fn a_ring_is_told_in_one_line() {
        let one = spec();
        let digits = &one.fingerprint()[..8];
        assert_eq!(
            one.summary(),
            format!("carbon, carbon_ch arithmetic of carbon 1.1, 1 copy, 2 nodes, {digits}")
        );
        let two = RingSpec { replication_factor: 2, diverse_replicas: true, ..spec() };
        assert!(two.summary().contains(", 2 copies on different hosts, 2 nodes, "));
        let routed = |names: &[&str]| {
            let cluster = |name: &&str| ClusterDocument {
                name: (*name).to_owned(),
                algo: "carbon".to_owned(),
                replicas: 1,
                nodes: vec![0, 1],
            };
            let clusters = names.iter().map(cluster).collect();
            let routes = RouteRules::new(RoutesDocument { clusters, rules: Vec::new() });
            let routes = Some(Arc::new(routes.expect("rules")));
            RingSpec { relay: Relay::CarbonCRelay, routes, ..spec() }.summary()
        };
        assert!(routed(&["a"]).starts_with("carbon_ch, 1 copy by routing rules "));
        assert!(routed(&["a", "b"]).starts_with("2 clusters by routing rules "));
        assert!(routed(&["a", "b"]).contains(" of carbon-c-relay, 2 nodes, "));
    }

    #[test]
    fn the_words_for_a_daemon_leave_out_its_defaults() {
        assert_eq!(
            spec().daemon_words().join(" "),
            "--relay carbon --hash carbon a:2003=x b:2003=y"
        );
        let all = RingSpec {
            replication_factor: 2,
            diverse_replicas: true,
            tagged_names: TaggedNames::BeforeSemicolon,
            ..spec()
        };
        assert_eq!(
            all.daemon_words().join(" "),
            "--relay carbon --hash carbon --replicas 2 --diverse-replicas --tagged-names before-semicolon \
             a:2003=x b:2003=y"
        );
    }
}
