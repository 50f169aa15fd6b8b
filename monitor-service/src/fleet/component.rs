//! One component: what it claims, what was witnessed, what was found.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use service_kit::clock::Now;

use super::api::Target;
use super::coverage::Coverage;
use super::history::History;
use super::maintenance::Maintenance;
use super::settings::FleetSettings;
use crate::audit::assess::{Material, OpenFinding, assess, no_data, proof};
use crate::audit::canary::{Canary, Standing, standing};
use crate::audit::claims::Claims;
use crate::audit::deliveries::Witnessed;
use crate::audit::format::span;
use crate::audit::peers::Peers;
use crate::audit::rule::View;
use crate::audit::rules::RULES;
use crate::audit::validation::validate;
use crate::domain::{
    Agreement, Audit, CallError, CanaryOutcome, CanaryReport, CanaryRun, Finding, Probed, Verdict,
};
use crate::evidence::Evidence;
use crate::evidence::loss::{Losses, Scope};
use crate::incident::{Changes, Circumstances, FindingIds, Incidents};

/// Between two clearings of what is older than the evidence window.
pub(super) const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);
/// An audit that was asked for and has not come after this long is asked for again.
const AUDIT_PATIENCE: Duration = Duration::from_secs(5);
/// Resolved findings that the next audit shows.
const RESOLVED_SHOWN_MAX: usize = 50;

/// Names one caller that waits for an audit.
pub(crate) type Waiter = u64;

/// What the monitor itself is like while it judges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watchfulness {
    /// Since when it has been awake.
    pub(super) awake_since: Instant,
    /// Whether it woke so lately that what waits was not read yet.
    pub(super) recovering: bool,
    /// Whether it doubts its own sight: components in trouble open nothing.
    pub(super) blind: bool,
    /// How long a component in trouble waits for others to follow, before its findings open.
    pub(super) gather: Duration,
}

/// One component.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) target: Target,
    pub(super) generation: u64,
    pub(super) claims: Claims,
    pub(super) evidence: Evidence,
    pub(super) incidents: Incidents,
    pub(super) history: History,
    pub(super) waiters: Vec<Waiter>,
    losses: Losses,
    coverage: Coverage,
    resolved_since_audit: Vec<Finding>,
    /// Something new came since the last evaluation.
    pub(super) dirty: bool,
    /// Too many findings were open at the last evaluation.
    suppressing: bool,
    evaluated: Option<Instant>,
    deadline: Option<Instant>,
    /// There is a reason for an audit that none was asked for yet.
    pub(super) audit_wanted: bool,
    audit_asked: Option<Instant>,
    pub(super) expires: Instant,
    /// When a probe that ended is started again. `None`: it runs.
    pub(super) probe_restart: Option<Instant>,
    /// The monitor's own runs. `None`: none is sent, or none has ended yet.
    pub(super) canary: Option<Canary>,
    /// An audit is wanted because the monitor could not see for a while.
    pub(super) look_again: bool,
    /// `None`: no window is open.
    pub(super) maintenance: Option<Maintenance>,
}

impl Component {
    pub(super) fn new(
        target: Target,
        generation: u64,
        evidence: Evidence,
        settings: &FleetSettings,
        now: Now,
    ) -> Self {
        Self {
            target,
            generation,
            claims: Claims::new(settings.claims_max, now),
            evidence,
            incidents: Incidents::new(settings.incident),
            history: History::default(),
            waiters: Vec::new(),
            losses: Losses::default(),
            coverage: Coverage::default(),
            resolved_since_audit: Vec::new(),
            dirty: true,
            suppressing: false,
            evaluated: None,
            deadline: None,
            audit_wanted: false,
            audit_asked: None,
            // Spread out, so that a thousand components do not clear in one tick.
            expires: now.monotonic + EXPIRY_INTERVAL.mul_f64(1.0 + (generation % 20) as f64 / 20.0),
            probe_restart: None,
            canary: None,
            look_again: false,
            maintenance: None,
        }
    }

    /// Another endpoint, or another way to it: what was claimed before says nothing of it.
    pub(super) fn begin_anew(&mut self, generation: u64, settings: &FleetSettings, now: Now) {
        self.generation = generation;
        self.claims = Claims::new(settings.claims_max, now);
        self.coverage = Coverage::default();
        self.dirty = true;
        self.audit_asked = None;
        self.audit_wanted = false;
        self.probe_restart = None;
        self.canary = None;
    }

    /// Whether an evaluation could change anything.
    pub(super) fn is_due(&self, now: Now) -> bool {
        self.dirty
            || self.incidents.is_pending()
            || self
                .deadline
                .is_some_and(|deadline| deadline < now.monotonic)
            || self.evidence.is_pending()
    }

    /// Whether the last evaluation is long enough ago.
    pub(super) fn may_evaluate(&self, gap: Duration, now: Now) -> bool {
        self.evaluated
            .is_none_or(|evaluated| now.since(evaluated) >= gap)
    }

    /// Asks every rule.
    pub(super) fn evaluate(
        &mut self,
        settings: &FleetSettings,
        watch: Watchfulness,
        peers: &Peers,
        ids: &mut FindingIds,
        now: Now,
    ) -> Changes {
        let scope = Scope {
            grace: self.evidence.grace(settings.rules.delivery_grace, now),
            baseline: self.claims.baseline(),
            silence: settings.evidence.observer_silence,
        };
        self.losses = self.evidence.losses(scope, now);
        let mut changes = Changes::default();
        let down = self.claims.is_down();
        self.note_canary(settings, watch);
        let view = View {
            claims: &self.claims,
            evidence: &self.evidence,
            losses: &self.losses,
            awake_since: watch.awake_since,
            registered: Some(&self.target.component_id),
            peers,
            canary: self.canary.as_ref(),
        };
        for rule in RULES.iter().filter(|rule| !down || rule.judges_outage) {
            if settings.rules.disabled.contains(rule.id) {
                continue;
            }
            let outcome = (rule.check)(&view, &settings.rules, now);
            let id = &self.target.component_id;
            self.incidents
                .apply(id, rule.origin(), outcome, ids, now, &mut changes);
        }
        let circumstances = self.circumstances(settings, watch, now);
        self.incidents.settle(circumstances, now, &mut changes);
        self.resolved_since_audit
            .extend_from_slice(&changes.resolved);
        let over = self
            .resolved_since_audit
            .len()
            .saturating_sub(RESOLVED_SHOWN_MAX);
        self.resolved_since_audit.drain(..over);
        self.dirty = false;
        self.evaluated = Some(now.monotonic);
        self.deadline = self
            .claims
            .next_deadline(&settings.rules, watch.awake_since, now);
        changes
    }

    fn view<'a>(&'a self, awake_since: Instant, peers: &'a Peers) -> View<'a> {
        View {
            claims: &self.claims,
            evidence: &self.evidence,
            losses: &self.losses,
            awake_since,
            registered: Some(&self.target.component_id),
            peers,
            canary: self.canary.as_ref(),
        }
    }

    /// Before the rules are asked, the runs and the witnesses settle whose finding it is.
    fn note_canary(&mut self, settings: &FleetSettings, watch: Watchfulness) {
        let peers = Peers::default();
        let view = self.view(watch.awake_since, &peers);
        let standing = standing(&view, &settings.rules);
        let against = matches!(standing, Standing::Against(_));
        let hole = self.losses.conclusive_hole();
        if let Some(canary) = &mut self.canary {
            canary.note_first(against, hole);
        }
    }

    /// Takes one of the monitor's own runs; says whether it speaks against the component.
    pub(super) fn take_canary(
        &mut self,
        mut run: CanaryRun,
        settings: &FleetSettings,
        watch: Watchfulness,
        now: Now,
    ) -> bool {
        // What failed while the monitor slept says nothing of the component.
        let slept = watch.recovering || run.began.monotonic < watch.awake_since;
        if slept && let CanaryOutcome::Failed(why) | CanaryOutcome::Draining(why) = run.outcome {
            run.outcome = CanaryOutcome::NoWord(format!("the monitor stood still: {why}"));
        }
        let answers = self.claims.answers(now);
        let canary = self.canary.get_or_insert_default();
        self.dirty = true;
        canary.take(run, answers, settings.rules.restart_grace, now)
    }

    /// How the monitor's own runs stand now. `None`: none is sent.
    pub(super) fn canary_report(&self) -> Option<CanaryReport> {
        self.canary.as_ref().map(|canary| canary.report(false))
    }

    /// Whether a run of the monitor's own proves by now what the newest audit had no proof of.
    fn newly_proven(&self, settings: &FleetSettings, now: Now) -> bool {
        let newest = self.history.newest();
        newest.is_some_and(|audit| {
            let proven = audit.canary.as_ref().is_some_and(|canary| canary.proven);
            audit.assessment.verdict == Verdict::Unverified && !proven
        }) && proof(
            &self.view(now.monotonic, &Peers::default()),
            &settings.rules,
            now,
        )
        .is_some()
    }

    fn circumstances(
        &self,
        settings: &FleetSettings,
        watch: Watchfulness,
        now: Now,
    ) -> Circumstances {
        let rules = &settings.rules;
        let trouble = self.claims.trouble_since(rules, watch.awake_since, now);
        let waits = |since| watch.blind || now.since(since) < watch.gather;
        Circumstances {
            in_maintenance: self.maintenance.is_some(),
            held_back: self.claims.is_draining(rules.restart_grace, now)
                || trouble.is_some_and(waits),
        }
    }

    /// Whether something is wrong with reaching it.
    pub(super) fn in_trouble(&self, settings: &FleetSettings, awake: Instant, now: Now) -> bool {
        let trouble = self.claims.trouble_since(&settings.rules, awake, now);
        trouble.is_some()
    }

    /// Whether witnesses, or a run of the monitor's own, confirm by now what the newest audit had
    /// to leave undecided.
    pub(super) fn newly_confirmed(&self, settings: &FleetSettings, now: Now) -> bool {
        if self.newly_proven(settings, now) {
            return true;
        }
        // Nobody who reports, nothing to confirm it with.
        if self.evidence.reporting(now) == 0 {
            return false;
        }
        let newest = self
            .history
            .newest()
            .and_then(|audit| audit.validation.as_ref());
        if newest.is_none_or(|validation| validation.agreement != Agreement::Undecided) {
            return false;
        }
        let peers = Peers::default();
        let view = self.view(now.monotonic, &peers);
        let validation = validate(&view, false, settings.rules.delivery_grace, now);
        validation.agreement == Agreement::Confirmed
    }

    /// How many findings were suppressed, where none had been in the evaluation before.
    pub(super) fn newly_suppressed(&mut self, changes: &Changes) -> Option<u64> {
        let began = !self.suppressing && changes.suppressed > 0;
        self.suppressing = changes.suppressed > 0;
        began.then_some(changes.suppressed)
    }

    /// Whether an audit was asked for and has not come yet.
    pub(super) fn awaits_audit(&self, now: Now) -> bool {
        self.audit_asked
            .is_some_and(|asked| now.since(asked) < AUDIT_PATIENCE)
    }

    /// Whether to ask now for the audit that is wanted. One that is under way may have begun
    /// before there was a reason, so the wish is kept until it is done.
    pub(super) fn ask_audit(&mut self, gap: Duration, now: Now) -> bool {
        let last = self.claims.calls.last;
        let lately = last.is_some_and(|last| now.since(last.monotonic) < gap);
        if !self.audit_wanted || lately || self.awaits_audit(now) {
            return false;
        }
        self.audit_wanted = false;
        self.audit_asked = Some(now.monotonic);
        true
    }

    fn witnessed(&self, now: Now) -> Witnessed {
        Witnessed {
            consumed: self.evidence.counters().consumed,
            produced: self.evidence.counters().produced,
            connections: self.evidence.connections_witnessed(now),
            told_until: self.evidence.consumers_told_until(now),
        }
    }

    /// Takes an audit's calls into the claims, and says whether their failure proves anything.
    pub(super) fn take_calls(&mut self, probed: &Probed, watch: Watchfulness, now: Now) -> bool {
        self.audit_asked = None;
        self.dirty = true;
        // A call that failed while the monitor slept says nothing of the component.
        let proves = probed.health.is_ok() || !watch.recovering;
        if proves {
            self.claims.probed(probed, now);
        } else if let Err(error) = &probed.health {
            let own = CallError::Own(format!("the monitor stood still: {error}"));
            let probed = Probed {
                health: Err(own),
                ..probed.clone()
            };
            self.claims.probed(&probed, now);
        }
        self.count(probed, now);
        proves
    }

    /// Takes calls that were answered between two audits.
    pub(super) fn take_answers(&mut self, probed: &Probed, now: Now) {
        self.claims.probed(probed, now);
        self.count(probed, now);
    }

    fn count(&mut self, probed: &Probed, now: Now) {
        if let Ok(answer) = &probed.metrics {
            let witnessed = self.witnessed(now);
            self.claims.counted(answer, witnessed);
        }
    }

    /// Makes the audit of calls that were taken, and keeps it.
    pub(super) fn audit(
        &mut self,
        probed: Probed,
        settings: &FleetSettings,
        watch: Watchfulness,
        now: Now,
    ) -> Arc<Audit> {
        let produced = self.evidence.counters().produced;
        let witness_coverage = match &probed.metrics {
            Ok(metrics) => self.coverage.update(&metrics.value, produced),
            Err(_) => None,
        };
        let open = self
            .incidents
            .open()
            .map(|(finding, part, conclusive)| OpenFinding {
                finding,
                part,
                conclusive,
            });
        let material = Material {
            component_id: &self.target.component_id,
            view: View {
                claims: &self.claims,
                evidence: &self.evidence,
                losses: &self.losses,
                awake_since: watch.awake_since,
                registered: Some(&self.target.component_id),
                peers: &Peers::default(),
                canary: self.canary.as_ref(),
            },
            probed,
            open: open.collect(),
            resolved: std::mem::take(&mut self.resolved_since_audit),
            witness_coverage,
            history: u32::try_from(self.history.len()).unwrap_or(u32::MAX),
            monitor_stalled: watch.recovering,
            monitor_blind: watch.blind,
        };
        let audit = Arc::new(assess(material, &settings.rules, &settings.audit, now));
        self.history.keep(audit.clone(), settings.audits_max);
        audit
    }

    /// Notes a time in which the monitor did not look.
    pub(super) fn note_gap(&mut self, gap: Duration, audits_max: usize, now: Now) {
        let why = format!("the monitor itself stood still for {}", span(gap));
        let id = self.target.component_id.clone();
        let audit = Arc::new(no_data(id, &why, now));
        self.history.keep(audit, audits_max);
        self.look_again = true;
    }

    pub(super) fn verdict(&self) -> Verdict {
        let newest = self.history.newest();
        newest.map_or(Verdict::NoData, |audit| audit.assessment.verdict)
    }

    /// The newest score. `None`: there was no audit, or it could not look.
    pub(super) fn score(&self) -> Option<f64> {
        let newest = self.history.newest()?;
        (newest.assessment.verdict != Verdict::NoData).then_some(newest.assessment.score)
    }

    pub(super) fn last_audit(&self) -> Option<SystemTime> {
        self.history.newest().map(|audit| audit.at)
    }
}

/// `None`: of nothing.
pub(super) fn mean(scores: &[f64]) -> Option<f64> {
    (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
}
