//! `evidence_channel_dead`: witnesses went quiet, so that "all fine" means nothing.

use std::time::Duration;

use service_kit::clock::Now;

use crate::audit::format::span;
use crate::audit::rule::{Outcome, Part, Rule, SUBJECTS_MAX, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{EvidenceItem, Severity};
use crate::evidence::observer::Observer;

pub(crate) const RULE: Rule = Rule {
    id: "evidence_channel_dead",
    severity: Severity::Warning,
    summary: "an observer that reported regularly stopped without signing off",
    part: Part::Evidence,
    judges_outage: true,
    has_waited: true,
    check,
};

/// The shortest silence that counts of an observer that promised nothing.
const UNPROMISED_SILENCE_MIN: Duration = Duration::from_secs(5);

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let silent = view.evidence.observers();
    let silent = silent.filter_map(|observer| violation(view, observer, settings, now));
    let mut silent: Vec<_> = silent.collect();
    silent.sort_by(|a, b| a.subject.cmp(&b.subject));
    silent.truncate(SUBJECTS_MAX);
    Outcome::Decided(silent)
}

fn violation(
    view: &View<'_>,
    observer: &Observer,
    settings: &RuleSettings,
    now: Now,
) -> Option<Violation> {
    if observer.signed_off {
        return None;
    }
    // What the monitor slept through is nobody's silence.
    let last = observer.heard.max(view.awake_since);
    let silence = now.since(last);
    let (allowed, claimed) = match observer.promise {
        Some(promise) => {
            let claimed = format!("the next report comes within {}", span(promise));
            (promise + settings.observer_grace, claimed)
        }
        None => unpromised(view, observer, settings, now)?,
    };
    (silence > allowed).then(|| Violation {
        subject: observer.source(),
        message: format!(
            "{} {} has been silent for {} without signing off; {} are allowed.",
            capital(observer.vantage.name()),
            observer.name,
            span(silence),
            span(allowed),
        ),
        evidence: vec![EvidenceItem {
            source: observer.source(),
            claimed,
            observed: format!("no report for {}", span(silence)),
            at: now.wall,
        }],
        // The component did nothing wrong: it is no longer seen.
        conclusive: false,
    })
}

/// What an observer without a promise may keep silent. Browsers are closed without a word all day:
/// it matters only where nobody is left at that vantage.
fn unpromised(
    view: &View<'_>,
    observer: &Observer,
    settings: &RuleSettings,
    now: Now,
) -> Option<(Duration, String)> {
    let interval = observer.regular_interval()?;
    let allowed = interval.saturating_mul(settings.observer_intervals);
    let allowed = allowed.max(UNPROMISED_SILENCE_MIN);
    let others = view.evidence.observers().any(|other| {
        other.vantage == observer.vantage
            && other.name != observer.name
            && (other.reports(allowed, now) || other.last_report > observer.last_report)
    });
    let claimed = format!("it reported every {}", span(interval));
    (!others).then_some((allowed, claimed))
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::{Scene, Speaker};
    use crate::domain::Vantage;

    const ID: &str = "evidence_channel_dead";

    fn promising(name: &'static str) -> Speaker {
        let mut speaker = Speaker::new(name, Vantage::Consumer);
        speaker.promise = Some(Duration::from_secs(3));
        speaker
    }

    #[test]
    fn a_broken_promise_is_found_and_kept_again() {
        let mut scene = Scene::healthy();
        let mut speaker = promising("c");
        scene.speaks(&mut speaker, &[], &["t"]);
        scene.passes(Duration::from_secs(4));
        scene.assert_quiet(ID);
        scene.passes(Duration::from_secs(1));
        scene.assert_suspected(ID);
        scene.speaks(&mut speaker, &[], &["t"]);
        scene.assert_quiet(ID);
    }

    #[test]
    fn one_that_signed_off_is_quiet() {
        let mut scene = Scene::healthy();
        let mut speaker = promising("c");
        scene.speaks(&mut speaker, &[], &["t"]);
        scene.speaks_last(&mut speaker);
        scene.passes(Duration::from_secs(60));
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_regular_observer_counts_where_it_was_the_last_of_its_vantage() {
        let mut scene = Scene::healthy();
        for _ in 0..12 {
            scene.passes(Duration::from_secs(1));
            scene.reads("c", &["t"]);
            scene.reads("d", &["t"]);
        }
        for _ in 0..10 {
            scene.passes(Duration::from_secs(1));
            scene.reads("d", &["t"]);
            scene.assert_quiet(ID);
        }
        scene.passes(Duration::from_secs(6));
        scene.assert_suspected(ID);
    }

    #[test]
    fn one_that_reports_as_it_pleases_is_quiet() {
        let mut scene = Scene::healthy();
        for pause in [1, 9, 2, 30, 1, 1, 4, 12, 3, 1] {
            scene.passes(Duration::from_secs(pause));
            scene.reads("c", &["t"]);
            scene.assert_quiet(ID);
        }
        scene.passes(Duration::from_secs(90));
        scene.assert_quiet(ID);
    }

    #[test]
    fn what_the_monitor_slept_through_is_nobodys_silence() {
        let mut scene = Scene::healthy();
        let mut speaker = promising("c");
        scene.speaks(&mut speaker, &[], &["t"]);
        scene.monitor_sleeps(Duration::from_secs(20));
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_report_that_comes_again_is_a_sign_of_life() {
        let mut scene = Scene::healthy();
        let mut speaker = promising("c");
        scene.speaks(&mut speaker, &[], &["t"]);
        scene.passes(Duration::from_secs(3));
        // Its answer was lost, and it waits for one before it tells more.
        scene.speaks_again(&speaker, &["t"]);
        scene.passes(Duration::from_secs(3));
        scene.assert_quiet(ID);
        scene.passes(Duration::from_secs(2));
        scene.assert_suspected(ID);
    }
}
