//! The conservation law: accepted = delivered + expired + dropped + pending, always.
//!
//! The only way to change a count is a step of one event from one stage to the next, and each step
//! goes to its run and to the total at once, so that neither can drift from the other.

use super::event::Stages;
use super::runs::{RunKey, Runs};

/// A step of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Into pending.
    Accept,
    /// From pending to delivered.
    Deliver,
    /// Delivered, and now acknowledged too.
    Acknowledge,
    /// From pending to expired.
    Expire,
    /// From pending to dropped, for a reason.
    Drop(&'static str),
}

impl Stages {
    /// Takes one step.
    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::Accept => {
                self.accepted += 1;
                self.pending += 1;
            }
            Step::Deliver => {
                self.pending -= 1;
                self.delivered += 1;
            }
            Step::Acknowledge => self.acknowledged += 1,
            Step::Expire => {
                self.pending -= 1;
                self.expired += 1;
            }
            Step::Drop(reason) => {
                self.pending -= 1;
                *self.dropped.entry(reason).or_default() += 1;
            }
        }
    }

    /// Whether the conservation law holds, and acknowledged is within delivered.
    pub(crate) fn balanced(&self) -> bool {
        let dropped: u64 = self.dropped.values().sum();
        self.accepted == self.delivered + self.expired + dropped + self.pending
            && self.acknowledged <= self.delivered
    }
}

/// The totals, synthetic events apart.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) users: Stages,
    pub(crate) synthetic: Stages,
}

impl Ledger {
    /// Takes a step of an event of this run. A run that is held no more is in the total alone.
    pub(crate) fn take(&mut self, runs: &mut Runs, run: RunKey, synthetic: bool, step: Step) {
        if let Some(run) = runs.get_mut(run) {
            run.stages.take(step);
        }
        let total = if synthetic {
            &mut self.synthetic
        } else {
            &mut self.users
        };
        total.take(step);
    }

    /// Breaks the law: a user's event leaves pending for nowhere.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn lose_one(&mut self, runs: &mut Runs, run: RunKey) {
        if let Some(run) = runs.get_mut(run) {
            run.stages.pending -= 1;
        }
        self.users.pending -= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_path_of_events_balances(paths in prop::collection::vec(0_u8..5, 0..100)) {
            let mut stages = Stages::default();
            for path in paths {
                stages.take(Step::Accept);
                prop_assert!(stages.balanced());
                match path {
                    0 => {}
                    1 => stages.take(Step::Deliver),
                    2 => {
                        stages.take(Step::Deliver);
                        stages.take(Step::Acknowledge);
                    }
                    3 => stages.take(Step::Expire),
                    _ => stages.take(Step::Drop("shutdown")),
                }
                prop_assert!(stages.balanced());
            }
        }
    }

    #[test]
    fn a_lost_event_shows() {
        let mut stages = Stages::default();
        stages.take(Step::Accept);
        stages.pending -= 1;
        assert!(!stages.balanced());
    }
}
