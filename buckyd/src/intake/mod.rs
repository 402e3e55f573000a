//! What comes in from outside to be stored: who may store what, under which name, and how fast it comes.

pub(crate) mod incoming;
pub(crate) mod links;
pub(crate) mod renames;
pub(crate) mod rights;
