//! Makes durable what this node confirms.
//!
//! A read shows what other processes have written to a file, whether or not it is synced. If a client is
//! about to delete its copy because of what was read here, that must survive a power failure: the carbon that
//! wrote it may never sync, and a daemon may have been killed between a fill and its sync.

use super::Store;
use super::error::StoreError;

impl Store {
    /// Makes everything durable that was read before this call, in one sync that is shared with others that
    /// wait for one.
    ///
    /// # Errors
    /// If the sync fails. Then nothing that was read may be confirmed.
    pub(crate) fn sync_read(&self) -> Result<(), StoreError> {
        let synced = self.committer.commit(self.committer.mark(), || self.tree.sync_all());
        synced.map_err(|errno| StoreError::io("sync the file system of", self.tree.path(), errno))
    }
}
