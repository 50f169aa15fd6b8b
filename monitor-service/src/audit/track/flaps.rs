//! How often the claim of health changes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use crate::domain::{ClaimedState, HealthClaim};

/// Observations that are looked at.
pub(crate) const OBSERVATIONS: usize = 21;
/// Between them.
const CHANGES_MAX: usize = OBSERVATIONS - 1;

/// The last observations of one process. A report that repeats the last round of checks is no
/// observation of its own; starting and draining are no failures and no recoveries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flaps {
    instance: Option<Arc<str>>,
    last: Option<(bool, Option<SystemTime>)>,
    /// Whether each observation differed from the one before it, oldest first.
    changes: VecDeque<bool>,
}

impl Flaps {
    pub(super) fn take(&mut self, health: &HealthClaim) {
        let counts = matches!(
            health.state,
            ClaimedState::Active | ClaimedState::Degraded | ClaimedState::Failed
        );
        if !counts {
            return;
        }
        if self.instance.as_deref() != Some(&*health.instance_id) {
            *self = Self {
                instance: Some(health.instance_id.as_str().into()),
                ..Self::default()
            };
        }
        let well = health.healthy && health.state == ClaimedState::Active;
        let checked = health.last_health_check_time;
        if let Some((was_well, last_checked)) = self.last {
            let changed = was_well != well;
            let new_round = checked.is_none() || checked > last_checked;
            if !changed && !new_round {
                return;
            }
            if self.changes.len() >= CHANGES_MAX {
                self.changes.pop_front();
            }
            self.changes.push_back(changed);
        }
        self.last = Some((well, checked));
    }

    /// Changes among the last observations.
    pub(crate) fn count(&self) -> u32 {
        let changes = self.changes.iter().filter(|changed| **changed);
        u32::try_from(changes.count()).unwrap_or(u32::MAX)
    }

    /// Their share, in percent of all that were possible.
    pub(crate) fn percent(&self) -> u32 {
        self.count().saturating_mul(100) / CHANGES_MAX as u32
    }

    /// Whether nothing was observed yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.last.is_none()
    }
}
