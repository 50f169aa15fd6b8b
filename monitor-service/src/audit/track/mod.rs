//! What the rules remember of a component's claims beyond the newest ones. Every part is bounded,
//! and keeps one process apart from another.

pub(crate) mod clocks;
pub(crate) mod counters;
pub(crate) mod flaps;
pub(crate) mod freshness;
mod instances;
pub(crate) mod latency;
pub(crate) mod recovery;
pub(crate) mod words;

use std::sync::Arc;
use std::time::{Duration, Instant};

use service_kit::clock::Now;

use self::clocks::Clocks;
use self::counters::Counters;
use self::flaps::Flaps;
use self::freshness::{Nonce, Path};
use self::latency::Latency;
use self::recovery::Recovery;
use self::words::Words;
use super::settings::RuleSettings;
use crate::domain::{Answer, HealthClaim, MetricsClaim};

/// The past of one component's claims.
#[derive(Clone, Debug, Default)]
pub(crate) struct Track {
    pub(crate) stream: Path,
    pub(crate) calls: Path,
    pub(crate) nonce: Nonce,
    pub(crate) words: Words,
    pub(crate) counters: Counters,
    pub(crate) flaps: Flaps,
    pub(crate) clocks: Clocks,
    pub(crate) latency: Latency,
    pub(crate) recovery: Recovery,
    /// When the newest audit was done. `None`: its health call got no answer, or none was made.
    answered: Option<Instant>,
}

impl Track {
    /// Takes a message of the watch stream.
    pub(super) fn watched(
        &mut self,
        health: &Arc<HealthClaim>,
        promise: Option<Duration>,
        now: Now,
    ) {
        self.clocks.turn(now);
        let new = self.stream.take(health, None, now);
        self.words.streamed(health, promise, new, now);
        self.flaps.take(health);
        self.recovery.claimed(health, now);
        if new && let Some(made) = health.observe_time {
            self.clocks.streamed(made, now);
        }
    }

    /// Notes that the watch stream is gone.
    pub(super) fn stream_lost(&mut self, now: Now) {
        self.words.stream_lost();
        self.recovery.unseen(now);
    }

    /// Takes the answer of an audit's health call. `stream_alive`: the watch stream tells of every
    /// change, so that this answer adds no observation.
    pub(super) fn answered(
        &mut self,
        health: &Arc<HealthClaim>,
        call: &Answer<HealthClaim>,
        nonce_echoed: bool,
        stream_alive: bool,
        now: Now,
    ) {
        self.clocks.turn(now);
        self.answered = Some(now.monotonic);
        self.nonce.take(nonce_echoed, now);
        let new = self.calls.take(health, Some(call.sent), call.received);
        self.words.answered(health, call.sent, new && nonce_echoed);
        if !stream_alive {
            self.flaps.take(health);
            self.recovery.unseen(now);
        }
        self.recovery.claimed(health, now);
        self.latency.take(call.latency(), call.sent.monotonic);
        if new && nonce_echoed {
            self.clocks.answered(call);
        } else {
            self.clocks.skipped();
        }
    }

    /// Notes that an audit's health call got no answer.
    pub(super) fn unanswered(&mut self) {
        self.answered = None;
    }

    /// Takes the counters of an audit.
    pub(super) fn counted(&mut self, metrics: &Arc<MetricsClaim>, call: &Answer<MetricsClaim>) {
        self.counters.take(metrics, call.sent, call.received);
        self.recovery.counted(metrics, call.received);
        self.latency.loaded(metrics, call.received.monotonic);
    }

    /// When the next audit is wanted, before the scheduled one. `None`: there is no hurry.
    fn audit_at(&self, settings: &RuleSettings, now: Now) -> Option<Instant> {
        let last = self.answered?;
        let urgent = self.latency.is_short(settings.limping_calls_min)
            || self.clocks.is_unsure(settings.clock_tolerance, now)
            || self.calls.repeats(settings.frozen_answers_min);
        let standing = self.nonce.missed > 0
            || self.calls.is_suspect()
            || self.latency.streak_since().is_some()
            || self.clocks.is_suspect(settings.clock_tolerance, now)
            || self.words.dispute.is_some()
            || self.counters.replay.is_some()
            || self.recovery.is_trying(settings.recovery_window, last);
        let moments = [
            urgent.then_some(last),
            standing.then(|| last + settings.recheck),
            self.clocks.lag_audit_at(last),
            self.words
                .audit_at(settings.contradiction_grace)
                .map(|at| at.max(last)),
        ];
        moments.into_iter().flatten().min()
    }

    /// Whether an audit is wanted now.
    pub(crate) fn wants_audit(&self, settings: &RuleSettings, now: Now) -> bool {
        self.audit_at(settings, now)
            .is_some_and(|at| at <= now.monotonic)
    }

    /// The moments at which time alone changes what the rules say of this.
    pub(super) fn deadlines(&self, settings: &RuleSettings, now: Now) -> [Option<Instant>; 3] {
        let shown = |at: Instant| at + settings.regression_shown;
        [
            self.audit_at(settings, now),
            self.counters
                .fall
                .as_ref()
                .map(|fall| shown(fall.at.monotonic)),
            self.newest_sequence_fall()
                .map(|fall| shown(fall.at.monotonic)),
        ]
    }

    /// The newest fall of a sequence, whichever way it was seen.
    pub(crate) fn newest_sequence_fall(&self) -> Option<&freshness::Fall> {
        let falls = [&self.stream.fall, &self.calls.fall];
        let seen = falls.into_iter().flatten();
        seen.max_by_key(|fall| fall.at.monotonic)
    }
}
