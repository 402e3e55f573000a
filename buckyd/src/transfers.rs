//! How many transfers run at once.
//!
//! Sending and receiving are counted apart: a node that receives as much as it may can still send, so two nodes that
//! pull from each other never wait for each other.

use std::sync::Arc;

use bucky_api::{ErrorCode, TransferStatus};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::respond::ApiError;

/// The places for transfers, and whether new ones are taken.
pub(crate) struct Transfers {
    sending: Arc<Semaphore>,
    receiving: Arc<Semaphore>,
    limit: u32,
    stopping: watch::Receiver<bool>,
}

/// A place taken; given back when dropped.
pub(crate) type Place = OwnedSemaphorePermit;

impl Transfers {
    /// `limit` places in each direction; none once `stopping` is true.
    pub(crate) fn new(limit: u32, stopping: watch::Receiver<bool>) -> Self {
        let places = || Arc::new(Semaphore::new(usize::try_from(limit).unwrap_or(1)));
        Self { sending: places(), receiving: places(), limit, stopping }
    }

    /// A place to send an archive.
    ///
    /// # Errors
    /// [`ErrorCode::Busy`] or [`ErrorCode::Stopping`].
    pub(crate) fn send(&self) -> Result<Place, ApiError> {
        self.take(&self.sending, "archives are being sent")
    }

    /// A place to receive one.
    ///
    /// # Errors
    /// [`ErrorCode::Busy`] or [`ErrorCode::Stopping`].
    pub(crate) fn receive(&self) -> Result<Place, ApiError> {
        self.take(&self.receiving, "transfers are being received")
    }

    /// How many run.
    pub(crate) fn status(&self) -> TransferStatus {
        let used = |places: &Semaphore| {
            self.limit.saturating_sub(u32::try_from(places.available_permits()).unwrap_or(0))
        };
        TransferStatus {
            sending: used(&self.sending),
            receiving: used(&self.receiving),
            limit: self.limit,
        }
    }

    fn take(&self, places: &Arc<Semaphore>, what: &str) -> Result<Place, ApiError> {
        if *self.stopping.borrow() {
            return Err(
                ApiError::new(ErrorCode::Stopping, "this daemon is being stopped").retry_after(5)
            );
        }
        Arc::clone(places).try_acquire_owned().map_err(|_| {
            ApiError::new(ErrorCode::Busy, format!("{} {what} already", self.limit))
                .hint("try again; --max-transfers of this buckyd sets the limit")
                .retry_after(1)
        })
    }
}
