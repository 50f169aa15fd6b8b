//! Tells the fleet a story: a component, its probe, its witnesses.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use service_kit::clock::{Clock, Now};

use crate::audit::testing::{answer, health_claim, metrics_claim, sighting};
use crate::domain::{
    Alert, Audit, CallError, Finding, HealthClaim, MetricsClaim, Posting, ProbeEvent, Probed,
    Vantage, Verdict, WatchMessage, WatchReason, WitnessReport,
};
use crate::fleet::api::{CanaryTarget, FindingFilter, Target};
use crate::fleet::history::Kept;
use crate::fleet::settings::{FleetSettings, Identity};
use crate::fleet::state::{Effect, FleetState};

pub(super) fn identity() -> Identity {
    Identity {
        component_id: "monitor".into(),
        instance_id: "m".into(),
    }
}

pub(super) fn target(component_id: &str) -> Target {
    Target {
        component_id: component_id.into(),
        endpoint: "http://127.0.0.1:50051".into(),
        labels: BTreeMap::new(),
        tls: None,
        metadata: BTreeMap::new(),
        canary: CanaryTarget::default(),
    }
}

/// How the component answers calls.
pub(super) enum Calls {
    Answered,
    Failing(CallError),
}

/// One component called `bridge`, and the monitor that watches it.
pub(super) struct Teller {
    pub(super) fleet: FleetState,
    pub(super) now: Now,
    pub(super) calls: Calls,
    /// Whether the component keeps its watch stream alive.
    pub(super) beats: bool,
    pub(super) instance: String,
    pub(super) change: fn(&mut HealthClaim, &mut MetricsClaim),
    /// The threads that consumer `c` is reading, with a sign of life at each step. `None`: it is
    /// silent.
    pub(super) reading: Option<Vec<&'static str>>,
    pub(super) published: Vec<Finding>,
    pub(super) alerts: Vec<Alert>,
    pub(super) answers: Vec<(u64, Arc<Audit>)>,
    pub(super) audits_asked: u32,
    pub(super) epoch: &'static str,
    generation: u64,
    sequence: u64,
    steps: u64,
}

impl Teller {
    pub(super) fn new() -> Self {
        Self::with(FleetSettings::default())
    }

    pub(super) fn with(settings: FleetSettings) -> Self {
        let now = Clock::system().now().later(Duration::from_secs(100_000));
        let mut teller = Self {
            fleet: FleetState::new(settings, identity(), now),
            now,
            calls: Calls::Answered,
            beats: true,
            instance: "instance-a".into(),
            change: |_, _| {},
            reading: None,
            published: Vec::new(),
            alerts: Vec::new(),
            answers: Vec::new(),
            audits_asked: 0,
            epoch: "first",
            generation: 0,
            sequence: 0,
            steps: 0,
        };
        assert_eq!(teller.fleet.register(target("bridge"), now), Ok(false));
        teller.perform();
        teller.pass(1.0);
        teller
    }

    /// Time goes by in steps of 100 ms: beats each second, ticks each half, audits when asked.
    pub(super) fn pass(&mut self, seconds: f64) {
        let steps = (seconds * 10.0).round() as u64;
        for _ in 0..steps {
            self.now = self.now.later(Duration::from_millis(100));
            self.fleet.turn(self.now);
            self.steps += 1;
            if self.beats && self.steps.is_multiple_of(10) {
                self.beat(WatchReason::Heartbeat);
            }
            if self.steps.is_multiple_of(3) {
                self.reads();
            }
            if self.steps.is_multiple_of(5) {
                self.fleet.tick(Duration::ZERO, self.now);
            }
            if self.steps.is_multiple_of(300) {
                self.probe();
            }
            self.perform();
        }
    }

    /// Does what the fleet asked for; a probe answers at once.
    pub(super) fn perform(&mut self) {
        loop {
            let effects = self.fleet.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::StartProbe { generation, .. } => self.generation = generation,
                    Effect::StopProbe(_) | Effect::Suppressed { .. } | Effect::Stretch(_) => {}
                    Effect::Alert(alert) => self.alerts.push(alert),
                    Effect::AuditNow(id) => {
                        self.audits_asked += 1;
                        assert_eq!(&*id, "bridge");
                        self.probe();
                    }
                    Effect::Publish(finding) => self.published.push(finding),
                    Effect::Answer { waiter, audit } => self.answers.push((waiter, audit)),
                }
            }
        }
    }

    pub(super) fn health(&mut self) -> (HealthClaim, MetricsClaim) {
        self.sequence += 1;
        let mut health = health_claim(self.sequence, self.now);
        let mut metrics = metrics_claim(self.now);
        health.instance_id.clone_from(&self.instance);
        metrics.instance_id.clone_from(&self.instance);
        (self.change)(&mut health, &mut metrics);
        (health, metrics)
    }

    pub(super) fn beat(&mut self, reason: WatchReason) {
        let (health, _) = self.health();
        self.event(ProbeEvent::Watched(WatchMessage {
            health,
            reason,
            next_within: Some(Duration::from_secs(1)),
        }));
    }

    pub(super) fn probe(&mut self) {
        let (health, metrics) = self.health();
        let probed = match &self.calls {
            Calls::Answered => Probed {
                health: Ok(answer(health, self.now)),
                nonce_echoed: true,
                metrics: Ok(answer(metrics, self.now)),
            },
            Calls::Failing(error) => Probed {
                health: Err(error.clone()),
                nonce_echoed: false,
                metrics: Err(error.clone()),
            },
        };
        self.event(ProbeEvent::Probed(Box::new(probed)));
    }

    pub(super) fn event(&mut self, event: ProbeEvent) {
        self.fleet.probe("bridge", self.generation, event, self.now);
    }

    /// `kill -9`.
    pub(super) fn dies(&mut self) {
        self.beats = false;
        let error = CallError::Unreachable("connection refused".into());
        self.calls = Calls::Failing(error.clone());
        self.event(ProbeEvent::WatchFailed(error));
        self.perform();
    }

    pub(super) fn comes_back_as(&mut self, instance: &str) {
        self.beats = true;
        self.calls = Calls::Answered;
        self.instance = instance.to_owned();
        self.sequence = 0;
        self.beat(WatchReason::Initial);
        self.perform();
    }

    pub(super) fn produced(&mut self, thread: &'static str, numbers: RangeInclusive<u64>) {
        self.report("p", Vantage::Producer, thread, numbers, Vec::new());
    }

    pub(super) fn consumed(&mut self, thread: &'static str, numbers: RangeInclusive<u64>) {
        let reading = self.reading.clone().unwrap_or_default();
        self.report("c", Vantage::Consumer, thread, numbers, reading);
    }

    fn reads(&mut self) {
        if let Some(reading) = self.reading.clone() {
            let nothing = RangeInclusive::new(1, 0);
            self.report("c", Vantage::Consumer, "", nothing, reading);
            self.report(
                "p",
                Vantage::Producer,
                "",
                RangeInclusive::new(1, 0),
                Vec::new(),
            );
        }
    }

    fn report(
        &mut self,
        who: &str,
        vantage: Vantage,
        thread: &str,
        numbers: RangeInclusive<u64>,
        reading: Vec<&'static str>,
    ) {
        let report = WitnessReport {
            observer_id: who.into(),
            vantage,
            component_id: "bridge".into(),
            sightings: numbers
                .map(|number| {
                    let mut seen = sighting(thread, number, self.epoch, self.now);
                    // Runs are not what these stories are about.
                    seen.event_type = "agent_completed".into();
                    seen.run_id = format!("{thread}/{number}");
                    seen
                })
                .collect(),
            reading: reading.into_iter().map(str::to_owned).collect(),
            sign_off: false,
            posting: Posting::default(),
        };
        self.fleet.report(&report, self.now);
        self.perform();
    }

    pub(super) fn newest(&self) -> Arc<Audit> {
        let (audits, _) = self.fleet.audits("bridge", 1).unwrap();
        match &audits[0] {
            Kept::Whole(audit) => audit.clone(),
            Kept::Packed(_) => panic!("the newest is not packed"),
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.newest().assessment.verdict
    }

    pub(super) fn open(&self) -> Vec<&'static str> {
        let filter = FindingFilter {
            open: Some(true),
            ..FindingFilter::default()
        };
        let findings = self.fleet.findings(&filter);
        findings.iter().map(|finding| finding.rule_id).collect()
    }

    /// The rules of every finding that ever opened, in order.
    pub(super) fn history(&self) -> Vec<&'static str> {
        let opened = self.published.iter();
        opened
            .filter(|finding| finding.resolve_time.is_none())
            .map(|finding| finding.rule_id)
            .collect()
    }
}
