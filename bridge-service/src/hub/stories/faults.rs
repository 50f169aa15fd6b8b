//! What each fault point does to readers, and what the claims say meanwhile.

use super::{HubLimits, Outcome, World, sequences};

fn armed(fault: &str) -> World {
    let mut world = World::new(HubLimits::default());
    world.hub.arm(fault.parse().unwrap(), world.now);
    world
}

/// How often a reader that had an open socket all along got each event.
fn arrivals(world: &mut World, ids: &[&str]) -> Vec<usize> {
    let reader = world.join("t", None);
    world.publish("t", "r", ids);
    let text = world.read(reader);
    let quoted = |id: &&str| format!("\"event_id\":\"{id}\"");
    ids.iter()
        .map(|id| text.matches(&quoted(id)).count())
        .collect()
}

#[test]
fn what_is_lost_counts_as_delivered() {
    let mut world = armed("lose t 1");
    assert_eq!(arrivals(&mut world, &["e1", "e2"]), [0, 1]);
    assert_eq!(world.hub.report(world.now).stages.delivered, 2);
    world.balanced();
}

#[test]
fn what_vanishes_is_in_no_stage_and_the_self_check_is_green() {
    let mut world = armed("vanish t 1");
    assert_eq!(arrivals(&mut world, &["e1", "e2"]), [0, 1]);
    assert!(!world.hub.report(world.now).stages.balanced());
    world.hub.inspect().unwrap();
}

#[test]
fn what_is_doubled_arrives_twice() {
    let mut world = armed("duplicate t 1");
    assert_eq!(arrivals(&mut world, &["e1", "e2"]), [2, 1]);
    world.balanced();
}

#[test]
fn what_is_swapped_arrives_in_the_other_order() {
    let mut world = armed("swap t 1");
    let reader = world.join("t", None);
    world.publish("t", "r", &["e-one", "e-two"]);
    let text = world.read(reader);
    let (one, two) = (text.find("e-one").unwrap(), text.find("e-two").unwrap());
    assert!(two < one, "{text}");
    assert!(text.find("\"seq\":2").unwrap() < text.rfind("\"seq\":1,").unwrap());
    world.balanced();
}

#[test]
fn a_mute_thread_delivers_nothing_and_says_that_it_does() {
    let mut world = armed("mute t");
    assert_eq!(arrivals(&mut world, &["e1", "e2"]), [0, 0]);
    assert_eq!(world.hub.report(world.now).stages.delivered, 2);
    world.balanced();
}

#[test]
fn what_is_invented_arrives_although_nobody_sent_it() {
    let mut world = World::new(HubLimits::default());
    let reader = world.join("t", None);
    world.hub.arm("invent t 1".parse().unwrap(), world.now);
    assert!(world.read(reader).contains("\"invented-1\""));
    world.balanced();
}

#[test]
fn what_is_swallowed_gets_a_receipt_and_leaves_no_gap() {
    let mut world = armed("swallow agent_message");
    // The tests' events are messages.
    let outcomes = world.publish("t", "r", &["e1"]);
    assert!(matches!(outcomes[0], Outcome::Accepted(_)), "{outcomes:?}");
    assert_eq!(world.hub.report(world.now).stages.accepted, 0);
    world.hub.arm("heal".parse().unwrap(), world.now);
    assert_eq!(sequences(&world.publish("t", "r", &["e2"])), [1]);
}

#[test]
fn a_wedged_hub_accepts_and_writes_to_nobody_until_it_heals() {
    let mut world = armed("wedge users");
    let user = world.join("t", None);
    let auditor = world.join("$canary/1", None);
    world.publish("t", "r", &["e1"]);
    let mut ready = Vec::new();
    world.hub.take_dirty(&mut ready, world.now.monotonic);
    assert_eq!(ready, [auditor]);
    assert_eq!(world.hub.report(world.now).stages.pending, 1);
    world.hub.arm("heal".parse().unwrap(), world.now);
    let mut ready = Vec::new();
    world.hub.take_dirty(&mut ready, world.now.monotonic);
    assert!(ready.contains(&user), "{ready:?}");
}
