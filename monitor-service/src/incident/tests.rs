use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use service_kit::clock::{Clock, Now};

use super::settings::IncidentSettings;
use super::{Changes, Circumstances, FindingIds, Incidents};
use crate::audit::rule::{Origin, Outcome, Part, Violation};
use crate::domain::{AlertKind, ComponentId, EvidenceItem, FindingState, Severity};

const RULE: &str = "test_rule";

/// One component's incidents, and a clock that moves by hand.
struct Story {
    incidents: Incidents,
    ids: FindingIds,
    component_id: ComponentId,
    now: Now,
    circumstances: Circumstances,
}

impl Story {
    fn new(settings: IncidentSettings) -> Self {
        Self {
            incidents: Incidents::new(settings),
            ids: FindingIds::new("monitor".into()),
            component_id: "bridge".into(),
            now: Clock::system().now(),
            circumstances: Circumstances::default(),
        }
    }

    fn sees(&mut self, outcome: Outcome) -> Changes {
        self.evaluates(vec![(RULE, outcome)])
    }

    /// One evaluation: each rule's answer, and what follows from them all.
    fn evaluates(&mut self, outcomes: Vec<(&'static str, Outcome)>) -> Changes {
        let mut changes = Changes::default();
        let (ids, now) = (&mut self.ids, self.now);
        let id = &self.component_id;
        for (rule_id, outcome) in outcomes {
            let origin = Origin {
                rule_id,
                severity: Severity::Critical,
                part: Part::Claims,
                has_waited: false,
            };
            self.incidents
                .apply(id, origin, outcome, ids, now, &mut changes);
        }
        self.incidents.settle(self.circumstances, now, &mut changes);
        changes
    }

    /// The same as [`sees`](Self::sees), and the answer is milder than the rule.
    fn sees_mildly(&mut self, violation: Violation) -> Changes {
        self.sees(Outcome::Mild(vec![violation]))
    }

    /// The sign goes away, for as long as it takes to resolve.
    fn heals(&mut self) -> Changes {
        self.sees(Outcome::clear());
        self.passes(400_000);
        self.sees(Outcome::clear())
    }

    fn open_rules(&self) -> Vec<&'static str> {
        let open = self.incidents.open();
        open.map(|(finding, ..)| finding.rule_id).collect()
    }

    fn passes(&mut self, millis: u64) {
        self.now = self.now.later(Duration::from_millis(millis));
    }

    fn open_subjects(&self) -> BTreeSet<String> {
        let open = self.incidents.open();
        open.map(|(finding, ..)| finding.subject.clone()).collect()
    }
}

fn violation(subject: &str, conclusive: bool, at: Now) -> Violation {
    Violation {
        subject: subject.to_owned(),
        message: "1 seen; 0 are allowed.".into(),
        evidence: vec![EvidenceItem {
            source: "claim".into(),
            claimed: String::new(),
            observed: "1".into(),
            at: at.wall,
        }],
        conclusive,
    }
}

fn broken(conclusive: bool, at: Now) -> Outcome {
    Outcome::broken(violation("", conclusive, at))
}

#[test]
fn a_conclusive_sign_opens_at_once_and_resolves_after_the_hold() {
    let mut story = Story::new(IncidentSettings::default());
    let opened = story.sees(broken(true, story.now)).opened;
    assert_eq!(opened[0].finding_id, "monitor-1");
    story.passes(500);
    assert!(story.sees(broken(true, story.now)).is_empty());
    assert!(story.sees(Outcome::clear()).is_empty());
    story.passes(999);
    assert!(story.sees(Outcome::clear()).is_empty());
    story.passes(1);
    let resolved = story.sees(Outcome::clear()).resolved;
    assert_eq!(resolved[0].resolve_time, Some(story.now.wall));
    assert_eq!(story.incidents.open_count(), 0);
    assert_eq!(story.incidents.resolved().count(), 1);
}

#[test]
fn an_inconclusive_sign_must_hold() {
    let mut story = Story::new(IncidentSettings::default());
    let first = story.sees(broken(false, story.now));
    assert!(first.suspected && first.is_empty());
    story.passes(500);
    assert!(!story.sees(broken(false, story.now)).suspected);
    story.passes(500);
    assert_eq!(story.sees(broken(false, story.now)).opened.len(), 1);
}

#[test]
fn a_sign_that_goes_away_was_an_accident() {
    let mut story = Story::new(IncidentSettings::default());
    story.sees(broken(false, story.now));
    story.passes(500);
    story.sees(Outcome::clear());
    story.passes(600);
    assert!(story.sees(broken(false, story.now)).is_empty());
    assert!(story.incidents.resolved().next().is_none());
}

#[test]
fn who_cannot_tell_changes_nothing() {
    let mut story = Story::new(IncidentSettings::default());
    story.sees(broken(true, story.now));
    for _ in 0..10 {
        story.passes(10_000);
        assert!(story.sees(Outcome::Undecided("no data")).is_empty());
    }
    assert_eq!(story.incidents.open_count(), 1);
}

#[test]
fn findings_are_bounded_and_counted() {
    let settings = IncidentSettings {
        open_max: 3,
        resolved_max: 2,
        ..IncidentSettings::default()
    };
    let mut story = Story::new(settings);
    let all = (0..20).map(|number| {
        let mut violation = violation(&number.to_string(), true, story.now);
        violation.evidence = vec![violation.evidence[0].clone(); 9];
        violation
    });
    let changes = story.sees(Outcome::Decided(all.collect()));
    assert_eq!((changes.opened.len(), changes.suppressed), (3, 17));
    assert!(changes.opened.iter().all(|found| found.evidence.len() == 8));
    for _ in 0..2 {
        story.passes(1_000);
        story.sees(Outcome::clear());
    }
    assert_eq!(story.incidents.open_count(), 0);
    assert_eq!(story.incidents.resolved().count(), 2);
    assert!(!story.incidents.is_pending());
}

#[test]
fn other_settings_hold_for_what_is_open_too() {
    let mut story = Story::new(IncidentSettings::default());
    story.sees(broken(true, story.now));
    story.incidents.adopt(IncidentSettings {
        resolve_evaluations: 1,
        resolve_hold: Duration::ZERO,
        ..IncidentSettings::default()
    });
    assert_eq!(story.sees(Outcome::clear()).resolved.len(), 1);
}

#[test]
fn a_suspicion_can_be_seen() {
    let mut story = Story::new(IncidentSettings::default());
    story.sees(broken(false, story.now));
    let suspected: Vec<_> = story.incidents.suspected().collect();
    assert_eq!(suspected.len(), 1);
    assert_eq!(suspected[0].state, FindingState::Suspected);
    assert_eq!(suspected[0].message, "1 seen; 0 are allowed.");
    story.passes(1_000);
    let opened = story.sees(broken(false, story.now)).opened;
    assert_eq!(opened[0].state, FindingState::Open);
    assert_eq!(story.incidents.suspected().count(), 0);
}

#[test]
fn a_sign_that_comes_back_soon_is_the_same_finding() {
    let mut story = Story::new(IncidentSettings::default());
    let first = story.sees(broken(true, story.now)).opened.remove(0);
    story.sees(Outcome::clear());
    story.passes(1_000);
    assert_eq!(story.sees(Outcome::clear()).resolved.len(), 1);
    story.passes(299_000);
    let changes = story.sees(broken(true, story.now));
    let again = &changes.opened[0];
    assert_eq!(again.finding_id, first.finding_id);
    assert_eq!((again.reopened, again.resolve_time), (1, None));
    assert_eq!(again.open_time, first.open_time);
    assert_eq!(changes.alerts[0].kind, AlertKind::Reopened);
    assert_eq!(story.incidents.resolved().count(), 0);
}

#[test]
fn a_sign_that_comes_back_late_is_another_finding() {
    let mut story = Story::new(IncidentSettings::default());
    let first = story.sees(broken(true, story.now)).opened.remove(0);
    story.sees(Outcome::clear());
    story.passes(1_000);
    story.sees(Outcome::clear());
    story.passes(301_000);
    let again = story.sees(broken(true, story.now)).opened.remove(0);
    assert_ne!(again.finding_id, first.finding_id);
    assert_eq!(again.reopened, 0);
    assert_eq!(story.incidents.resolved().count(), 1);
}

/// One that is gone for 5 s and back for 1 s, again and again, rings 4 times and then no more.
#[test]
fn flapping_is_damped() {
    let mut story = Story::new(IncidentSettings::default());
    let mut opened = 0;
    for _ in 0..100 {
        opened += story.sees(broken(true, story.now)).opened.len();
        story.passes(1_000);
        for _ in 0..10 {
            story.sees(Outcome::clear());
            story.passes(500);
        }
    }
    assert_eq!(opened, 4);
    assert_eq!(story.incidents.open_count(), 1);
    let mut resolved = Vec::new();
    for _ in 0..10 {
        story.passes(1_000);
        resolved.extend(story.sees(Outcome::clear()).resolved);
    }
    assert_eq!(resolved[0].reopened, 3);
}

#[test]
fn the_hold_doubles_up_to_its_limit() {
    let settings = IncidentSettings::default();
    let holds = [0, 1, 3, 8, 9, 40].map(|reopened| settings.hold_after(reopened).as_secs());
    assert_eq!(holds, [1, 2, 8, 256, 300, 300]);
}

#[test]
fn what_an_open_cause_explains_does_not_open() {
    let mut story = Story::new(IncidentSettings::default());
    // The cause is asked last: the order of the rules does not matter.
    let changes = story.evaluates(vec![
        (
            "event_loss",
            Outcome::broken(violation("t", true, story.now)),
        ),
        ("canary_failed", broken(true, story.now)),
        ("black_hole", broken(true, story.now)),
        (
            "tool_stuck",
            Outcome::broken(violation("call", true, story.now)),
        ),
    ]);
    assert_eq!(changes.opened.len(), 2);
    assert_eq!(story.open_rules(), ["black_hole", "tool_stuck"]);
    let held: Vec<_> = story
        .incidents
        .suspected()
        .map(|held| &held.message)
        .collect();
    assert!(held[1].ends_with("(Explained by black_hole.)"), "{held:?}");
}

#[test]
fn the_first_sign_of_a_cause_gives_way_to_it() {
    let mut story = Story::new(IncidentSettings::default());
    let loss = |story: &Story| Outcome::broken(violation("t", true, story.now));
    story.evaluates(vec![("event_loss", loss(&story))]);
    story.passes(3_000);
    let changes = story.evaluates(vec![
        ("event_loss", loss(&story)),
        ("black_hole", broken(true, story.now)),
    ]);
    assert_eq!(changes.resolved[0].rule_id, "event_loss");
    assert!(
        changes.resolved[0]
            .message
            .contains("Explained by black_hole")
    );
    assert_eq!(story.open_rules(), ["black_hole"]);
    // It stays away while the cause lasts, and is itself again when only the cause is gone.
    story.passes(3_000);
    story.evaluates(vec![
        ("event_loss", loss(&story)),
        ("black_hole", Outcome::clear()),
    ]);
    assert_eq!(story.open_rules(), ["black_hole"]);
    story.passes(1_000);
    story.evaluates(vec![
        ("event_loss", loss(&story)),
        ("black_hole", Outcome::clear()),
    ]);
    story.evaluates(vec![
        ("event_loss", loss(&story)),
        ("black_hole", Outcome::clear()),
    ]);
    assert_eq!(story.open_rules(), ["event_loss"]);
}

#[test]
fn what_was_open_long_before_is_no_sign_of_it() {
    let mut story = Story::new(IncidentSettings::default());
    story.evaluates(vec![(
        "event_loss",
        Outcome::broken(violation("t", true, story.now)),
    )]);
    story.passes(60_000);
    story.evaluates(vec![("black_hole", broken(true, story.now))]);
    assert_eq!(story.open_rules(), ["black_hole", "event_loss"]);
}

#[test]
fn what_is_held_back_opens_when_it_still_holds_after() {
    let mut story = Story::new(IncidentSettings::default());
    story.circumstances.held_back = true;
    assert!(story.sees(broken(true, story.now)).is_empty());
    assert_eq!(story.incidents.suspected().count(), 1);
    story.circumstances.held_back = false;
    assert_eq!(story.sees(broken(true, story.now)).opened.len(), 1);
}

#[test]
fn maintenance_marks_and_alerts_nobody_until_it_is_over() {
    let mut story = Story::new(IncidentSettings::default());
    story.circumstances.in_maintenance = true;
    let changes = story.sees(broken(true, story.now));
    assert!(changes.opened[0].in_maintenance && changes.alerts.is_empty());
    assert!(story.heals().alerts.is_empty());
    story.sees(broken(true, story.now));
    let mut changes = Changes::default();
    story.incidents.announce(&mut changes);
    story.incidents.announce(&mut changes);
    assert_eq!(changes.alerts.len(), 1);
    story.circumstances.in_maintenance = false;
    assert_eq!(story.heals().alerts[0].kind, AlertKind::Resolved);
}

#[test]
fn many_parts_leave_room_for_the_whole() {
    let settings = IncidentSettings {
        open_max: 3,
        ..IncidentSettings::default()
    };
    let mut story = Story::new(settings);
    let all = (0..20).map(|number| violation(&number.to_string(), true, story.now));
    story.sees(Outcome::Decided(all.collect()));
    let changes = story.evaluates(vec![("black_hole", broken(true, story.now))]);
    assert_eq!(changes.opened.len(), 1);
}

#[test]
fn closing_ends_what_was_announced() {
    let mut story = Story::new(IncidentSettings::default());
    story.sees(broken(true, story.now));
    let changes = story.incidents.close(story.now);
    assert_eq!((changes.resolved.len(), changes.alerts.len()), (1, 1));
}

#[test]
fn a_finding_that_gets_worse_is_told_again_and_keeps_its_id() {
    let mut story = Story::new(IncidentSettings::default());
    let opened = story.sees_mildly(violation("", true, story.now)).opened;
    assert_eq!(opened[0].severity, Severity::Warning);
    story.passes(1_000);
    let worse = story.sees(Outcome::Decided(vec![violation("", true, story.now)]));
    assert!(worse.opened.is_empty() && worse.resolved.is_empty());
    let (was, finding) = &worse.worsened[0];
    assert_eq!(
        (*was, finding.severity),
        (Severity::Warning, Severity::Critical)
    );
    assert_eq!(finding.finding_id, opened[0].finding_id);
    assert_eq!(worse.alerts[0].kind, AlertKind::Worsened);
    // It gets milder again: what it was stays said.
    let milder = story.sees_mildly(violation("", true, story.now));
    assert!(milder.is_empty() && milder.alerts.is_empty());
    let open: Vec<_> = story
        .incidents
        .open()
        .map(|(finding, ..)| finding.severity)
        .collect();
    assert_eq!(open, [Severity::Critical]);
}

proptest! {
    /// Whatever comes, in whatever order: nothing that held at the last evaluation is resolved by
    /// it, ids are unique, what comes back has the id it had, and what opens either is open or has
    /// resolved.
    #[test]
    fn what_still_holds_is_never_resolved(
        steps in proptest::collection::vec(
            (proptest::collection::btree_map(0_u8..5, any::<bool>(), 0..5), 0_u64..3_000, 0_u8..6),
            1..60,
        ),
    ) {
        let mut story = Story::new(IncidentSettings::default());
        let (mut opened, mut resolved) = (Vec::new(), Vec::new());
        for (subjects, millis, undecided) in steps {
            story.passes(millis);
            let before = story.open_subjects();
            let holds: BTreeSet<String> = subjects.keys().map(u8::to_string).collect();
            let found = subjects
                .iter()
                .map(|(subject, conclusive)| violation(&subject.to_string(), *conclusive, story.now));
            let outcome = match undecided {
                0 => Outcome::Undecided("no data"),
                _ => Outcome::Decided(found.collect()),
            };
            let changes = story.sees(outcome);
            for finding in &changes.resolved {
                prop_assert!(undecided != 0 && !holds.contains(&finding.subject));
                prop_assert!(before.contains(&finding.subject));
            }
            if undecided != 0 {
                for (subject, conclusive) in &subjects {
                    prop_assert!(!conclusive || story.open_subjects().contains(&subject.to_string()));
                }
            }
            opened.extend(changes.opened);
            resolved.extend(changes.resolved);
        }
        let first: Vec<_> = opened.iter().filter(|finding| finding.reopened == 0).collect();
        let ids: BTreeSet<_> = first.iter().map(|finding| &finding.finding_id).collect();
        prop_assert_eq!(ids.len(), first.len());
        prop_assert!(opened.iter().all(|finding| ids.contains(&finding.finding_id)));
        prop_assert_eq!(opened.len(), resolved.len() + story.incidents.open_count());
    }
}
