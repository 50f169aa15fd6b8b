//! An auditor's own traffic: read back by the auditor, seen by nobody else, and soon gone.

use std::time::Duration;

use super::{ENCODING, World};
use crate::hub::event::{CloseReason, Event, EventType, Outcome, SubscribeError};
use crate::hub::limits::{
    HubLimits, MAX_SYNTHETIC_CONNECTIONS, MAX_SYNTHETIC_THREADS, SYNTHETIC_AGE, SYNTHETIC_IDLE,
};
use crate::hub::reader::ConnectionId;
use crate::hub::testing::event;

/// An auditor's reader.
fn listen(world: &mut World, thread: &str) -> Result<ConnectionId, SubscribeError> {
    let now = world.now.monotonic;
    world.hub.subscribe(thread, None, ENCODING, true, now)
}

/// An auditor's run: one event for each id, and the end.
fn canary(world: &mut World, thread: &str, run: &str, ids: &[&str]) {
    let mut events: Vec<Event> = ids.iter().map(|id| event(thread, run, id)).collect();
    events.push(Event {
        event_type: EventType::AgentCompleted,
        ..event(thread, run, &format!("{run}-end"))
    });
    let outcomes = world.hub.publish(events, 0, world.now);
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Accepted(_))));
}

#[test]
fn an_auditors_events_reach_its_reader_and_are_in_no_users_statistics() {
    let mut world = World::new(HubLimits::default());
    let user = world.join("t", None);
    world.read(user);
    let auditor = listen(&mut world, "$canary/m/1").unwrap();
    let before = world.hub.report(world.now);
    world.publish("$canary/m/1", "open", &["c-open"]);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.hub.report(world.now).oldest_pending_age, None);
    canary(&mut world, "$canary/m/1", "whole", &["c-one"]);
    assert!(world.read(auditor).contains("c-one"));
    assert_eq!(world.read(user), "");
    world.hub.acknowledge(auditor, 3, world.now.monotonic);
    world.publish("$canary/m/1", "whole", &["c-one"]);
    world.publish("$canary/m/2", "whole", &["c-two"]);
    world
        .hub
        .close(auditor, CloseReason::TooSlow, world.now.monotonic);
    world.hub.remove_reader(auditor, world.now.monotonic);

    let after = world.hub.report(world.now);
    let synthetic = &after.synthetic;
    assert_eq!((synthetic.accepted, synthetic.acknowledged), (3, 3));
    assert_eq!(
        (after.synthetic_duplicates, after.synthetic_rejected),
        (1, 1)
    );
    let mut as_before = after.clone();
    as_before.synthetic = before.synthetic.clone();
    as_before.synthetic_duplicates = 0;
    as_before.synthetic_rejected = 0;
    // What is held in memory is shown whoever it is for.
    as_before.threads_held = before.threads_held;
    as_before.runs_held = before.runs_held;
    as_before.window_bytes = before.window_bytes;
    assert_eq!(as_before, before);
    world.balanced();
}

#[test]
fn an_auditors_events_leave_soon() {
    let mut world = World::new(HubLimits::default());
    world.publish("t", "r", &["kept"]);
    let before = world.hub.report(world.now);
    for round in 0..200_u64 {
        let (key, run) = (format!("$canary/m/{}", round % 4), format!("run-{round}"));
        canary(&mut world, &key, &run, &[&format!("c-{round}")]);
        world.pass(Duration::from_secs(5));
        let held = world.hub.report(world.now);
        assert!(held.runs_held <= 14 && held.threads_held <= 5, "{held:?}");
        assert!(held.window_bytes < 16 * 1024, "{held:?}");
        world.balanced();
    }
    world.pass(SYNTHETIC_AGE);
    world.pass(SYNTHETIC_IDLE);
    let after = world.hub.report(world.now);
    assert_eq!(
        (after.threads_held, after.runs_held),
        (before.threads_held, before.runs_held)
    );
}

#[test]
fn auditors_threads_are_limited_apart() {
    let mut world = World::new(HubLimits::default());
    for number in 0..MAX_SYNTHETIC_THREADS {
        let (thread, run) = (format!("$canary/m/{number}"), format!("r{number}"));
        canary(&mut world, &thread, &run, &[]);
    }
    let outcomes = world.publish("$canary/one/more", "more", &["x"]);
    assert!(
        matches!(&outcomes[0], Outcome::Rejected(why) if why.contains("1024 threads")),
        "{outcomes:?}"
    );
    let own = world.publish("$self/check", "own", &["y"]);
    assert!(matches!(own[0], Outcome::Accepted(_)));
    world.publish("t", "r", &["z"]);
    assert_eq!(world.hub.report(world.now).stages.accepted, 1);
    world.pass(SYNTHETIC_AGE);
    world.pass(SYNTHETIC_IDLE);
    canary(&mut world, "$canary/one/more", "again", &["x"]);
    world.balanced();
}

#[test]
fn auditors_readers_are_limited_apart() {
    let mut world = World::new(HubLimits {
        connections: 1,
        ..HubLimits::default()
    });
    let auditors: Vec<ConnectionId> = (0..MAX_SYNTHETIC_CONNECTIONS)
        .map(|_| listen(&mut world, "$canary/m/1").unwrap())
        .collect();
    let limit = MAX_SYNTHETIC_CONNECTIONS;
    assert_eq!(
        listen(&mut world, "$canary/m/1"),
        Err(SubscribeError::TooManyConnections { limit })
    );
    listen(&mut world, "$self/check").unwrap();
    let user = world.join("t", None);
    world.publish("t", "r", &["x"]);
    assert!(world.read(user).contains("\"seq\":1"));
    for leaves in &auditors[..2] {
        world.hub.remove_reader(*leaves, world.now.monotonic);
    }
    // The self-check's own counts too, once it is there.
    listen(&mut world, "$canary/m/1").unwrap();
    world.balanced();
}
