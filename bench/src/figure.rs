//! The figures that are measured, and their bars.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

/// One figure of the bench. Its name says what is divided by what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    /// Never changes once it is published: programs that read the JSON identify a figure by it.
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) bar: Bar,
}

/// The bar for a figure's median.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
    /// No bar: the figure only explains another one.
    None,
}

impl Figure {
    /// A ratio of ours to the peer's.
    pub(crate) const fn ratio(name: &'static str, bar: Bar) -> Self {
        Self { name, unit: "x", bar }
    }

    /// Memory, in MiB.
    pub(crate) const fn memory(name: &'static str, bar: Bar) -> Self {
        Self { name, unit: "MiB", bar }
    }
}

impl Bar {
    /// Whether `value` meets the bar, or `None` if there is no bar.
    pub(crate) fn is_met_by(self, value: f64) -> Option<bool> {
        match self {
            Self::AtMost(bar) => Some(value <= bar),
            Self::AtLeast(bar) => Some(value >= bar),
            Self::None => None,
        }
    }
}

impl Display for Bar {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bar) => write!(formatter, "at most {bar}"),
            Self::AtLeast(bar) => write!(formatter, "at least {bar}"),
            Self::None => formatter.write_str("-"),
        }
    }
}
