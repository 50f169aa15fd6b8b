//! The order of one run's events, as its producers handed them in.

use std::sync::Arc;

use twox_hash::XxHash3_64;

/// One event's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) sequence: u64,
    pub(crate) kind: Arc<str>,
}

/// The outermost events of a run by sequence, in one epoch of its thread's log. Reports may come in
/// any order: sequences do not change.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunOrder {
    /// The epoch's hash. 0: unknown.
    epoch: u64,
    first: Option<Step>,
    last: Option<Step>,
    /// Of the first `agent_started`. 0: unknown.
    started: u64,
    /// Of the first end. 0: unknown.
    ended: u64,
    /// Different events that end it, in this epoch.
    ends: u32,
}

/// What a producer did against the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    BeforeStart { event: Step, started: u64 },
    AfterEnd { event: Step, ended: u64 },
    TwoEnds { ends: u32 },
}

/// Whether an event of this kind ends its run.
pub(super) fn ends_run(kind: &str) -> bool {
    matches!(kind, "agent_completed" | "agent_error")
}

impl RunOrder {
    /// Takes an event that no producer had reported. `sequence` 0: unknown.
    pub(super) fn add(&mut self, epoch: &str, sequence: u64, kind: &Arc<str>) {
        let named = XxHash3_64::oneshot(epoch.as_bytes()).max(1);
        if !epoch.is_empty() && self.epoch != named {
            // Sequences of two logs cannot be compared: it counts anew.
            if self.epoch != 0 || self.first.is_some() {
                *self = Self::default();
            }
            self.epoch = named;
        }
        if ends_run(kind) {
            self.ends += 1;
        }
        if sequence == 0 {
            return;
        }
        let lower = |known: u64| {
            if known == 0 {
                sequence
            } else {
                known.min(sequence)
            }
        };
        if ends_run(kind) {
            self.ended = lower(self.ended);
        } else if &**kind == "agent_started" {
            self.started = lower(self.started);
        }
        let step = || {
            Some(Step {
                sequence,
                kind: kind.clone(),
            })
        };
        if self
            .first
            .as_ref()
            .is_none_or(|first| sequence < first.sequence)
        {
            self.first = step();
        }
        if self
            .last
            .as_ref()
            .is_none_or(|last| sequence > last.sequence)
        {
            self.last = step();
        }
    }

    /// The highest sequence. 0: unknown.
    pub(crate) fn top(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.sequence)
    }

    /// What is against the order. What was not seen proves nothing.
    pub(crate) fn breach(&self) -> Option<Breach> {
        if self.ends > 1 {
            return Some(Breach::TwoEnds { ends: self.ends });
        }
        let before = self.first.as_ref();
        if let Some(event) = before.filter(|first| first.sequence < self.started) {
            return Some(Breach::BeforeStart {
                event: event.clone(),
                started: self.started,
            });
        }
        let after = self.last.as_ref();
        let after = after.filter(|last| self.ended != 0 && last.sequence > self.ended);
        after.map(|event| Breach::AfterEnd {
            event: event.clone(),
            ended: self.ended,
        })
    }
}
