//! What the stream says beside what the calls are answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use service_kit::clock::Now;

use crate::domain::{ClaimedState, HealthClaim};

/// What stands for a beat where the stream promises none.
const BEAT: Duration = Duration::from_secs(1);

/// What was said last on one way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Word {
    pub(crate) health: Arc<HealthClaim>,
    pub(crate) at: Now,
}

/// Stream and calls disagree about one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dispute {
    pub(crate) since: Now,
    /// When the stream last brought a new status.
    pub(crate) streamed: Option<Now>,
    /// When the newest call that was answered with a new status was sent.
    pub(crate) answered: Option<Now>,
}

/// Both ways beside each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Words {
    pub(crate) stream: Option<Word>,
    pub(crate) call: Option<Word>,
    pub(crate) dispute: Option<Dispute>,
    /// In which time the stream promised its next message. `None`: no promise.
    promise: Option<Duration>,
}

impl Words {
    pub(super) fn streamed(
        &mut self,
        health: &Arc<HealthClaim>,
        promise: Option<Duration>,
        new: bool,
        now: Now,
    ) {
        let health = health.clone();
        self.promise = promise;
        self.stream = Some(Word { health, at: now });
        self.compare(now);
        if new && let Some(dispute) = &mut self.dispute {
            dispute.streamed = Some(now);
        }
    }

    pub(super) fn answered(&mut self, health: &Arc<HealthClaim>, sent: Now, new: bool) {
        let health = health.clone();
        self.call = Some(Word { health, at: sent });
        self.compare(sent);
        if new && let Some(dispute) = &mut self.dispute {
            dispute.answered = Some(sent);
        }
    }

    pub(super) fn stream_lost(&mut self) {
        self.stream = None;
        self.dispute = None;
    }

    fn compare(&mut self, now: Now) {
        let (Some(stream), Some(call)) = (&self.stream, &self.call) else {
            return;
        };
        let (stream, call) = (&stream.health, &call.health);
        let drains = [stream, call]
            .iter()
            .any(|health| health.state == ClaimedState::Draining);
        let agree = (stream.state, stream.healthy) == (call.state, call.healthy);
        // Two processes behind one address may each tell the truth.
        if drains || agree || stream.instance_id != call.instance_id {
            self.dispute = None;
        } else {
            self.dispute.get_or_insert(Dispute {
                since: now,
                streamed: None,
                answered: None,
            });
        }
    }

    /// How long the two may disagree: a change may take a beat to come.
    pub(crate) fn allowed(&self, grace: Duration) -> Duration {
        self.promise.unwrap_or(BEAT) + grace
    }

    /// When a call is needed to tell a contradiction from a change under way. `None`: there is no
    /// dispute, or one was made late enough.
    pub(super) fn audit_at(&self, grace: Duration) -> Option<Instant> {
        let ripe = self.dispute?.since.monotonic + self.allowed(grace);
        let called = self.call.as_ref().map(|call| call.at.monotonic);
        called.is_none_or(|at| at < ripe).then_some(ripe)
    }
}
