//! A scene for the rules' tests: one component, its witnesses, and a clock that moves by hand.

mod claims;
mod witness;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use service_kit::clock::{Clock, Now};

use super::canary::{Canary, Standing, standing};
use super::claims::{CHECK_INTERVAL_GAUGE, Claims, WatchPhase};
use super::peers::Peers;
use super::rule::{Outcome, View};
use super::rules::RULES;
use super::settings::RuleSettings;
use crate::domain::{
    Answer, CallError, CanaryOutcome, CanaryRun, CheckClaim, ClaimedState, DeliveryClaim,
    HealthClaim, LifecycleClaim, MetricsClaim, Probed, Sighting, Vantage, WatchMessage,
    WatchReason,
};
use crate::evidence::Evidence;
use crate::evidence::limits::EvidenceLimits;
use crate::evidence::loss::Scope;
use crate::evidence::session::Sessions;
pub(crate) use witness::{Speaker, Telling};

/// A health report without fault.
pub(crate) fn health_claim(sequence: u64, now: Now) -> HealthClaim {
    let check = |name: &str| CheckClaim {
        name: name.to_owned(),
        healthy: true,
        message: String::new(),
        latency: Some(Duration::from_millis(1)),
    };
    HealthClaim {
        component_id: "bridge".into(),
        instance_id: "instance-a".into(),
        sequence,
        observe_time: Some(now.wall),
        state: ClaimedState::Active,
        healthy: true,
        checks: vec![check("registry"), check("websocket_manager")],
        consecutive_failures: 0,
        uptime: Some(Duration::from_secs(60)),
        last_health_check_time: Some(now.wall),
        error_message: String::new(),
    }
}

/// Counters without fault.
pub(crate) fn metrics_claim(now: Now) -> MetricsClaim {
    MetricsClaim {
        component_id: "bridge".into(),
        instance_id: "instance-a".into(),
        observe_time: Some(now.wall),
        lifecycle: LifecycleClaim {
            total_initializations: 1,
            successful_initializations: 1,
            success_rate: 1.0,
            ..LifecycleClaim::default()
        },
        delivery: Some(DeliveryClaim::default()),
        gauges: BTreeMap::new(),
    }
}

/// An answer without delay.
pub(crate) fn answer<T>(value: T, now: Now) -> Answer<T> {
    Answer {
        value: value.into(),
        sent: now,
        received: now,
    }
}

/// A sighting of event `t/N` on its thread, in its run `t/run`.
pub(crate) fn sighting(thread_id: &str, sequence: u64, epoch: &str, now: Now) -> Sighting {
    Sighting {
        event_id: format!("{thread_id}/{epoch}/{sequence}"),
        component_id: "bridge".into(),
        thread_id: thread_id.to_owned(),
        run_id: format!("{thread_id}/run"),
        event_type: "agent_thinking".into(),
        sequence,
        tool_call_id: String::new(),
        observe_time: Some(now.wall),
        epoch: epoch.to_owned(),
        connection_id: String::new(),
        arrival: 0,
        replayed: false,
    }
}

/// One component and everything known of it.
pub(crate) struct Scene {
    pub(crate) now: Now,
    claims: Claims,
    evidence: Evidence,
    sessions: Sessions,
    settings: RuleSettings,
    awake_since: Instant,
    sequence: u64,
    frozen: bool,
    checked: Option<Now>,
    announced: Option<Duration>,
    instance: String,
    epoch: String,
    uptime: Duration,
    registered: Option<&'static str>,
    peers: Peers,
    canary: Option<Canary>,
}

/// Between two runs of a scene's canary.
const CANARY_INTERVAL: Duration = Duration::from_secs(3);

impl Scene {
    /// A component that was watched and audited just now, without fault.
    pub(crate) fn healthy() -> Self {
        let now = Clock::system().now().later(Duration::from_secs(100_000));
        let mut scene = Self {
            now,
            claims: Claims::new(8, now),
            evidence: Evidence::new(EvidenceLimits::default()),
            sessions: Sessions::new(100, EvidenceLimits::default().report_wait),
            settings: RuleSettings::default(),
            awake_since: now.monotonic,
            sequence: 0,
            frozen: false,
            checked: None,
            announced: None,
            instance: "instance-a".into(),
            epoch: "first".into(),
            uptime: Duration::from_secs(60),
            registered: Some("bridge"),
            peers: Peers::default(),
            canary: None,
        };
        scene.beat();
        scene.probe();
        scene
    }

    pub(crate) fn passes(&mut self, span: Duration) {
        self.now = self.now.later(span);
    }

    pub(crate) fn monitor_sleeps(&mut self, span: Duration) {
        self.passes(span);
        self.awake_since = self.now.monotonic;
    }

    /// The next health report, as the component would make it now.
    pub(crate) fn health(&mut self) -> HealthClaim {
        if !self.frozen {
            self.sequence += 1;
        }
        let mut health = health_claim(self.sequence, self.now);
        health.instance_id.clone_from(&self.instance);
        health.uptime = Some(self.uptime);
        health.last_health_check_time = Some(self.checked.unwrap_or(self.now).wall);
        health
    }

    pub(crate) fn freezes(&mut self) {
        self.frozen = true;
    }

    pub(crate) fn thaws(&mut self) {
        self.frozen = false;
    }

    pub(crate) fn checks_stop(&mut self) {
        self.checked = Some(self.now);
    }

    pub(crate) fn announces_checks_every(&mut self, interval: Duration) {
        self.announced = Some(interval);
    }

    pub(crate) fn restarts_as(&mut self, instance: &str) {
        self.instance = instance.to_owned();
        self.sequence = 0;
    }

    pub(crate) fn beat(&mut self) {
        let health = self.health();
        self.watched(health, WatchReason::Heartbeat);
    }

    fn watched(&mut self, health: HealthClaim, reason: WatchReason) {
        let message = WatchMessage {
            health,
            reason,
            next_within: Some(Duration::from_secs(1)),
        };
        self.claims.watched(message, self.now);
    }

    pub(crate) fn drains(&mut self) {
        let health = self.health();
        self.watched_draining(health);
    }

    pub(crate) fn watched_draining(&mut self, mut health: HealthClaim) {
        health.state = ClaimedState::Draining;
        health.healthy = false;
        self.watched(health, WatchReason::Draining);
    }

    pub(crate) fn watch_ends(&mut self) {
        self.claims.watch_lost(WatchPhase::Ended, self.now);
    }

    pub(crate) fn watch_breaks(&mut self) {
        let error = CallError::Unreachable("connection reset".into());
        self.claims.watch_lost(WatchPhase::Failed(error), self.now);
    }

    pub(crate) fn probe(&mut self) {
        self.probe_with(|_, _| {});
    }

    pub(crate) fn probe_says(&mut self, cached: &HealthClaim) {
        self.probe_with(|health, _| health.clone_from(cached));
    }

    pub(crate) fn probe_with(&mut self, change: impl Fn(&mut HealthClaim, &mut MetricsClaim)) {
        let mut health = self.health();
        let mut metrics = metrics_claim(self.now);
        if let Some(interval) = self.announced {
            let seconds = interval.as_secs_f64();
            metrics.gauges.insert(CHECK_INTERVAL_GAUGE.into(), seconds);
        }
        change(&mut health, &mut metrics);
        let probed = Probed {
            health: Ok(answer(health, self.now)),
            nonce_echoed: true,
            metrics: Ok(answer(metrics, self.now)),
        };
        self.claims.probed(&probed, self.now);
        self.counted(&probed);
    }

    pub(crate) fn probe_fails(&mut self, error: CallError) {
        let probed = Probed {
            health: Err(error.clone()),
            nonce_echoed: false,
            metrics: Err(error),
        };
        self.claims.probed(&probed, self.now);
    }

    pub(crate) fn epoch(&mut self, epoch: &str) {
        self.epoch = epoch.to_owned();
    }

    pub(crate) fn produced(&mut self, who: &str, thread: &str, numbers: RangeInclusive<u64>) {
        self.report(who, Vantage::Producer, thread, numbers, None);
    }

    /// Reports events while reading their thread.
    pub(crate) fn consumed(&mut self, who: &str, thread: &str, numbers: RangeInclusive<u64>) {
        self.report(who, Vantage::Consumer, thread, numbers, Some(&[thread]));
    }

    pub(crate) fn consumed_while_reading(
        &mut self,
        who: &str,
        thread: &str,
        numbers: RangeInclusive<u64>,
        reading: &[&str],
    ) {
        self.report(who, Vantage::Consumer, thread, numbers, Some(reading));
    }

    /// A sign of life of a consumer, and what it reads.
    pub(crate) fn reads(&mut self, who: &str, threads: &[&str]) {
        let nothing = RangeInclusive::new(1, 0);
        self.report(who, Vantage::Consumer, "", nothing, Some(threads));
    }

    fn report(
        &mut self,
        who: &str,
        vantage: Vantage,
        thread: &str,
        numbers: RangeInclusive<u64>,
        reading: Option<&[&str]>,
    ) {
        let sightings: Vec<_> = numbers
            .map(|number| sighting(thread, number, &self.epoch, self.now))
            .collect();
        let telling = Telling {
            who,
            vantage,
            reading,
            ..Telling::default()
        };
        self.tell(&sightings, telling);
    }

    pub(crate) fn signs_off(&mut self, who: &str) {
        self.evidence.sign_off(who, Vantage::Consumer, self.now);
    }

    pub(crate) fn producer_signs_off(&mut self, who: &str) {
        self.evidence.sign_off(who, Vantage::Producer, self.now);
    }

    pub(crate) fn run_event(&mut self, who: &str, run: &str, kind: &str, call: &str) {
        self.report_run_event(who, Vantage::Producer, run, kind, call);
    }

    pub(crate) fn consumer_run_event(&mut self, who: &str, run: &str, kind: &str, call: &str) {
        self.report_run_event(who, Vantage::Consumer, run, kind, call);
    }

    fn report_run_event(&mut self, who: &str, at: Vantage, run: &str, kind: &str, call: &str) {
        let mut seen = sighting("runs", 0, &self.epoch, self.now);
        seen.event_id = format!("{run}/{kind}/{call}/{:?}", self.now.monotonic);
        seen.run_id = run.to_owned();
        seen.event_type = kind.to_owned();
        seen.tool_call_id = call.to_owned();
        let telling = Telling {
            who,
            vantage: at,
            ..Telling::default()
        };
        self.tell(&[seen], telling);
    }

    /// One of the monitor's own runs comes back after 4 ms.
    pub(crate) fn canary_whole(&mut self, key: u32) {
        self.canary_ends(key, CanaryOutcome::Whole(Duration::from_millis(4)));
    }

    pub(crate) fn canary_fails(&mut self, key: u32, why: &str) {
        self.canary_ends(key, CanaryOutcome::Failed(why.to_owned()));
    }

    /// The component tells a run that it drains.
    pub(crate) fn canary_drains(&mut self, key: u32) {
        let why = "the bridge is draining".to_owned();
        self.canary_ends(key, CanaryOutcome::Draining(why));
    }

    pub(crate) fn canary_says_nothing(&mut self, key: u32, why: &str) {
        self.canary_ends(key, CanaryOutcome::NoWord(why.to_owned()));
    }

    fn canary_ends(&mut self, key: u32, outcome: CanaryOutcome) {
        let began = self.now;
        self.passes(Duration::from_millis(4));
        let run = CanaryRun {
            key: format!("$canary/m/{key}"),
            began,
            ended: self.now,
            interval: CANARY_INTERVAL,
            outcome,
        };
        let answers = self.claims.answers(self.now);
        let grace = self.settings.restart_grace;
        let canary = self.canary.get_or_insert_default();
        canary.take(run, answers, grace, self.now);
    }

    pub(crate) fn check(&mut self, rule_id: &str) -> Outcome {
        let rule = RULES
            .iter()
            .find(|rule| rule.id == rule_id)
            .expect("a rule");
        let scope = Scope {
            grace: self.evidence.grace(self.settings.delivery_grace, self.now),
            baseline: self.claims.baseline(),
            silence: EvidenceLimits::default().observer_silence,
        };
        let losses = self.evidence.losses(scope, self.now);
        let mut view = View {
            claims: &self.claims,
            evidence: &self.evidence,
            losses: &losses,
            awake_since: self.awake_since,
            registered: self.registered,
            peers: &self.peers,
            canary: self.canary.as_ref(),
        };
        let against = matches!(standing(&view, &self.settings), Standing::Against(_));
        let canary = self.canary.clone().map(|mut canary| {
            canary.note_first(against, losses.conclusive_hole());
            canary
        });
        view.canary = canary.as_ref();
        let outcome = (rule.check)(&view, &self.settings, self.now);
        self.canary = canary;
        outcome
    }

    /// The rule sees nothing wrong, or cannot tell.
    #[track_caller]
    pub(crate) fn assert_quiet(&mut self, rule_id: &str) {
        match self.check(rule_id) {
            Outcome::Undecided(_) => {}
            Outcome::Decided(found) | Outcome::Mild(found) => assert_eq!(found, [], "{rule_id}"),
        }
    }

    #[track_caller]
    pub(crate) fn assert_undecided(&mut self, rule_id: &str) {
        let outcome = self.check(rule_id);
        assert!(matches!(outcome, Outcome::Undecided(_)), "{outcome:?}");
    }

    /// The rule sees that nothing is wrong.
    #[track_caller]
    pub(crate) fn assert_clear(&mut self, rule_id: &str) {
        assert_eq!(self.check(rule_id), Outcome::clear(), "{rule_id}");
    }

    /// The rule found one subject, and needs a second kind of evidence or time.
    #[track_caller]
    pub(crate) fn assert_suspected(&mut self, rule_id: &str) {
        let found = self.found(rule_id);
        assert!(!found.conclusive, "{found:?}");
    }

    /// The rule found one subject, for certain, and says so.
    #[track_caller]
    pub(crate) fn assert_conclusive(&mut self, rule_id: &str, says: &str) {
        let found = self.found(rule_id);
        assert!(found.conclusive, "{found:?}");
        assert!(
            found.message.contains(says),
            "{:?} lacks {says:?}",
            found.message
        );
        assert!(!found.evidence.is_empty());
    }

    #[track_caller]
    fn found(&mut self, rule_id: &str) -> super::rule::Violation {
        match self.check(rule_id) {
            Outcome::Decided(found) | Outcome::Mild(found) if found.len() == 1 => {
                found.into_iter().next().unwrap()
            }
            other => panic!("{rule_id} found {other:?}"),
        }
    }
}
