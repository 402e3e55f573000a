//! What the statements of a configuration say, without judging it.

/// A text with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) offset: usize,
    pub(super) is_quoted: bool,
}

/// A statement that can matter for a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Statement {
    Cluster(Cluster),
    Match(Match),
    Rewrite(Rewrite),
    Aggregate(Aggregate),
    /// `statistics` and `send statistics`: only the clusters that they name.
    Statistics(Vec<Text>),
    Include(Text),
    /// `listen`.
    Other,
}

/// `cluster NAME KIND HOST...`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cluster {
    /// Where the statement begins.
    pub(super) offset: usize,
    pub(super) name: Text,
    pub(super) kind: Kind,
    pub(super) kind_offset: usize,
    /// `replication N`: the digits and their place.
    pub(super) replication: Option<(String, usize)>,
    /// Where `dynamic` is.
    pub(super) dynamic: Option<usize>,
    pub(super) hosts: Vec<Host>,
}

/// The kind of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    CarbonCh,
    Fnv1aCh,
    JumpFnv1aCh,
    Forward,
    AnyOf,
    Failover,
    File,
}

/// A server of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) address: Text,
    pub(super) instance: Option<Instance>,
    pub(super) is_udp: bool,
    pub(super) is_syslog: bool,
    /// Where `mtls` is.
    pub(super) mtls: Option<usize>,
}

/// What is behind the `=` of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Instance {
    Text(Text),
    /// Digits without quotes, which the relay reads as a number.
    Number {
        digits: String,
        offset: usize,
    },
}

/// `match EXPRESSION... [validate ...] [route using TEXT] [send to CLUSTER...] [stop]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// The expressions; `None` is `*`.
    pub(super) expressions: Option<Vec<Text>>,
    pub(super) validate: Option<Validate>,
    /// Where `route` is, and the text behind `using`.
    pub(super) route_using: Option<(usize, Text)>,
    pub(super) send_to: Option<SendTo>,
    pub(super) stops: bool,
}

/// `validate EXPRESSION else log|drop`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Validate {
    pub(super) expression: Text,
    pub(super) drops: bool,
}

/// Where metrics are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SendTo {
    Blackhole,
    Clusters(Vec<Text>),
}

/// `rewrite EXPRESSION into TEXT`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rewrite {
    /// Where the statement begins.
    pub(super) offset: usize,
    pub(super) expression: Text,
    pub(super) into: Text,
}

/// `aggregate EXPRESSION... every ... [send to CLUSTER...] [stop]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Aggregate {
    pub(super) expressions: Vec<Text>,
    pub(super) send_to: Option<SendTo>,
    pub(super) stops: bool,
}
