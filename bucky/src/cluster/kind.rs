//! The two kinds of daemon, and what each can do. Nothing else asks which kind a daemon is: it asks for an
//! ability.

/// What answers at a node. A daemon without `GET /v1/status` is the Go tool's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DaemonKind {
    /// `buckyd`, with the routes below `/v1`.
    V1,
    /// The Go tool's daemon, or another one with its routes only.
    Go,
}

impl DaemonKind {
    /// Whether it exchanges archives of many metrics, makes them durable, and deletes only what its owners
    /// have. If one of two nodes does not, metrics move between them one by one.
    pub(crate) fn exchanges_archives(self) -> bool {
        self == Self::V1
    }

    /// Whether it finds out by itself which of its metrics are misplaced.
    pub(crate) fn finds_misplaced(self) -> bool {
        self == Self::V1
    }

    /// Whether its list can be read page by page, and shows a deleted metric as gone.
    pub(crate) fn pages_its_list(self) -> bool {
        self == Self::V1
    }

    /// Whether it reports which store it serves, so that two addresses of one node are noticed.
    pub(crate) fn reports_its_store(self) -> bool {
        self == Self::V1
    }

    /// Whether it can say in advance what a heal would do.
    pub(crate) fn previews(self) -> bool {
        self == Self::V1
    }

    /// Whether its fill changes no point that is there. The Go tool's overwrites the good point behind a gap
    /// (D8).
    pub(crate) fn fills_exactly(self) -> bool {
        self == Self::V1
    }

    /// Whether it reports what it leaves out of its list.
    pub(crate) fn reports_not_served(self) -> bool {
        self == Self::V1
    }
}
