//! What arrives from outside and is stored: who may store it, under which name, and how fast it arrives.

pub(crate) mod incoming;
pub(crate) mod links;
pub(crate) mod renames;
pub(crate) mod rights;
