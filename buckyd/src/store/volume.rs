//! A reference to one volume of the node: the prefix's or another.

use std::ops::Deref;
use std::sync::Arc;

use super::Store;

/// One of the volumes.
#[derive(Clone)]
pub(crate) enum Volume<'v> {
    /// The prefix's.
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
