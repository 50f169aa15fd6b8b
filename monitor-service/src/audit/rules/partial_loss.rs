//! `partial_loss`: one key loses everything while the rest flows.

use service_kit::clock::Now;

use crate::audit::format::{count, span};
use crate::audit::rule::{Outcome, Part, Rule, View, Violation};
use crate::audit::settings::RuleSettings;
use crate::domain::{ClaimedState, EvidenceItem, Severity};
use crate::evidence::loss::{Key, LostKey};

pub(crate) const RULE: Rule = Rule {
    id: "partial_loss",
    severity: Severity::Critical,
    summary: "one thread, tenant or kind of event gets nothing while the rest flows",
    part: Part::Evidence,
    judges_outage: false,
    has_waited: false,
    check,
};

fn check(view: &View<'_>, settings: &RuleSettings, now: Now) -> Outcome {
    let state = view.claims.health.as_ref().map(|(health, _)| health.state);
    if state == Some(ClaimedState::Draining) {
        return Outcome::Undecided("it said that it was draining");
    }
    let lost = view.losses.lost_keys.iter();
    let lost = lost.map(|lost| violation(view, lost, settings, now));
    Outcome::Decided(lost.collect())
}

fn violation(view: &View<'_>, lost: &LostKey, settings: &RuleSettings, now: Now) -> Violation {
    let age = now.since(lost.since);
    let events = count(lost.events, "event");
    let (subject, what) = match &lost.key {
        Key::Thread(id) => (id.to_string(), format!("{events} of thread {id}")),
        Key::Tenant(name) => (
            name.to_string(),
            format!(
                "{events} of tenant {name} on {}",
                count(lost.threads, "thread")
            ),
        ),
        Key::Kind(kind) => (
            kind.to_string(),
            format!(
                "{events} of kind {kind} on {}",
                count(lost.threads, "thread")
            ),
        ),
    };
    let arrived = lost.last_arrival.map_or_else(
        || "nothing".to_owned(),
        |at| format!("an event that was sent {} ago", span(now.since(at))),
    );
    Violation {
        subject,
        message: format!(
            "{what} accepted in the last {} reached no consumer, although one was reading and \
             others got their events; 0 are allowed after {}.",
            span(age),
            span(settings.delivery_grace),
        ),
        evidence: vec![
            EvidenceItem {
                source: format!("consumer:{}", lost.consumer),
                claimed: "every accepted event is delivered to whoever reads".into(),
                observed: format!("none of {events} while reading; elsewhere arrived {arrived}"),
                at: now.wall - now.since(lost.consumer_alive),
            },
            EvidenceItem {
                source: "producer".into(),
                claimed: String::new(),
                observed: format!("{events} accepted, the first {} ago", span(age)),
                at: now.wall - age,
            },
        ],
        // What arrived elsewhere shows that the component delivers and the witnesses tell.
        conclusive: view.claims.claims_health() == Some(true),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::audit::testing::Scene;
    use crate::domain::Vantage;

    const ID: &str = "partial_loss";
    const THREADS: &[&str] = &["acme/1", "acme/2", "zoo/1"];

    /// Consumer `c` reads three threads of two tenants, and each got something.
    fn flowing() -> Scene {
        let mut scene = Scene::healthy();
        scene.reads("c", THREADS);
        scene.passes(Duration::from_secs(3));
        for thread in THREADS {
            scene.produced("p", thread, 1..=2);
            scene.consumed_while_reading("c", thread, 1..=2, THREADS);
        }
        scene.passes(Duration::from_secs(1));
        scene
    }

    /// Events are accepted on these threads, and arrive on the others.
    fn lose(scene: &mut Scene, lost: &[&str]) {
        for number in 3..=6 {
            for thread in THREADS {
                scene.produced("p", thread, number..=number);
            }
            scene.passes(Duration::from_millis(500));
            for thread in THREADS.iter().filter(|thread| !lost.contains(thread)) {
                scene.consumed_while_reading("c", thread, number..=number, THREADS);
            }
        }
        scene.passes(Duration::from_millis(600));
        scene.reads("c", THREADS);
    }

    #[test]
    fn a_thread_that_gets_nothing_is_found() {
        let mut scene = flowing();
        lose(&mut scene, &["acme/1"]);
        scene.assert_conclusive(ID, "events of thread acme/1 accepted in the last");
        scene.assert_quiet("event_loss");
        scene.assert_quiet("black_hole");
        scene.consumed_while_reading("c", "acme/1", 3..=6, THREADS);
        scene.assert_quiet(ID);
    }

    #[test]
    fn a_tenant_that_gets_nothing_is_one_finding() {
        let mut scene = flowing();
        lose(&mut scene, &["acme/1", "acme/2"]);
        scene.assert_conclusive(ID, "of tenant acme on 2 threads");
        scene.assert_quiet("event_loss");
    }

    #[test]
    fn a_kind_that_gets_nothing_is_found_and_explains_its_gaps() {
        let mut scene = flowing();
        let tell = |scene: &mut Scene, number: u64, kind: &str, arrives: bool| {
            for (who, vantage) in [("p", Vantage::Producer), ("c", Vantage::Consumer)] {
                let mut seen = scene.seen("zoo/1", number);
                seen.event_type = kind.into();
                if arrives || vantage == Vantage::Producer {
                    scene.tells(who, vantage, &[seen], THREADS);
                }
            }
            scene.passes(Duration::from_millis(200));
        };
        for number in 3..=8 {
            match number % 2 {
                0 => tell(&mut scene, number, "agent_message", true),
                _ => tell(&mut scene, number, "tool_completed", false),
            }
        }
        for _ in 0..2 {
            scene.passes(Duration::from_secs(1));
            scene.reads("c", THREADS);
        }
        scene.assert_conclusive(ID, "3 events of kind tool_completed on 1 thread");
        scene.assert_quiet("event_loss");
    }

    #[test]
    fn a_key_without_demand_is_quiet() {
        let mut scene = flowing();
        for number in 3..=9 {
            scene.produced("p", "zoo/1", number..=number);
            scene.consumed_while_reading("c", "zoo/1", number..=number, THREADS);
            scene.passes(Duration::from_secs(1));
            scene.assert_quiet(ID);
        }
    }

    #[test]
    fn a_key_without_a_reader_is_quiet() {
        let mut scene = flowing();
        scene.reads("c", &["acme/2", "zoo/1"]);
        for number in 3..=9 {
            scene.produced("p", "acme/1", number..=number);
            scene.produced("p", "zoo/1", number..=number);
            scene.consumed_while_reading("c", "zoo/1", number..=number, &["acme/2", "zoo/1"]);
            scene.passes(Duration::from_secs(1));
            scene.assert_quiet(ID);
        }
    }

    #[test]
    fn a_thread_whose_events_come_late_has_not_lost_them() {
        let mut scene = flowing();
        for number in 3..=20 {
            scene.produced("p", "acme/1", number..=number);
            scene.produced("p", "zoo/1", number..=number);
            scene.consumed_while_reading("c", "zoo/1", number..=number, THREADS);
            if number > 6 {
                let late = number - 4;
                scene.consumed_while_reading("c", "acme/1", late..=late, THREADS);
            }
            scene.passes(Duration::from_secs(1));
            if number > 7 {
                scene.assert_quiet(ID);
            }
        }
    }
}
