use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use service_kit::clock::{Clock, Now};

use super::settings::IncidentSettings;
use super::{Changes, FindingIds, Incidents};
use crate::audit::rule::{Outcome, Part, Rule, Violation};
use crate::domain::{ComponentId, EvidenceItem, Severity};

const RULE: Rule = Rule {
    id: "test_rule",
    severity: Severity::Critical,
    summary: "for tests",
    part: Part::Claims,
    judges_outage: false,
    check: |_, _, _| Outcome::clear(),
};

/// One component's incidents, and a clock that moves by hand.
struct Story {
    incidents: Incidents,
    ids: FindingIds,
    component_id: ComponentId,
    now: Now,
}

impl Story {
    fn new(settings: IncidentSettings) -> Self {
        Self {
            incidents: Incidents::new(settings),
            ids: FindingIds::new("monitor".into()),
            component_id: "bridge".into(),
            now: Clock::system().now(),
        }
    }

    fn sees(&mut self, outcome: Outcome) -> Changes {
        let mut changes = Changes::default();
        let (ids, now) = (&mut self.ids, self.now);
        let id = &self.component_id;
        self.incidents
            .apply(id, &RULE, outcome, ids, now, &mut changes);
        changes
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
    let all = (0..20).map(|number| violation(&number.to_string(), true, story.now));
    let changes = story.sees(Outcome::Decided(all.collect()));
    assert_eq!((changes.opened.len(), changes.suppressed), (3, 17));
    for _ in 0..2 {
        story.passes(1_000);
        story.sees(Outcome::clear());
    }
    assert_eq!(story.incidents.open_count(), 0);
    assert_eq!(story.incidents.resolved().count(), 2);
    assert!(!story.incidents.is_pending());
}

proptest! {
    /// Whatever comes, in whatever order: nothing that held at the last evaluation is resolved by
    /// it, ids are unique, and what opens either is open or has resolved.
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
        let ids: BTreeSet<_> = opened.iter().map(|finding| &finding.finding_id).collect();
        prop_assert_eq!(ids.len(), opened.len());
        prop_assert_eq!(opened.len(), resolved.len() + story.incidents.open_count());
    }
}
