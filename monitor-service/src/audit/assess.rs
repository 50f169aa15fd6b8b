//! The conclusion of an audit.

use std::collections::BTreeMap;

use service_kit::clock::Now;

use super::blame::blames_component;
use super::canary::Whole;
use super::claims::WatchPhase;
use super::format::{count, span};
use super::rule::{Part, View};
use super::settings::{AuditSettings, RuleSettings};
use super::validation::validate;
use crate::domain::{
    Agreement, Assessment, Audit, CallError, ClaimedState, ComponentId, EventValidation, Finding,
    Integration, Probed, Severity, Verdict,
};

/// What is left of a part's score under an open finding that is not conclusive.
const DOUBTED: f64 = 0.7;
/// What is left of the claims' score where the counters could not be had.
const WITHOUT_METRICS: f64 = 0.75;
/// What is left of the claims' score where the nonce did not come back.
const WITHOUT_NONCE: f64 = 0.5;
/// What a component that admits it is not well still scores for its claims.
const ADMITTED: f64 = 50.0;

/// Findings that one audit carries, the worst first; a history of audits stays small even where
/// hundreds are open.
const FINDINGS_SHOWN_MAX: usize = 100;

/// A finding that is open at the time of the audit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenFinding<'a> {
    pub(crate) finding: &'a Finding,
    pub(crate) part: Part,
    pub(crate) conclusive: bool,
}

/// What an audit is made of.
pub(crate) struct Material<'a> {
    pub(crate) component_id: &'a ComponentId,
    pub(crate) view: View<'a>,
    pub(crate) probed: Probed,
    pub(crate) open: Vec<OpenFinding<'a>>,
    /// Findings that resolved since the audit before.
    pub(crate) resolved: Vec<Finding>,
    /// Share of the accepted events that a producer witnessed. `None`: nothing was accepted.
    pub(crate) witness_coverage: Option<f64>,
    /// Audits held before this one.
    pub(crate) history: u32,
    /// The monitor's loop stood still while the calls were made: their failure proves nothing.
    pub(crate) monitor_stalled: bool,
    /// Most components fail together: the monitor suspects itself.
    pub(crate) monitor_blind: bool,
}

/// Makes the audit.
pub(crate) fn assess(
    material: Material<'_>,
    rules: &RuleSettings,
    settings: &AuditSettings,
    now: Now,
) -> Audit {
    let contradicted = |part: Part| {
        material
            .open
            .iter()
            .any(|open| open.conclusive && open.part == part)
    };
    let grace = rules.delivery_grace;
    let validation = validate(&material.view, contradicted(Part::Evidence), grace, now);
    let integration = integration(&material, now);
    let proof = proof(&material.view, rules, now);
    let canary = material
        .view
        .canary
        .map(|canary| canary.report(proof.is_some()));
    // Where something that was sent has not been seen, a run of the monitor's own cannot say where
    // it is.
    let proof = proof.filter(|_| validation.unseen == 0);
    let (verdict, message) = verdict(&material, &validation, proof, now);
    let component_scores = scores(&material, &validation, proof, &integration, verdict);
    let assessment = Assessment {
        verdict,
        score: weigh(&component_scores, settings),
        component_scores,
        message,
    };
    let mut open: Vec<_> = material.open.iter().map(|open| open.finding).collect();
    open.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let open = open.into_iter().cloned();
    let findings = open.chain(material.resolved).take(FINDINGS_SHOWN_MAX);
    Audit {
        component_id: material.component_id.clone(),
        at: now.wall,
        probed: Some(material.probed),
        validation: Some(validation),
        integration: Some(integration),
        assessment,
        findings: findings.collect(),
        canary,
    }
}

/// The run that proves now that the path works. `None`: none does.
pub(crate) fn proof(view: &View<'_>, rules: &RuleSettings, now: Now) -> Option<Whole> {
    let canary = view.canary?;
    canary.proof(view.claims.baseline(), rules, now)
}

/// The audit of an id that is not registered.
pub(crate) fn not_monitored(component_id: ComponentId, now: Now) -> Audit {
    let message = format!("No component {component_id:?} is registered.");
    without_calls(component_id, Verdict::NotMonitored, message, now)
}

/// The audit that could not be made.
pub(crate) fn no_data(component_id: ComponentId, why: &str, now: Now) -> Audit {
    let message = format!("The auditor could not look: {why}.");
    without_calls(component_id, Verdict::NoData, message, now)
}

fn without_calls(component_id: ComponentId, verdict: Verdict, message: String, now: Now) -> Audit {
    Audit {
        component_id,
        at: now.wall,
        probed: None,
        validation: None,
        integration: None,
        assessment: Assessment {
            verdict,
            score: 0.0,
            component_scores: BTreeMap::new(),
            message,
        },
        findings: Vec::new(),
        canary: None,
    }
}

fn integration(material: &Material<'_>, now: Now) -> Integration {
    let watch = &material.view.claims.watch;
    let watch_age = watch.last_message.map(|last| now.since(last.monotonic));
    let kept = match (watch_age, watch.promise) {
        (Some(age), Some(promise)) => age <= promise.saturating_mul(2),
        (age, None) => age.is_some(),
        (None, Some(_)) => false,
    };
    Integration {
        watch_alive: watch.phase == WatchPhase::Alive && kept,
        watch_age,
        calls_answered: material.probed.health.is_ok() && material.probed.metrics.is_ok(),
        witness_coverage: material.witness_coverage,
        history: material.history.saturating_add(1),
    }
}

fn verdict(
    material: &Material<'_>,
    validation: &EventValidation,
    proof: Option<Whole>,
    now: Now,
) -> (Verdict, String) {
    let health = match &material.probed.health {
        Ok(answer) => &answer.value,
        Err(error) => return without_health(error, material),
    };
    if let Err(error @ CallError::Own(_)) = &material.probed.metrics {
        return (
            Verdict::NoData,
            format!("The auditor could not look: {error}."),
        );
    }
    match health.state {
        ClaimedState::Failed => return admitted(Verdict::Down, "FAILED", &health.error_message),
        ClaimedState::Draining => return admitted(Verdict::Degraded, "DRAINING", ""),
        _ if drains_since(material) => return admitted(Verdict::Degraded, "DRAINING", ""),
        _ => {}
    }
    let conclusive: Vec<_> = material
        .open
        .iter()
        .filter(|open| open.conclusive)
        .collect();
    let says_healthy = health.healthy;
    if says_healthy && let Some(first) = conclusive.first() {
        let others = match conclusive.len() - 1 {
            0 => String::new(),
            others => format!(" And {}.", count(others as u64, "other finding")),
        };
        let message = format!(
            "It claims health; {} says: {}{others}",
            first.finding.rule_id, first.finding.message
        );
        return (Verdict::SilentFailure, message);
    }
    if !says_healthy || health.state != ClaimedState::Active {
        let state = format!("{:?}", health.state).to_uppercase();
        return admitted(Verdict::Degraded, &state, &health.error_message);
    }
    claims_health(material, validation, proof, now)
}

/// Whether the stream said DRAINING after the call was sent.
fn drains_since(material: &Material<'_>) -> bool {
    match (&material.probed.health, material.view.claims.draining) {
        (Ok(answer), Some(at)) => at.monotonic >= answer.sent.monotonic,
        _ => false,
    }
}

fn claims_health(
    material: &Material<'_>,
    validation: &EventValidation,
    proof: Option<Whole>,
    now: Now,
) -> (Verdict, String) {
    // Two kinds of evidence are enough, even where neither is enough alone.
    let doubted = |(part, _): &(Part, &str)| {
        material
            .open
            .iter()
            .any(|open| open.part == *part && open.finding.severity == Severity::Critical)
    };
    let kinds = [
        (Part::Claims, "its claims"),
        (Part::Evidence, "its witnesses"),
        (Part::Canary, "the monitor's own runs"),
    ];
    let doubting: Vec<_> = kinds
        .into_iter()
        .filter(doubted)
        .map(|(_, who)| who)
        .collect();
    if doubting.len() >= 2 {
        let who = doubting.join(" and ");
        return (
            Verdict::SilentFailure,
            format!("It claims health; {who} speak against it."),
        );
    }
    if !material.probed.nonce_echoed {
        return (
            Verdict::Unverified,
            "It claims health, but the answer did not carry the nonce: it may be an old one."
                .into(),
        );
    }
    let suspicions = match material.open.len() {
        0 => String::new(),
        open => format!(" {} open.", count(open as u64, "other finding")),
    };
    match validation.agreement {
        Agreement::Confirmed => (
            Verdict::Healthy,
            format!(
                "It claims health, and witnesses confirm it: {}{suspicions}",
                validation.message
            ),
        ),
        Agreement::Undecided if doubting.is_empty() && proof.is_some() => (
            Verdict::Healthy,
            format!(
                "It claims health, and the monitor's own run confirms it: {}. {}{suspicions}",
                proof.map(|whole| shown(whole, now)).unwrap_or_default(),
                validation.message
            ),
        ),
        Agreement::Contradicted | Agreement::Undecided => (
            Verdict::Unverified,
            format!(
                "It claims health, and there is no proof either way: {}{suspicions}",
                validation.message
            ),
        ),
    }
}

fn shown(whole: Whole, now: Now) -> String {
    format!(
        "it came back whole {} ago, after {}",
        span(now.since(whole.ended.monotonic)),
        span(whole.delay)
    )
}

fn without_health(error: &CallError, material: &Material<'_>) -> (Verdict, String) {
    if material.monitor_blind {
        return (
            Verdict::NoData,
            format!(
                "Most components fail together, so the monitor suspects itself and not this one ({error})."
            ),
        );
    }
    if material.monitor_stalled {
        return (
            Verdict::NoData,
            format!(
                "The monitor itself stood still during the call, so its failure says nothing ({error})."
            ),
        );
    }
    if blames_component(error) {
        return (Verdict::Down, format!("It does not answer: {error}."));
    }
    (
        Verdict::NoData,
        format!("The auditor could not look: {error}."),
    )
}

fn admitted(verdict: Verdict, state: &str, why: &str) -> (Verdict, String) {
    let why = match why {
        "" => String::new(),
        why => format!(": {why}"),
    };
    (verdict, format!("It says itself that it is {state}{why}."))
}

fn scores(
    material: &Material<'_>,
    validation: &EventValidation,
    proof: Option<Whole>,
    integration: &Integration,
    verdict: Verdict,
) -> BTreeMap<&'static str, f64> {
    let mut scores = BTreeMap::new();
    if verdict == Verdict::NoData {
        return scores;
    }
    scores.insert("claims", claims_score(material, verdict));
    if let Some(score) = evidence_score(material, validation, proof.is_some()) {
        scores.insert("evidence", score);
    }
    scores.insert("integration", integration_score(integration));
    scores
}

fn claims_score(material: &Material<'_>, verdict: Verdict) -> f64 {
    let Ok(answer) = &material.probed.health else {
        return 0.0;
    };
    let health = &answer.value;
    let base: f64 = match verdict {
        // Claims that evidence contradicts are worth nothing.
        Verdict::SilentFailure | Verdict::Down => return 0.0,
        Verdict::Degraded => ADMITTED,
        _ => 100.0,
    };
    let failed = health.checks.iter().filter(|check| !check.healthy).count();
    let passed = 1.0 - failed as f64 / health.checks.len().max(1) as f64;
    let mut score = base * passed;
    if material.probed.metrics.is_err() {
        score *= WITHOUT_METRICS;
    }
    if !material.probed.nonce_echoed {
        score *= WITHOUT_NONCE;
    }
    if material.open.iter().any(|open| open.part == Part::Claims) {
        score *= DOUBTED;
    }
    score
}

/// What witnesses and the monitor's own runs say. `None`: too little was seen to say.
fn evidence_score(
    material: &Material<'_>,
    validation: &EventValidation,
    proven: bool,
) -> Option<f64> {
    let seen = |open: &&OpenFinding<'_>| open.part != Part::Claims;
    let doubted = material.open.iter().any(|open| seen(&open));
    let failed = |open: &OpenFinding<'_>| open.part == Part::Canary && open.conclusive;
    if material.open.iter().any(failed) {
        return Some(0.0);
    }
    let base = match validation.agreement {
        Agreement::Contradicted => return Some(0.0),
        Agreement::Confirmed => 100.0,
        Agreement::Undecided if validation.unseen > 0 => {
            let seen = validation.produced.saturating_sub(validation.unseen);
            100.0 * seen as f64 / validation.produced.max(1) as f64
        }
        Agreement::Undecided if doubted || proven => 100.0,
        Agreement::Undecided => return None,
    };
    Some(if doubted { base * DOUBTED } else { base })
}

/// The stream, the calls, and where events flow how many of them have a witness.
fn integration_score(integration: &Integration) -> f64 {
    let part = |good: bool| if good { 1.0 } else { 0.0 };
    let mut parts = vec![
        part(integration.watch_alive),
        part(integration.calls_answered),
    ];
    parts.extend(integration.witness_coverage);
    100.0 * parts.iter().sum::<f64>() / parts.len() as f64
}

/// The weight of a part that could not be judged goes to the others.
fn weigh(scores: &BTreeMap<&'static str, f64>, settings: &AuditSettings) -> f64 {
    let weights = [
        ("claims", settings.claims_weight),
        ("evidence", settings.evidence_weight),
        ("integration", settings.integration_weight),
    ];
    let (mut sum, mut total) = (0.0, 0.0);
    for (name, weight) in weights {
        if let Some(score) = scores.get(name) {
            sum += score * weight;
            total += weight;
        }
    }
    if total > 0.0 { sum / total } else { 0.0 }
}
