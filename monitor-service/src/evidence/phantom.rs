//! Events that arrived and that nobody handed in.

use std::sync::Arc;
use std::time::Instant;

use super::Evidence;
use super::event::Event;
use super::loss::{Looked, Losses};
use super::observer::Observer;
use super::reading::Scope;
use super::run::Run;
use crate::domain::Vantage;

/// Such events of one thread that are looked at.
const EVENTS_MAX: usize = 64;

/// An event that a consumer got and that no producer of its run, or of its thread, knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phantom {
    pub(crate) thread_id: Arc<str>,
    pub(crate) run_id: Arc<str>,
    pub(crate) event_id: Arc<str>,
    pub(crate) kind: Arc<str>,
    pub(crate) sequence: u64,
    /// Whether a producer reports its run.
    pub(crate) run_known: bool,
    /// The producer that should know it.
    pub(crate) producer: Arc<str>,
    /// When a consumer reported it.
    pub(crate) since: Instant,
}

impl Evidence {
    /// Returns whether something may still turn out to be one.
    pub(super) fn find_phantoms(
        &self,
        look: &Looked<'_>,
        scope: Scope,
        losses: &mut Losses,
    ) -> bool {
        let mut pending = false;
        for place in look.thread.unsent.iter().take(EVENTS_MAX) {
            let Some(event) = look.thread.event(*place) else {
                continue;
            };
            let Some(run) = self.runs.get(&event.run_id) else {
                continue;
            };
            // Where no producer tells of the thread at all, nothing can be said.
            if look.thread.produced_since.is_none() {
                continue;
            }
            pending = true;
            losses
                .phantoms
                .extend(self.phantom(look, (event, run), scope));
        }
        pending
    }

    fn phantom(
        &self,
        look: &Looked<'_>,
        (event, run): (&Event, &Run),
        scope: Scope,
    ) -> Option<Phantom> {
        let consumed = event.consumed?;
        let current = scope.baseline.is_none_or(|baseline| consumed >= baseline);
        // What was remembered of the thread before may have left.
        let known_long = look.thread.produced_since.is_some_and(|at| at <= consumed);
        if !current || !known_long || event.sequence == 0 {
            return None;
        }
        let run_known = run.produced > 0;
        // The producer has told of what came before it and after it.
        let told = match run_known {
            true => {
                let ended = run.finished_at(Vantage::Producer).is_some();
                ended || run.order.top() > event.sequence
            }
            // A run that began may be that of a producer that does not report.
            false => !run.was_started() && look.thread.surrounds(event.sequence),
        };
        if !told {
            return None;
        }
        let settled = Some(consumed + scope.grace);
        let knows = |observer: &&Observer| {
            observer.vantage == Vantage::Producer && observer.caught_up >= settled
        };
        let producer = match run_known {
            true => {
                let of_run = run.seen_by.iter();
                let mut of_run = of_run.filter_map(|key| self.observers.get(*key));
                of_run.find(knows)
            }
            false => look.thread.producers(&self.observers).find(knows),
        }?;
        Some(Phantom {
            thread_id: look.id.clone(),
            run_id: event.run_id.clone(),
            event_id: event.id.clone(),
            kind: event.kind.clone(),
            sequence: event.sequence,
            run_known,
            producer: producer.name.clone(),
            since: consumed,
        })
    }
}
