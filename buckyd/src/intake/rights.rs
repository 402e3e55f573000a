//! What a caller may do to the metrics of a heal or a pull, metric by metric.

use bucky_api::token::{Denied, Operation};
use bucky_api::{HealLine, Problem};
use bucky_whisper::MetricName;

use super::renames::Renames;
use crate::auth::Caller;
use crate::http::respond::ApiError;
use crate::store::OnCorrupt;

/// The caller, and the operation that it needs for each metric.
pub(crate) struct Rights {
    caller: Caller,
    needed: &'static [Operation],
}

impl Rights {
    /// The rights of `caller`. Replacing a file takes more than filling it.
    ///
    /// # Errors
    /// If it may do that to no metric at all.
    pub(crate) fn of(caller: Caller, on_corrupt: OnCorrupt) -> Result<Self, ApiError> {
        let needed: &[Operation] = match on_corrupt {
            OnCorrupt::Leave => &[Operation::Update],
            OnCorrupt::Replace => &[Operation::Update, Operation::Replace],
        };
        let all = needed.iter().try_for_each(|operation| caller.has(*operation));
        all.map_err(ApiError::forbidden)?;
        Ok(Self { caller, needed })
    }

    /// The line for a metric that may not be healed here. `None` if it may.
    pub(crate) fn refusal(&self, metric: &MetricName) -> Option<HealLine> {
        let denied = self.caller.may_all(self.needed, metric).err()?;
        Some(refused(metric, &denied))
    }

    /// Separates the metrics that may be pulled from the lines of those that may not. A metric is changed
    /// here under its new name, and the caller can then read it under that name. So the caller must also be
    /// allowed to read it at the source (D9). If no metric may be pulled, that is an error.
    ///
    /// # Errors
    /// See above.
    pub(crate) fn separate(
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
    HealLine::not_healed(metric.clone(), Problem::Forbidden, denied.to_string())
}
