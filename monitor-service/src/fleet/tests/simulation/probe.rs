//! A component's probe, as the real one acts, and the network between the two.

use std::time::Duration;

use service_kit::clock::Now;

use super::dice::{MILLI, SECOND};
use super::life::BridgeStep;
use super::monitor::{Heard, Message};
use super::world::{At, What, World};
use crate::domain::{
    CallError, ClaimedState, HealthClaim, MetricsClaim, ProbeEvent, WatchMessage, WatchReason,
};
use crate::probe::settings::ProbeSettings;

/// What a promise may be late before the probe calls, and how soon audits may follow each other.
const PROMISE_GRACE: At = 250 * MILLI;
const AUDIT_GAP: At = 100 * MILLI;

#[derive(Clone, Copy)]
pub(super) enum ProbeStep {
    /// Open the watch stream.
    Open,
    /// The next look, unless another came first.
    LookDue(u64),
    /// The pause after an audit is over.
    Rested,
    /// Look by calling, for a reason.
    Look,
}

/// Both calls of an audit.
pub(super) struct Calls {
    /// It is an audit, and no mere look.
    pub(super) audit: bool,
    pub(super) sent: Now,
    pub(super) health: Result<HealthClaim, CallError>,
    pub(super) metrics: Result<MetricsClaim, CallError>,
}

/// The way between a component and the monitor.
#[derive(Default)]
pub(super) struct Link {
    /// The stream that the component serves now.
    pub(super) stream: Option<u64>,
    /// What is sent before this moment arrives after it.
    pub(super) slow_until: At,
    /// Until then all takes so much longer, and does not wait for that moment. 0: it waits.
    pub(super) slower_by: At,
    /// Only the stream is held up.
    pub(super) only_stream: bool,
    /// New streams fail before this moment.
    pub(super) no_streams_until: At,
    /// The next call runs into its deadline.
    pub(super) loses_call: bool,
    last_arrival: At,
}

/// The probe's own state.
#[derive(Default)]
pub(super) struct Probe {
    opened: u64,
    /// The stream that it follows.
    following: Option<u64>,
    attempts: u32,
    busy: bool,
    notified: bool,
    looks: u64,
    failing: bool,
    audit_at: At,
}

impl World {
    pub(super) fn probe_step(&mut self, number: usize, step: ProbeStep) {
        match step {
            ProbeStep::Open => self.opens(number),
            ProbeStep::LookDue(looks) => {
                let probe = &self.places[number].probe;
                if !probe.busy && probe.looks == looks {
                    let audit = probe.audit_at <= self.core.at;
                    self.calls(number, audit);
                }
            }
            ProbeStep::Rested => {
                let probe = &mut self.places[number].probe;
                probe.busy = false;
                let (looks, audit_at) = (probe.looks, probe.audit_at);
                if std::mem::take(&mut probe.notified) {
                    self.calls(number, true);
                } else {
                    // Those without traffic as in a fleet of ten thousand: it saves time.
                    let slow = if self.places[number].lively { 1 } else { 10 };
                    let glance = self.core.at + self.core.dice.millis(900, 1_100) * slow;
                    let due = What::Probe(number, ProbeStep::LookDue(looks));
                    self.core.plan(glance.min(audit_at.max(self.core.at)), due);
                }
            }
            ProbeStep::Look => self.looks(number),
        }
    }

    pub(super) fn audit(&mut self, wanted: &[usize]) {
        for number in wanted {
            self.looks(*number);
        }
    }

    fn looks(&mut self, number: usize) {
        let probe = &mut self.places[number].probe;
        if probe.busy {
            probe.notified = true;
        } else {
            self.calls(number, true);
        }
    }

    fn source(number: usize, kind: u64) -> u64 {
        number as u64 * 1_000 + kind
    }

    /// When what is sent now arrives.
    pub(super) fn arrival(&mut self, number: usize) -> At {
        self.way(number, false)
    }

    fn way(&mut self, number: usize, stream: bool) -> At {
        let latency = self.core.dice.number(200, 15 * MILLI);
        let link = &self.places[number].link;
        let at = self.core.at;
        if link.only_stream && !stream {
            return at + latency;
        }
        match link.slower_by {
            0 => at.max(link.slow_until) + latency,
            _ if at >= link.slow_until => at + latency,
            slower_by => at + slower_by + latency,
        }
    }

    fn stream_arrival(&mut self, number: usize) -> At {
        let arrival = self.way(number, true);
        let link = &mut self.places[number].link;
        link.last_arrival = arrival.max(link.last_arrival + 1);
        link.last_arrival
    }

    fn opens(&mut self, number: usize) {
        let at = self.core.at;
        let place = &mut self.places[number];
        place.probe.opened += 1;
        let stream = place.probe.opened;
        place.probe.following = Some(stream);
        let error = if !place.up {
            Some(CallError::Unreachable("connection refused".into()))
        } else if place.bridge.state == ClaimedState::Draining || at < place.link.no_streams_until {
            Some(CallError::Refused {
                code: "UNAVAILABLE".into(),
                message: "no streams now".into(),
            })
        } else {
            None
        };
        if let Some(error) = error {
            let arrives = self.arrival(number);
            self.hear_stream(number, arrives, Message::Broken(stream, error));
            return;
        }
        place.link.stream = Some(stream);
        self.sends(number, false, WatchReason::Initial);
        self.plan_beat(number, stream);
    }

    fn hear_stream(&mut self, place: usize, arrives: At, message: Message) {
        let source = Self::source(place, 0);
        self.deliver(
            arrives,
            Heard {
                place,
                source,
                waited: false,
                message,
            },
        );
    }

    /// Inside the promise, with some of it left for the way.
    fn plan_beat(&mut self, number: usize, stream: u64) {
        let promise = self.places[number].bridge.nature.promise;
        let most = if promise > SECOND { 95 } else { 75 };
        let span = self.core.dice.number(promise / 2, promise / 100 * most);
        self.core
            .later(span, What::Bridge(number, BridgeStep::Beat(stream)));
    }

    pub(super) fn beats(&mut self, number: usize, stream: u64) {
        if self.places[number].link.stream == Some(stream) {
            self.tells(number, WatchReason::Heartbeat);
            self.plan_beat(number, stream);
        }
    }

    /// Puts a status on the stream that is open.
    pub(super) fn sends(&mut self, number: usize, leaving: bool, reason: WatchReason) {
        let (at, true_time) = (self.core.at, self.core.true_time());
        let place = &mut self.places[number];
        let Some(stream) = place.link.stream else {
            return;
        };
        let bridge = match (&mut place.leaving, leaving) {
            (Some(old), true) => old,
            _ => &mut place.bridge,
        };
        let promise = bridge.nature.promise;
        let message = WatchMessage {
            health: bridge.status(true, at, true_time),
            reason,
            next_within: (reason != WatchReason::Draining).then(|| Duration::from_micros(promise)),
        };
        let patience = place.link.last_arrival + promise + PROMISE_GRACE;
        let arrives = self.stream_arrival(number);
        if reason != WatchReason::Initial && patience < arrives {
            self.core
                .plan(patience, What::Probe(number, ProbeStep::Look));
        }
        self.hear_stream(number, arrives, Message::Watched(stream, message));
    }

    /// The component, or the network, ends the stream.
    pub(super) fn ends_stream(&mut self, number: usize, error: Option<CallError>) {
        if let Some(stream) = self.places[number].link.stream.take() {
            let arrives = self.stream_arrival(number);
            let message = match error {
                Some(error) => Message::Broken(stream, error),
                None => Message::Ended(stream),
            };
            self.hear_stream(number, arrives, message);
        }
    }

    pub(super) fn watched(&mut self, number: usize, stream: u64, message: WatchMessage) {
        let probe = &mut self.places[number].probe;
        if probe.following != Some(stream) {
            return;
        }
        probe.attempts = 0;
        let news = message.reason != WatchReason::Heartbeat;
        let at = self.core.at;
        let wanted = (self.core.monitor).probe(number, ProbeEvent::Watched(message), at);
        self.audit(&wanted);
        if news {
            self.looks(number);
        }
    }

    pub(super) fn stream_over(&mut self, number: usize, stream: u64, error: Option<CallError>) {
        let settings = ProbeSettings::default();
        let probe = &mut self.places[number].probe;
        if probe.following != Some(stream) {
            return;
        }
        probe.following = None;
        let opened = probe.attempts == 0;
        let whole = settings.reconnect_base * 2_u32.pow(probe.attempts.min(10));
        let whole = whole.min(settings.reconnect_cap).as_micros() as u64;
        probe.attempts += 1;
        let event = match error {
            Some(error) => ProbeEvent::WatchFailed(error),
            None => ProbeEvent::WatchEnded,
        };
        let wanted = self.core.monitor.probe(number, event, self.core.at);
        self.audit(&wanted);
        if opened {
            self.looks(number);
        }
        let pause = self.core.dice.number(whole / 2, whole);
        self.core.later(pause, What::Probe(number, ProbeStep::Open));
    }

    /// Both calls of an audit go out.
    fn calls(&mut self, number: usize, audit: bool) {
        let at = self.core.at;
        let true_time = self.core.true_time();
        let sent = self.core.monitor.now(at);
        let mut arrives = self.arrival(number);
        let place = &mut self.places[number];
        place.probe.busy = true;
        place.probe.looks += 1;
        let failed = |error: CallError| (Err(error.clone()), Err(error));
        let (health, metrics) = if !place.up {
            failed(CallError::Unreachable("connection refused".into()))
        } else if std::mem::take(&mut place.link.loses_call) {
            arrives = at + 2 * SECOND;
            failed(CallError::TimedOut(Duration::from_secs(2)))
        } else {
            let health = place.bridge.status(false, at, true_time);
            (Ok(health), Ok(place.bridge.metrics(at, true_time)))
        };
        let calls = Calls {
            audit,
            sent,
            health,
            metrics,
        };
        let heard = Heard {
            place: number,
            source: Self::source(number, 1),
            waited: false,
            message: Message::Called(Box::new(calls)),
        };
        self.deliver(arrives, heard);
    }

    pub(super) fn called(&mut self, number: usize, mut calls: Box<Calls>) {
        let at = self.core.at;
        // A deadline that passed while the monitor stood still is its own.
        let stood_still = self.core.monitor.now(at).since(calls.sent.monotonic);
        if stood_still > Duration::from_secs(2) && self.core.dice.chance(0.5) {
            let own = CallError::Own("it was itself standing still".into());
            calls.health = Err(own.clone());
            calls.metrics = Err(own);
        }
        // Where answers cease, or come again, that is an audit; a look without one is not told.
        let failing = calls.health.is_err();
        let probe = &mut self.places[number].probe;
        calls.audit |= failing != std::mem::replace(&mut probe.failing, failing);
        let told = calls.audit || !failing;
        if calls.audit {
            self.places[number].probe.audit_at = at + self.core.dice.seconds(27, 33);
        } else {
            self.core.troubles.count("glances", 1);
        }
        if told {
            let event = self.core.monitor.probed(*calls, at);
            let wanted = self.core.monitor.probe(number, event, at);
            self.audit(&wanted);
        }
        self.core
            .later(AUDIT_GAP, What::Probe(number, ProbeStep::Rested));
    }
}
