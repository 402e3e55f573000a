//! One file for each command: its arguments, and a short `run`.

pub(crate) mod backfill;
pub(crate) mod backfill2;
pub(crate) mod copy;
pub(crate) mod delete;
pub(crate) mod du;
pub(crate) mod fill;
pub(crate) mod findhash;
pub(crate) mod gentestmetrics;
pub(crate) mod heal;
pub(crate) mod inconsistent;
pub(crate) mod info;
pub(crate) mod isempty;
pub(crate) mod json;
pub(crate) mod list;
pub(crate) mod locate;
pub(crate) mod lookup;
pub(crate) mod modify;
pub(crate) mod path;
pub(crate) mod pickle_relay;
pub(crate) mod plan;
pub(crate) mod rebalance;
pub(crate) mod restore;
pub(crate) mod ring;
pub(crate) mod servers;
pub(crate) mod sieve;
pub(crate) mod sparsify;
pub(crate) mod stale;
pub(crate) mod stat;
pub(crate) mod tar;
#[cfg(test)]
mod tests;
pub(crate) mod token;
pub(crate) mod verify;
