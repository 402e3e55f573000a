//! What whoever asks may do to the metrics that a heal or a pull brings, metric by metric.

use bucky_api::token::{Denied, Operation};
use bucky_api::{HealLine, HealOutcome, Problem};
use bucky_whisper::MetricName;

use super::renames::Renames;
use crate::auth::Caller;
use crate::http::respond::ApiError;
use crate::store::OnCorrupt;

/// The caller, and what it must be allowed at each metric.
pub(crate) struct Rights {
    caller: Caller,
    needed: &'static [Operation],
}

impl Rights {
    /// Those of `caller`. To replace a file takes more than to fill it.
    ///
    /// # Errors
    /// Where it may do that to no metric at all.
    pub(crate) fn of(caller: Caller, on_corrupt: OnCorrupt) -> Result<Self, ApiError> {
        let needed: &[Operation] = match on_corrupt {
            OnCorrupt::Leave => &[Operation::Update],
            OnCorrupt::Replace => &[Operation::Update, Operation::Replace],
        };
        let all = needed.iter().try_for_each(|operation| caller.has(*operation));
        all.map_err(ApiError::forbidden)?;
        Ok(Self { caller, needed })
    }

    /// The line of a metric that may not be healed here; none for one that may.
    pub(crate) fn refusal(&self, metric: &MetricName) -> Option<HealLine> {
        let denied = self.caller.may_all(self.needed, metric).err()?;
        Some(refused(metric, &denied))
    }

    /// The metrics that may be pulled, and the lines of those that may not: they are changed here under the names that
    /// they are stored under, and whoever pulls sees them then, so that he must be allowed to read them there (D9). Where
    /// none may be, that is the answer.
    ///
    /// # Errors
    /// See above.
    pub(crate) fn sorted_out(
        &self,
        metrics: Vec<MetricName>,
        renames: &Renames,
    ) -> Result<(Vec<MetricName>, Vec<HealLine>), ApiError> {
        let mut denied = Vec::new();
        let mut allowed = Vec::with_capacity(metrics.len());
        for metric in metrics {
            let read = self.caller.may(Operation::Read, &metric);
            let stored_as = renames.stored_as(&metric);
            let both = read.and_then(|()| self.caller.may_all(self.needed, stored_as));
            match both {
                Ok(()) => allowed.push(metric),
                Err(error) => denied.push(refused(&metric, &error)),
            }
        }
        match denied.first() {
            Some(line) if allowed.is_empty() => {
                Err(ApiError::forbidden(format!("{}: {}", line.metric, line.reason)))
            }
            _ => Ok((allowed, denied)),
        }
    }
}

fn refused(metric: &MetricName, denied: &Denied) -> HealLine {
    HealLine {
        metric: metric.clone(),
        stored_as: None,
        outcome: HealOutcome::Refused,
        points: 0,
        held: None,
        difference: None,
        bytes: 0,
        digest: None,
        problem: Some(Problem::Forbidden),
        reason: denied.to_string(),
    }
}
