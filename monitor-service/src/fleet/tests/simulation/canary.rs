//! The monitor's own runs through a component, as the real ones act.

use std::time::Duration;

use service_kit::clock::Now;

use super::dice::MILLI;
use super::world::{At, What, World};
use crate::canary::settings::CanarySettings;
use crate::domain::{CanaryOutcome, CanaryRun, ClaimedState, ProbeEvent};

/// Between a failed run and the one that tells it from an accident.
const RETRY_PAUSE: At = 200 * MILLI;

pub(super) enum CanaryStep {
    /// The next round begins.
    Round,
    /// Another run, beside or after one that is late or failed.
    Company,
    Ends(Box<Run>),
}

/// A run under way.
pub(super) struct Run {
    key: u64,
    began: Now,
    /// The process that it went to.
    instance: u64,
    /// What comes of it where nothing happens meanwhile.
    outcome: CanaryOutcome,
    /// Where it fails, another one follows at once.
    alert: bool,
    /// It is late, and another one has been sent beside it: what follows is after that one.
    accompanied: bool,
}

/// The runs through one component.
#[derive(Default)]
pub(super) struct Runs {
    begun: u64,
    /// The newest came back whole.
    whole: bool,
    /// One came back at some time: the component takes events.
    served: bool,
    /// When the round began.
    round: At,
}

fn micros(span: Duration) -> At {
    u64::try_from(span.as_micros()).unwrap()
}

impl World {
    pub(super) fn canary_step(&mut self, number: usize, step: CanaryStep) {
        match step {
            CanaryStep::Round if !self.places[number].lively => {
                let wanted = (self.core.monitor).probe(number, ProbeEvent::NoCanary, self.core.at);
                self.audit(&wanted);
            }
            CanaryStep::Round => {
                let runs = &mut self.places[number].runs;
                runs.round = self.core.at;
                let alert = runs.whole;
                self.run_begins(number, alert);
            }
            CanaryStep::Company => self.run_begins(number, false),
            CanaryStep::Ends(run) => self.run_ends(number, *run),
        }
    }

    fn run_begins(&mut self, number: usize, alert: bool) {
        let settings = CanarySettings::default();
        let at = self.core.at;
        let mut span = self.arrival(number) + self.core.dice.millis(1, 30) - at;
        let place = &mut self.places[number];
        let session = place.session.as_ref();
        if session.is_some_and(|session| at < session.overloaded_until) {
            span += self.core.dice.millis(200, 900);
        }
        let outcome = match place.bridge.state {
            _ if !place.up => CanaryOutcome::Failed("connection refused".into()),
            ClaimedState::Active | ClaimedState::Degraded if span > micros(settings.deadline) => {
                span = micros(settings.deadline);
                CanaryOutcome::Failed("it did not come back in time".into())
            }
            ClaimedState::Active | ClaimedState::Degraded => {
                CanaryOutcome::Whole(Duration::from_micros(span))
            }
            _ => CanaryOutcome::Draining("no events now".into()),
        };
        place.runs.begun += 1;
        let half = micros(settings.deadline) / 2;
        let run = Run {
            key: place.runs.begun % settings.keys as u64,
            began: self.core.monitor.now(at),
            instance: place.instances,
            outcome,
            alert,
            accompanied: alert && span > half,
        };
        let late = run.accompanied;
        let ends = What::Canary(number, CanaryStep::Ends(Box::new(run)));
        self.core.later(span, ends);
        if late {
            self.core
                .later(half, What::Canary(number, CanaryStep::Company));
        }
    }

    fn run_ends(&mut self, number: usize, run: Run) {
        let settings = CanarySettings::default();
        let at = self.core.at;
        let place = &mut self.places[number];
        let here = place.instances == run.instance || place.leaving.is_some();
        let same = place.up && here;
        let outcome = match run.outcome {
            CanaryOutcome::Whole(_) if !same => CanaryOutcome::Failed("connection reset".into()),
            CanaryOutcome::Whole(_) if place.bridge.state == ClaimedState::Draining => {
                CanaryOutcome::Draining("closed with 4009".into())
            }
            outcome => outcome,
        };
        let whole = matches!(outcome, CanaryOutcome::Whole(_));
        place.runs.whole = whole;
        place.runs.served |= whole;
        let kind = match outcome {
            CanaryOutcome::Whole(_) => "canaries_whole",
            CanaryOutcome::Draining(_) => "canaries_drained",
            _ => "canaries_failed",
        };
        let interval = micros(settings.interval);
        let round = self.core.dice.number(interval / 10 * 8, interval);
        let next = (place.runs.round + round).max(at + MILLI);
        // Whoever was never seen to take events may be something else altogether.
        if place.runs.served {
            self.core.troubles.count(kind, 1);
            let event = ProbeEvent::Canary(Box::new(CanaryRun {
                key: format!("canary-{}", run.key),
                began: run.began,
                ended: self.core.monitor.now(at),
                interval: settings.interval,
                outcome,
            }));
            let wanted = self.core.monitor.probe(number, event, at);
            self.audit(&wanted);
        }
        if run.accompanied {
            return;
        }
        let (when, step) = if !whole && run.alert {
            (at + RETRY_PAUSE, CanaryStep::Company)
        } else {
            (next, CanaryStep::Round)
        };
        self.core.plan(when, What::Canary(number, step));
    }
}
