//! One volume of the node, whether the prefix's or another's.

use std::ops::Deref;
use std::sync::Arc;

use super::Store;

/// One of the volumes.
#[derive(Clone)]
pub(crate) enum Volume<'v> {
    /// That of the prefix.
    Prefix(&'v Store),
    /// Another one.
    Other(Arc<Store>),
}

impl Deref for Volume<'_> {
    type Target = Store;

    fn deref(&self) -> &Store {
        match self {
            Self::Prefix(store) => store,
            Self::Other(store) => store,
        }
    }
}

impl<'v> From<&'v Store> for Volume<'v> {
    fn from(store: &'v Store) -> Self {
        Self::Prefix(store)
    }
}
