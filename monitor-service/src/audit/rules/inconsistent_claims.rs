//! `inconsistent_claims`: the parts of a report contradict each other.

use service_kit::clock::Now;

use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{ClaimedState, EvidenceItem, HealthClaim, LifecycleClaim, Severity};

pub(crate) const RULE: Rule = Rule {
    id: "inconsistent_claims",
    severity: Severity::Critical,
    summary: "the component contradicts itself",
    part: Part::Claims,
    judges_outage: false,
    has_waited: false,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, _now: Now) -> Outcome {
    if view.claims.health.is_none() && view.claims.metrics.is_none() {
        return Outcome::Undecided("it said nothing yet");
    }
    let mut violations = Vec::new();
    if let Some((health, at)) = &view.claims.health {
        violations.extend(health_contradictions(health).map(|found| found.at(*at)));
    }
    if let Some((metrics, at)) = &view.claims.metrics {
        let found = count_contradictions(&metrics.lifecycle, settings.success_rate_tolerance);
        violations.extend(found.into_iter().map(|found| found.at(*at)));
    }
    Outcome::Decided(violations)
}

struct Contradiction {
    subject: &'static str,
    message: String,
    claimed: String,
    observed: String,
}

impl Contradiction {
    fn at(self, at: Now) -> Violation {
        Violation {
            subject: self.subject.to_owned(),
            message: self.message,
            evidence: vec![EvidenceItem {
                source: "claim".into(),
                claimed: self.claimed,
                observed: self.observed,
                at: at.wall,
            }],
            conclusive: true,
        }
    }
}

fn health_contradictions(health: &HealthClaim) -> impl Iterator<Item = Contradiction> {
    let failed: Vec<_> = health
        .checks
        .iter()
        .filter(|check| !check.healthy)
        .map(|check| check.name.as_str())
        .collect();
    let active = health.state == ClaimedState::Active;
    // While it starts, checks may not have passed yet, and it does not say that they have.
    let checks = ((active || health.healthy) && !failed.is_empty()).then(|| Contradiction {
        subject: "checks",
        message: format!(
            "It claims to be {} while {} of {} checks failed ({}); 0 may fail.",
            if health.healthy { "healthy" } else { "active" },
            failed.len(),
            health.checks.len(),
            failed.join(", "),
        ),
        claimed: format!("state {:?}, healthy {}", health.state, health.healthy),
        observed: format!("failed checks: {}", failed.join(", ")),
    });
    let state = (health.healthy && !active).then(|| Contradiction {
        subject: "state",
        message: format!(
            "It claims to be healthy in state {:?}; only Active may be healthy.",
            health.state
        ),
        claimed: "healthy".into(),
        observed: format!("state {:?}", health.state),
    });
    checks.into_iter().chain(state)
}

fn count_contradictions(counts: &LifecycleClaim, tolerance: f64) -> Vec<Contradiction> {
    let mut found = Vec::new();
    let sum = counts
        .successful_initializations
        .saturating_add(counts.failed_initializations);
    if counts.total_initializations != sum {
        found.push(Contradiction {
            subject: "total_initializations",
            message: format!(
                "total_initializations is {}; successful and failed add up to {sum}.",
                counts.total_initializations
            ),
            claimed: format!("{} in total", counts.total_initializations),
            observed: format!(
                "{} successful, {} failed",
                counts.successful_initializations, counts.failed_initializations
            ),
        });
    }
    if counts.successful_recoveries > counts.recovery_attempts {
        found.push(Contradiction {
            subject: "successful_recoveries",
            message: format!(
                "successful_recoveries is {}; at most recovery_attempts, {}, are possible.",
                counts.successful_recoveries, counts.recovery_attempts
            ),
            claimed: format!("{} successful", counts.successful_recoveries),
            observed: format!("{} attempts", counts.recovery_attempts),
        });
    }
    let ratio = ratio(counts);
    let off = (counts.success_rate - ratio).abs();
    // Not a number is off by no number.
    if off.is_nan() || off > tolerance {
        found.push(Contradiction {
            subject: "success_rate",
            message: format!(
                "success_rate is {}; {} of {} is {ratio}, and {tolerance:e} off is allowed.",
                counts.success_rate,
                counts.successful_initializations,
                counts.total_initializations,
            ),
            claimed: counts.success_rate.to_string(),
            observed: ratio.to_string(),
        });
    }
    found
}

fn ratio(counts: &LifecycleClaim) -> f64 {
    if counts.total_initializations == 0 {
        return 0.0;
    }
    counts.successful_initializations as f64 / counts.total_initializations as f64
}

#[cfg(test)]
mod tests {
    use crate::audit::testing::Scene;
    use crate::domain::ClaimedState;

    const ID: &str = "inconsistent_claims";

    #[test]
    fn active_with_a_failed_check_is_found() {
        let mut scene = Scene::healthy();
        scene.probe_with(|health, _| health.checks[0].healthy = false);
        scene.assert_conclusive(
            ID,
            "claims to be healthy while 1 of 2 checks failed (registry)",
        );
    }

    #[test]
    fn healthy_outside_active_is_found() {
        let mut scene = Scene::healthy();
        scene.probe_with(|health, _| health.state = ClaimedState::Degraded);
        scene.assert_conclusive(ID, "healthy in state Degraded; only Active may be healthy");
    }

    #[test]
    fn totals_that_do_not_add_up_are_found() {
        let mut scene = Scene::healthy();
        scene.probe_with(|_, metrics| {
            metrics.lifecycle.total_initializations = 3;
            metrics.lifecycle.success_rate = 1.0 / 3.0;
        });
        scene.assert_conclusive(
            ID,
            "total_initializations is 3; successful and failed add up to 1",
        );
    }

    #[test]
    fn a_rate_off_the_ratio_is_found() {
        let mut scene = Scene::healthy();
        scene.probe_with(|_, metrics| metrics.lifecycle.success_rate = 0.5);
        scene.assert_conclusive(ID, "success_rate is 0.5; 1 of 1 is 1");
        scene.probe_with(|_, metrics| metrics.lifecycle.success_rate = f64::NAN);
        scene.assert_conclusive(ID, "success_rate is NaN");
    }

    #[test]
    fn rounding_is_allowed() {
        let mut scene = Scene::healthy();
        scene.probe_with(|_, metrics| {
            metrics.lifecycle.total_initializations = 3;
            metrics.lifecycle.failed_initializations = 2;
            metrics.lifecycle.success_rate = 0.333_333_4;
        });
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_report_taken_mid_initialization_is_quiet() {
        let mut scene = Scene::healthy();
        scene.probe_with(|health, metrics| {
            health.state = ClaimedState::Initializing;
            health.healthy = false;
            health.checks[0].healthy = false;
            metrics.lifecycle.total_initializations = 0;
            metrics.lifecycle.successful_initializations = 0;
            metrics.lifecycle.success_rate = 0.0;
        });
        scene.assert_quiet(ID);
    }
}
