//! Deletes the source of a metric that moved on its own, if it is still what was copied.

use std::time::Duration;

use super::GoMove;
use super::copied::{self, Copied};
use super::receipt::GoReceipt;
use super::setback::{GoSetback, client, lasting, not_deleted};
use crate::patience::Trouble;
use crate::run::failure_kind::FailureKind;
use crate::transfer::delete::delete;
use crate::transfer::heal::Healed;

/// A file that was written this shortly before it was copied may have been written again within the same
/// second, which its modification time does not show. This is far more than a second, because the daemon may
/// wait between reading the file and its answer.
const RECENT: Duration = Duration::from_secs(60);
/// A copy that is made this long after a write has everything that was written within that second. A later
/// write shows.
const SECOND_IS_OVER: Duration = Duration::from_secs(2);

impl GoMove<'_> {
    /// Deletes the source if it is still what its owners have. Returns `false` if it is not.
    pub(super) async fn delete(&self, mut receipt: GoReceipt) -> Result<bool, GoSetback> {
        self.require_clocks()?;
        let has_condition = self.source.kind.exchanges_archives();
        match receipt.take_healed().filter(|_| has_condition) {
            Some(healed) => self.delete_by_condition(healed).await,
            // A Go daemon deletes without a condition. If all owners are Go daemons, none can be asked again
            // later.
            None => self.delete_without_condition(&receipt).await,
        }
    }

    /// Deletes by the conditional delete of a source with `/v1`.
    async fn delete_by_condition(&self, healed: Healed) -> Result<bool, GoSetback> {
        let deleted = delete(self.mover, self.source, vec![healed]).await;
        match deleted.failed.into_iter().next() {
            Some((_, failure)) => Err(GoSetback { trouble: Trouble::Lasting, failure }),
            None if deleted.left > 0 => Err(lasting(
                self.source,
                FailureKind::NotDeleted,
                "the run was stopped before it was deleted".into(),
            )),
            None => Ok(deleted.changed.is_empty()),
        }
    }

    /// Deletes by `DELETE /metrics/NAME`, after several checks of the source.
    async fn delete_without_condition(&self, receipt: &GoReceipt) -> Result<bool, GoSetback> {
        let copied = receipt.copied();
        if copied.rest.is_none_or(|rest| rest <= RECENT) {
            match self.is_unchanged(copied).await.map_err(not_deleted)? {
                None => return Ok(true),
                Some(false) => return Ok(false),
                Some(true) => {}
            }
        }
        // The last question before the delete, and a short one: a write after it cannot be noticed.
        let name = copied.metric.as_str();
        let found = self.stat_at_rest(name).await?;
        let Some((stat, answered_at)) = found else { return Ok(true) };
        if (stat.size, stat.mod_time) != (copied.stat.size, copied.stat.mod_time) {
            return Ok(false);
        }
        self.require_rest(&stat, answered_at)?;
        // The answer just now has the time of the source's clock.
        self.require_clocks()?;
        let deleted = self.source.daemon.go_delete(name).await;
        deleted.map_err(|error| not_deleted(client(self.source, &error)))?;
        self.mover.print_deleted([&copied.metric]);
        Ok(true)
    }

    fn require_clocks(&self) -> Result<(), GoSetback> {
        let allowed = self.mover.clocks.allows(&self.mover.fleet, self.source, self.owners);
        allowed.map_err(|failure| GoSetback { trouble: Trouble::Lasting, failure })
    }

    /// Whether the source's content is what was copied. It is read again when the second of the last write is
    /// over. `None` if the source does not have it any more.
    async fn is_unchanged(&self, copied: &Copied) -> Result<Option<bool>, GoSetback> {
        let fetch = || copied::fetch(self.source, &copied.metric, self.renames);
        let Some(now) = fetch().await? else { return Ok(None) };
        // If no clock shows how long ago that was, it may have been just now.
        let over_in = SECOND_IS_OVER.saturating_sub(now.rest.unwrap_or_default());
        if now.digest != copied.digest || over_in.is_zero() {
            return Ok(Some(now.digest == copied.digest));
        }
        tokio::time::sleep(over_in).await;
        let then = fetch().await?;
        Ok(then.map(|then| then.digest == copied.digest))
    }
}
