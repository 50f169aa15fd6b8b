//! The tool calls of one run.

use std::time::Instant;

use super::observer::ObserverKey;
use super::run::{Seen, remember};
use crate::domain::Vantage;

/// Calls that have ended on both sides are remembered for a while, so that a late word about one
/// does not open it again.
const DONE_KEPT: usize = 2;

/// One tool call of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct ToolCall {
    /// When its start was first reported.
    pub(crate) executing: Option<Instant>,
    executing_at: [bool; 2],
    /// When its end was first reported, by vantage.
    completed_at: [Option<Instant>; 2],
    completed_by: Vec<ObserverKey>,
}

impl ToolCall {
    pub(crate) fn completed(&self) -> bool {
        self.completed_at.iter().any(Option::is_some)
    }

    pub(crate) fn executing_seen(&self, vantage: Vantage) -> bool {
        self.executing_at[place(vantage)]
    }

    pub(crate) fn completed_seen(&self, vantage: Vantage) -> Option<Instant> {
        self.completed_at[place(vantage)]
    }

    pub(super) fn completed_by(&self) -> &[ObserverKey] {
        &self.completed_by
    }

    /// Ended at a vantage where its start was not seen.
    pub(super) fn lacks_its_start(&self) -> bool {
        [Vantage::Producer, Vantage::Consumer]
            .into_iter()
            .any(|at| self.completed_seen(at).is_some() && !self.executing_seen(at))
    }

    /// Began and ended on both sides: nothing more can be asked of it.
    fn is_done(&self) -> bool {
        self.executing_at == [true; 2] && self.completed_at.iter().all(Option::is_some)
    }
}

pub(super) const fn place(vantage: Vantage) -> usize {
    match vantage {
        Vantage::Producer => 0,
        Vantage::Consumer => 1,
    }
}

/// The calls and their ids: few at a time, so they are searched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tools {
    calls: Vec<(Box<str>, ToolCall)>,
}

impl Tools {
    /// Takes a tool's event; returns how much had to leave for it.
    pub(super) fn record(&mut self, seen: &Seen<'_>, tools_max: usize) -> u64 {
        let id = seen.sighting.tool_call_id.as_str();
        let executing = seen.sighting.event_type == "tool_executing";
        // Without an id, a start and an end cannot be told to belong together.
        if id.is_empty() || !(executing || seen.sighting.event_type == "tool_completed") {
            return 0;
        }
        let mut evicted = 0;
        let known = self.calls.iter().position(|(known, _)| **known == *id);
        if known.is_none() && !seen.first_here {
            // Others at this vantage told of it long ago: it was done, and is forgotten.
            return 0;
        }
        let index = known.unwrap_or_else(|| {
            if self.calls.len() >= tools_max {
                evicted = u64::from(self.forget_one());
            }
            self.forget_done();
            self.calls.reserve_exact(1);
            self.calls.push((id.into(), ToolCall::default()));
            self.calls.len() - 1
        });
        let call = &mut self.calls[index].1;
        let vantage = place(seen.vantage);
        if executing {
            call.executing_at[vantage] = true;
            call.executing.get_or_insert(seen.at.monotonic);
        } else {
            call.completed_at[vantage].get_or_insert(seen.at.monotonic);
            remember(&mut call.completed_by, seen.observer);
        }
        evicted
    }

    fn forget_done(&mut self) {
        let done = self.calls.iter().filter(|(_, call)| call.is_done()).count();
        if done > DONE_KEPT {
            self.calls.retain(|(_, call)| !call.is_done());
        }
    }

    /// Completed calls leave before open ones.
    fn forget_one(&mut self) -> bool {
        let done = self.calls.iter().position(|(_, call)| call.completed());
        let index = done.unwrap_or(0);
        let any = index < self.calls.len();
        if any {
            self.calls.remove(index);
        }
        any
    }

    /// Calls that began and have not ended, oldest first.
    pub(super) fn open(&self) -> Vec<(&str, Instant)> {
        let mut tools: Vec<(&str, Instant)> = self
            .calls
            .iter()
            .filter(|(_, call)| !call.completed())
            .filter_map(|(id, call)| call.executing.map(|since| (&**id, since)))
            .collect();
        tools.sort_by_key(|(id, since)| (*since, *id));
        tools
    }

    /// Since when the longest is open. `None`: none is.
    pub(super) fn open_since(&self) -> Option<Instant> {
        let calls = self.calls.iter().map(|(_, call)| call);
        let open = calls.filter(|call| !call.completed());
        open.filter_map(|call| call.executing).min()
    }

    pub(super) fn has_orphan(&self) -> bool {
        self.calls.iter().any(|(_, call)| call.lacks_its_start())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &ToolCall)> {
        self.calls.iter().map(|(id, call)| (&**id, call))
    }
}
