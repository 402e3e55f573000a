//! What a reader says besides the ring: why it refuses, what it warns of, and what the ring needs.

use std::fmt;

use crate::Place;

macro_rules! kinds {
    ($(#[$about:meta])* $type:ident { $($(#[$each:meta])* $variant:ident => $name:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$each])* $variant,)* }

        impl $type {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name of the kind, which messages carry and scripts can rely on.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

kinds! {
    /// Why a ring is not given out.
    RefusalKind {
        /// An init command that carbon-relay-ng does not take.
        BadCommand => "bad-command",
        /// A host that cannot be one.
        BadHost => "bad-host",
        /// An instance that the relay reads differently from how it is written.
        BadInstance => "bad-instance",
        /// A port that is none, or too many colons.
        BadPort => "bad-port",
        /// No replication factor, zero, no number, or more than there are servers.
        BadReplicationFactor => "bad-replication-factor",
        /// White space or a line break inside a destination.
        BlankInDestination => "blank-in-destination",
        /// White space in an instance of carbon-c-relay.
        BlankInInstance => "blank-in-instance",
        /// A cluster's name twice.
        DuplicateCluster => "duplicate-cluster",
        /// A key twice.
        DuplicateKey => "duplicate-key",
        /// A node twice.
        DuplicateNode => "duplicate-node",
        /// A section twice.
        DuplicateSection => "duplicate-section",
        /// Nothing between two commas, or behind the last one.
        EmptyDestination => "empty-destination",
        /// `HOST:PORT:` with nothing behind it: carbon hashes `('HOST', '')`.
        EmptyInstance => "empty-instance",
        /// An included file that cannot be read.
        Include => "include",
        /// A comment behind a value, which Python 3 leaves in the value.
        InlineComment => "inline-comment",
        /// A `%` that begins no interpolation.
        Interpolation => "interpolation",
        /// IPv6 without brackets in DESTINATIONS.
        Ipv6WithoutBrackets => "ipv6-without-brackets",
        /// CARBONLINK_HOSTS are the caches of one host, with their query ports.
        LocalCaches => "local-caches",
        /// A key that must be there is not.
        MissingKey => "missing-key",
        /// A destination without port.
        NoPort => "no-port",
        /// There is no hash ring here.
        NoRing => "no-ring",
        /// A routing rule that cannot be followed exactly.
        Routes => "routes",
        /// The file cannot be read as its program reads it.
        Syntax => "syntax",
        /// carbon-relay-ng wants two destinations.
        TooFewDestinations => "too-few-destinations",
        /// More servers than the relay takes.
        TooManyServers => "too-many-servers",
        /// A hash that the program does not know. carbon then hashes with MD5 and says nothing.
        UnknownHash => "unknown-hash",
        /// A method or a type of route that the program does not know.
        UnknownMethod => "unknown-method",
        /// The file is of none of the known programs, or could be of several.
        UnknownProgram => "unknown-program",
        /// CLUSTER_SERVERS are web applications.
        WebServers => "web-servers",
    }
}

kinds! {
    /// What an operator must know about a ring that is given out.
    WarningKind {
        /// Aggregated hashing: whether files lie by it depends on the aggregators.
        Aggregated => "aggregated",
        /// carbonate takes any text of DIVERSE_REPLICAS for true.
        DiverseText => "diverse-text",
        /// carbon-c-relay's `dynamic`: a server that is down leaves the ring.
        Dynamic => "dynamic",
        /// carbon's DESTINATION_POOL_REPLICAS: the instance is chosen by how full its queue is.
        DestinationPool => "destination-pool",
        /// carbon's DYNAMIC_ROUTER: the same, and nodes enter the ring in the order they are reached.
        DynamicRouter => "dynamic-router",
        /// carbon-c-relay groups its rules by words that matching names need not have.
        Grouped => "grouped",
        /// An instance of digits that begins with 0.
        LeadingZero => "leading-zero",
        /// Only names that match get to this ring.
        Matchers => "matchers",
        /// More servers than carbon-c-relay before 3.8 takes.
        MoreThan64 => "more-than-64",
        /// Names are rewritten before they are hashed.
        Rewrite => "rewrite",
        /// carbon-c-relay sends its own statistics to the ring past the rules.
        Statistics => "statistics",
        /// Tags may change what is hashed, depending on the relay's version or its command line.
        Tags => "tags",
        /// A key that looks as if it mattered, and that the program does not read.
        UnknownKey => "unknown-key",
        /// The ring differs between versions of the program.
        Version => "version",
    }
}

kinds! {
    /// What besides the ring decides where the relay sends a name.
    NeedKind {
        /// carbon's aggregated hashing: the names that the aggregation rules make are hashed.
        AggregationRules => "aggregation-rules",
        /// carbon-c-relay's `route using`: another text than the name is hashed.
        RouteUsing => "route-using",
    }
}

/// Why a ring cannot be known from the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message} [{kind}]")]
pub struct Refusal {
    /// The kind of reason.
    pub kind: RefusalKind,
    /// Where it is.
    pub place: Place,
    /// What was found there, and what to do: a sentence without a full stop.
    pub message: String,
}

/// Something that an operator must know about a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The kind of warning.
    pub kind: WarningKind,
    /// Where it is.
    pub place: Place,
    /// What was found there, and what follows: a sentence without a full stop.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", self.place, self.message, self.kind)
    }
}

/// Something besides the ring that decides where a name is sent. A ring that needs it is not the whole truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// What is needed.
    pub kind: NeedKind,
    /// Where the file says so.
    pub place: Place,
    /// Why it could not be met from the files: a sentence without a full stop.
    pub reason: String,
}

impl Need {
    /// Aggregation rules that are not beside the file.
    pub(crate) fn aggregation_rules(place: Place) -> Self {
        Self {
            kind: NeedKind::AggregationRules,
            place,
            reason: "the aggregation rules are not beside this file; name them with --aggregation-rules FILE"
                .to_owned(),
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = match self.kind {
            NeedKind::AggregationRules => "metrics go to the owners of their aggregates, and",
            NeedKind::RouteUsing => {
                "route using: another text than the name is hashed, and it cannot be known:"
            }
        };
        write!(f, "{}: {message} {} [{}]", self.place, self.reason, self.kind)
    }
}
