//! The ring document: a ring as `GET /hashring` serves it and as `--ring FILE` reads it.
//!
//! The first four keys are the Go tool's, byte for byte; `Relay`, `Diverse`, `TaggedNames`, `AggregationRules`
//! and `Routes` are ours and optional. Keys are read in any letter case, as in Go, and unknown keys are ignored. A document holds what
//! was written, valid or not; [`RingDocument::to_spec`] checks it.

use std::{fmt, marker::PhantomData, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};

use crate::{
    AggregationRules, Algorithm, Node, NodeError, Relay, RingSpec, RouteError, RouteRules,
    RoutesDocument, RuleError, TaggedNames, UnknownName, UnknownToRelay, as_go_writes, resolve,
};

/// A ring document, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RingDocument {
    /// The name of the node that serves the document; not part of the ring.
    pub name: String,
    /// The nodes in the order of the configuration.
    pub nodes: Vec<NodeDocument>,
    /// The name of the [`Algorithm`].
    pub algo: String,
    /// The replication factor; the Go tool serves 0 and negative numbers as well.
    pub replicas: i64,
    /// The name of the [`Relay`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
    /// Whether the copies of a metric are on different hosts; `None` means no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diverse: Option<bool>,
    /// The name of the [`TaggedNames`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tagged_names: Option<String>,
    /// The rules of carbon's aggregated hashing, as text, if the relay uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregation_rules: Option<String>,
    /// carbon-c-relay's routing rules, if they decide where a metric goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<RoutesDocument>,
}

/// A node in a [`RingDocument`], unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeDocument {
    /// The host; IPv6 without brackets.
    pub server: String,
    /// The port; 0 means no port.
    pub port: i64,
    /// The instance; empty means no instance.
    pub instance: String,
}

impl RingDocument {
    /// The document of `spec`, with all optional keys, served by the node with the name `name`.
    pub fn from_spec(name: &str, spec: &RingSpec) -> Self {
        let nodes = spec.nodes.iter().map(|node| NodeDocument {
            server: node.host().to_owned(),
            port: i64::from(node.port()),
            instance: node.instance().unwrap_or_default().to_owned(),
        });
        Self {
            name: name.to_owned(),
            nodes: nodes.collect(),
            algo: spec.algorithm.to_string(),
            replicas: i64::try_from(spec.replication_factor).unwrap_or(i64::MAX),
            relay: Some(spec.relay.to_string()),
            diverse: Some(spec.diverse_replicas),
            tagged_names: Some(spec.tagged_names.to_string()),
            aggregation_rules: spec.aggregation.as_ref().map(|rules| rules.text().to_owned()),
            routes: spec.routes.as_ref().map(|routes| routes.document().clone()),
        }
    }

    /// The ring that the document describes. If it names no relay, [`resolve`] chooses one.
    ///
    /// # Errors
    /// [`RingDocumentError`] names the key and what was found there.
    pub fn to_spec(&self) -> Result<RingSpec, RingDocumentError> {
        let algorithm: Algorithm = self.algo.parse().map_err(RingDocumentError::Algo)?;
        let relay = self.relay.as_deref().map(str::parse::<Relay>).transpose();
        let relay = relay.map_err(RingDocumentError::Relay)?;
        let tagged_names = self.tagged_names.as_deref().map(str::parse::<TaggedNames>).transpose();
        let tagged_names = tagged_names.map_err(RingDocumentError::TaggedNames)?;
        let (relay, tagged_names) = resolve(algorithm, relay, tagged_names)?;
        let replication_factor = usize::try_from(self.replicas).ok().filter(|copies| *copies > 0);
        let rules = self.aggregation_rules.as_deref();
        let aggregation = rules.map(|text| AggregationRules::parse(text).map(Arc::new)).transpose();
        let routes = self.routes.clone().map(|routes| RouteRules::new(routes).map(Arc::new));
        let numbered = self.nodes.iter().enumerate();
        let nodes = numbered.map(|(index, node)| node.to_node(index + 1));
        Ok(RingSpec {
            nodes: nodes.collect::<Result<_, _>>()?,
            algorithm,
            relay,
            replication_factor: replication_factor
                .ok_or(RingDocumentError::Replicas(self.replicas))?,
            diverse_replicas: self.diverse.unwrap_or(false),
            tagged_names,
            aggregation: aggregation.map_err(RingDocumentError::AggregationRules)?,
            routes: routes.transpose().map_err(RingDocumentError::Routes)?,
        })
    }

    /// A document from its JSON.
    ///
    /// # Errors
    /// If it is not JSON, lacks one of `Nodes`, `Algo` and `Replicas`, has a key twice, or a value of another
    /// type.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The body of `GET /hashring`: keys in this order, no spaces, no final newline, and `<`, `>`, `&`,
    /// U+2028 and U+2029 escaped as Go escapes them. All other text is unchanged.
    pub fn to_json(&self) -> String {
        let plain =
            serde_json::to_string(self).expect("strings, numbers and lists always serialize");
        as_go_writes(&plain).into_owned()
    }
}

impl NodeDocument {
    fn to_node(&self, position: usize) -> Result<Node, RingDocumentError> {
        let port = u16::try_from(self.port).map_err(|_| RingDocumentError::Port {
            position,
            server: self.server.clone(),
            found: self.port,
        })?;
        Node::new(&self.server, port, Some(&self.instance))
            .map_err(|source| RingDocumentError::Node { position, source })
    }
}

/// What is wrong with a ring document. Positions of nodes count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingDocumentError {
    /// The kind of ring is unknown.
    #[error("the ring document's Algo cannot be used")]
    Algo(#[source] UnknownName),
    /// The relay is unknown.
    #[error("the ring document's Relay cannot be used")]
    Relay(#[source] UnknownName),
    /// The way to hash tagged names is unknown.
    #[error("the ring document's TaggedNames cannot be used")]
    TaggedNames(#[source] UnknownName),
    /// The aggregation rules cannot be used.
    #[error("the ring document's AggregationRules cannot be used")]
    AggregationRules(#[source] RuleError),
    /// The routing rules cannot be used.
    #[error("the ring document's Routes cannot be used")]
    Routes(#[source] RouteError),
    /// The relay does not support this kind of ring.
    #[error("the ring document's Algo and Relay do not match")]
    UnknownToRelay(#[from] UnknownToRelay),
    /// The replication factor is less than 1.
    #[error("the ring document's Replicas is {0}; a metric has at least 1 copy")]
    Replicas(i64),
    /// The port is not valid.
    #[error("node {position} of the ring document ({server:?}): Port {found} is not in 0..=65535")]
    Port {
        /// The node's position.
        position: usize,
        /// Its host.
        server: String,
        /// The number found.
        found: i64,
    },
    /// The host or the instance is not valid.
    #[error("node {position} of the ring document cannot be used")]
    Node {
        /// The node's position.
        position: usize,
        /// What is wrong with it.
        source: NodeError,
    },
}

impl<'de> Deserialize<'de> for RingDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys::<Self>::EXPECTED)
    }
}

impl<'de> Deserialize<'de> for NodeDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys::<Self>::EXPECTED)
    }
}

/// Reads an object whose keys may be written in any letter case.
struct Keys<T>(PhantomData<T>);

impl<T> Keys<T> {
    const EXPECTED: Self = Self(PhantomData);
}

impl<'de> Visitor<'de> for Keys<RingDocument> {
    type Value = RingDocument;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a ring document: an object with Name, Nodes, Algo and Replicas")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RingDocument, A::Error> {
        let (mut name, mut nodes, mut algo, mut replicas) = (None, None, None, None);
        let (mut relay, mut diverse, mut tagged_names, mut rules) = (None, None, None, None);
        let mut routes = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.to_ascii_lowercase().as_str() {
                "name" => read_once(&mut name, "Name", &mut map)?,
                "nodes" => read_once(&mut nodes, "Nodes", &mut map)?,
                "algo" => read_once(&mut algo, "Algo", &mut map)?,
                "replicas" => read_once(&mut replicas, "Replicas", &mut map)?,
                "relay" => read_once(&mut relay, "Relay", &mut map)?,
                "diverse" => read_once(&mut diverse, "Diverse", &mut map)?,
                "taggednames" => read_once(&mut tagged_names, "TaggedNames", &mut map)?,
                "aggregationrules" => read_once(&mut rules, "AggregationRules", &mut map)?,
                "routes" => read_once(&mut routes, "Routes", &mut map)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(RingDocument {
            name: name.flatten().unwrap_or_default(),
            nodes: nodes.flatten().ok_or_else(|| A::Error::missing_field("Nodes"))?,
            algo: algo.flatten().ok_or_else(|| A::Error::missing_field("Algo"))?,
            replicas: replicas.flatten().ok_or_else(|| A::Error::missing_field("Replicas"))?,
            relay: relay.flatten(),
            diverse: diverse.flatten(),
            tagged_names: tagged_names.flatten(),
            aggregation_rules: rules.flatten(),
            routes: routes.flatten(),
        })
    }
}

impl<'de> Visitor<'de> for Keys<NodeDocument> {
    type Value = NodeDocument;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node: an object with Server, Port and Instance")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NodeDocument, A::Error> {
        let (mut server, mut port, mut instance) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.to_ascii_lowercase().as_str() {
                "server" => read_once(&mut server, "Server", &mut map)?,
                "port" => read_once(&mut port, "Port", &mut map)?,
                "instance" => read_once(&mut instance, "Instance", &mut map)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(NodeDocument {
            server: server.flatten().ok_or_else(|| A::Error::missing_field("Server"))?,
            port: port.flatten().unwrap_or_default(),
            instance: instance.flatten().unwrap_or_default(),
        })
    }
}

/// The value of a key; `null` counts as an absent key. A key that occurs twice, in any letter case, is
/// refused, because readers would disagree on its meaning.
fn read_once<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    value: &mut Option<Option<T>>,
    key: &'static str,
    map: &mut A,
) -> Result<(), A::Error> {
    if value.is_some() {
        return Err(A::Error::duplicate_field(key));
    }
    *value = Some(map.next_value()?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: &str = r#"{"Name":"127.0.3.1","Nodes":[{"Server":"127.0.3.1","Port":2003,"Instance":"a"},{"Server":"127.0.3.2","Port":2003,"Instance":"b"}],"Algo":"carbon","Replicas":1}"#;

    fn read(json: &str) -> RingDocument {
        RingDocument::from_json(json.as_bytes()).expect("a ring document")
    }

    fn spec_error(json: &str) -> String {
        let error = read(json).to_spec().expect_err("no spec");
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    }

    #[test]
    fn the_go_tools_document_is_read_and_written_byte_by_byte() {
        assert_eq!(read(CONTRACT).to_json(), CONTRACT);
        let spec = read(CONTRACT).to_spec().expect("a spec");
        assert_eq!(spec.nodes[1].to_string(), "127.0.3.2:2003=b");
        assert_eq!((spec.algorithm, spec.relay), (Algorithm::Carbon, Relay::Buckytools));
        assert_eq!((spec.replication_factor, spec.diverse_replicas), (1, false));
        assert_eq!(spec.tagged_names, TaggedNames::Whole);
    }

    #[test]
    fn our_keys_follow_the_go_tools() {
        let spec = read(CONTRACT).to_spec().expect("a spec");
        let ours = RingDocument::from_spec("127.0.3.1", &spec).to_json();
        let expected = CONTRACT.replace(
            r#""Replicas":1}"#,
            r#""Replicas":1,"Relay":"buckytools","Diverse":false,"TaggedNames":"whole"}"#,
        );
        assert_eq!(ours, expected);
        assert_eq!(read(&ours).to_spec(), Ok(spec));
    }

    #[test]
    fn html_characters_are_escaped_as_go_does() {
        let document = RingDocument { name: "<é>&\u{2028}\"\\".into(), ..read(CONTRACT) };
        let json = document.to_json();
        assert!(json.starts_with(r#"{"Name":"\u003cé\u003e\u0026\u2028\"\\","Nodes""#), "{json}");
        assert_eq!(read(&json), document);
    }

    #[test]
    fn keys_are_read_in_any_letter_case_and_unknown_ones_ignored() {
        let json = r#"{"name":"n","NODES":[{"server":"a","PORT":1,"instance":null,"Weight":[1]}],
            "aLgo":"fnv1a","replicas":2,"relay":"carbon-c-relay","diverse":null,"taggednames":"whole","X":{"Y":1}}"#;
        let document = read(json);
        assert_eq!(
            document.nodes[0],
            NodeDocument { server: "a".into(), port: 1, instance: "".into() }
        );
        let spec = document.to_spec().expect("a spec");
        assert_eq!(spec.relay, Relay::CarbonCRelay);
        assert_eq!(spec.tagged_names, TaggedNames::Whole);
    }

    #[test]
    fn a_document_without_relay_means_the_one_that_has_the_ring() {
        let mmh3 = CONTRACT.replace(r#""carbon""#, r#""mmh3""#);
        assert_eq!(read(&mmh3).to_spec().map(|spec| spec.relay), Ok(Relay::Carbon));
    }

    #[test]
    fn missing_and_duplicate_keys_are_named() {
        let cases = [
            (r#"{"Name":"a","Nodes":[],"Algo":"carbon"}"#, "missing field `Replicas`"),
            (r#"{"Name":"a","Nodes":[],"Replicas":1}"#, "missing field `Algo`"),
            (r#"{"Nodes":null,"Algo":"carbon","Replicas":1}"#, "missing field `Nodes`"),
            (r#"{"Nodes":[{"Port":1}],"Algo":"carbon","Replicas":1}"#, "missing field `Server`"),
            (r#"{"Algo":"carbon","algo":"fnv1a"}"#, "duplicate field `Algo`"),
            (r#"{"Nodes":[{"Server":"a","Port":"1"}]}"#, "invalid type: string \"1\""),
            ("null", "a ring document"),
            ("[]", "a ring document"),
            ("<html>", "expected value"),
        ];
        for (json, expected) in cases {
            let error = RingDocument::from_json(json.as_bytes()).expect_err(json).to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    #[test]
    fn invalid_values_of_a_document_are_named() {
        let cases = [
            (r#""carbon""#, r#""ketama""#, "Algo cannot be used: not a valid hash: \"ketama\""),
            (r#":1}"#, r#":0}"#, "Replicas is 0"),
            (r#":1}"#, r#":-2}"#, "Replicas is -2"),
            (r#":1}"#, r#":1,"Relay":"go"}"#, "Relay cannot be used: not a valid relay: \"go\""),
            (r#":1}"#, r#":1,"TaggedNames":"no"}"#, "TaggedNames cannot be used"),
            (
                r#":2003,"Instance":"b""#,
                r#":70000,"Instance":"b""#,
                "node 2 of the ring document (\"127.0.3.2\"): Port 70000",
            ),
            (r#":2003,"Instance":"b""#, r#":-1,"Instance":"b""#, "Port -1"),
            (
                r#""127.0.3.2""#,
                r#""""#,
                "node 2 of the ring document cannot be used: the host is empty",
            ),
            (r#""b""#, r#""b b""#, "instance \"b b\" contains ' '"),
            (
                r#""carbon""#,
                r#""mmh3","Relay":"buckytools""#,
                "do not match: relay buckytools has no mmh3 ring",
            ),
        ];
        for (from, to, expected) in cases {
            let error = spec_error(&CONTRACT.replacen(from, to, 1));
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}
