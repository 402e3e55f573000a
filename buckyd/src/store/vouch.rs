//! What this node vouches for is on its disk.
//!
//! Whoever reads a file sees what others have written to it, synced or not. Where somebody is about to delete his copy because
//! of what was seen here, that must outlive a power cut: the carbon that wrote it may never sync, and a fill may have lost its
//! daemon before it was synced.

use super::Store;
use super::error::StoreError;

impl Store {
    /// Makes durable all that was seen before this call, in one sync with whatever else waits for one.
    ///
    /// # Errors
    /// Where the disk does not take it: then nothing that was seen may be vouched for.
    pub(crate) fn sync_seen(&self) -> Result<(), StoreError> {
        let synced = self.committer.commit(self.committer.mark(), || self.tree.sync_all());
        synced.map_err(|errno| StoreError::io("sync the file system of", self.tree.path(), errno))
    }
}
