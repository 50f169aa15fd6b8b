//! One over a limit of the hub gets its answer, and the rest go on as before.

use std::time::Duration;

use bytes::Bytes;

use super::{ENCODING, World};
use crate::hub::event::{Outcome, SubscribeError};
use crate::hub::limits::HubLimits;
use crate::hub::reader::MAX_CONTROLS;

fn refused(outcomes: &[Outcome], why: &str) {
    assert!(
        matches!(&outcomes[0], Outcome::Rejected(found) if found.contains(why)),
        "{outcomes:?}"
    );
}

fn accepted(outcomes: &[Outcome]) {
    assert!(matches!(outcomes[0], Outcome::Accepted(_)), "{outcomes:?}");
}

#[test]
fn one_thread_too_many_is_refused_to_agents_and_readers() {
    let limits = HubLimits {
        threads: 2,
        ..HubLimits::default()
    };
    let mut world = World::new(limits);
    let reader = world.join("a", None);
    accepted(&world.publish("b", "r-b", &["1"]));
    refused(
        &world.publish("c", "r-c", &["2"]),
        "thread_id: 2 threads are held, and no more are allowed",
    );
    let now = world.now.monotonic;
    let late = world.hub.subscribe("c", None, ENCODING, false, now);
    assert_eq!(late, Err(SubscribeError::TooManyThreads { limit: 2 }));
    accepted(&world.publish("a", "r-a", &["3"]));
    assert!(world.read(reader).contains("\"seq\":1"));
    // Nor can strangers make the self-check fail.
    accepted(&world.publish("$self/check", "own", &["4"]));
    world.balanced();
    // One that is forgotten makes room.
    world.pass(limits.window_age);
    world.pass(limits.thread_idle);
    accepted(&world.publish("c", "r-c", &["5"]));
}

#[test]
fn runs_that_nobody_ends_leave_room_for_the_self_check() {
    let limits = HubLimits {
        runs: 1,
        ..HubLimits::default()
    };
    let mut world = World::new(limits);
    accepted(&world.publish("a", "open", &["1"]));
    refused(&world.publish("b", "more", &["2"]), "1 unfinished runs");
    accepted(&world.publish("$self/check", "own", &["3"]));
    accepted(&world.publish("a", "open", &["4"]));
    world.balanced();
}

#[test]
fn a_threads_bytes_let_its_own_oldest_go_and_no_others() {
    let limits = HubLimits {
        window_thread_bytes: 2_000,
        ..HubLimits::default()
    };
    let mut world = World::new(limits);
    world.publish("quiet", "r-quiet", &["q"]);
    for n in 0..50_u64 {
        world.publish("busy", "r-busy", &[&format!("b{n}")]);
    }
    let quiet = world.hub.run_report("r-quiet").unwrap().stages;
    assert_eq!((quiet.pending, quiet.expired), (1, 0));
    let busy = world.hub.run_report("r-busy").unwrap().stages;
    assert!(busy.pending > 0 && busy.expired > 0, "{busy:?}");
    assert!(world.hub.report(world.now).window_bytes < 4_000);
    world.balanced();
}

#[test]
fn a_reader_too_many_bytes_behind_is_told_and_nobody_else_waits() {
    let limits = HubLimits {
        reader_lag_bytes: 1_000,
        ..HubLimits::default()
    };
    let mut world = World::new(limits);
    let (stalled, flowing) = (world.join("t", None), world.join("t", None));
    world.stall(stalled);
    for n in 0..20_u64 {
        world.publish("t", "r", &[&format!("e{n}")]);
        world.hub.take_dirty(&mut Vec::new(), world.now.monotonic);
        world.read(flowing);
    }
    world.hub.writable(stalled, world.now.monotonic);
    let text = world.read(stalled);
    assert!(text.contains("\"code\":4008"), "{text}");
    assert!(!text.contains("\"seq\":20"), "{text}");
    world.publish("t", "r", &["last"]);
    assert!(world.read(flowing).contains("\"seq\":21"));
}

#[test]
fn a_repeat_of_a_forgotten_id_is_a_new_event() {
    let limits = HubLimits {
        idempotency_entries: 2,
        ..HubLimits::default()
    };
    let mut world = World::new(limits);
    world.publish("t", "r", &["1", "2", "3"]);
    let again = world.publish("t", "r", &["3", "1"]);
    assert!(matches!(again[0], Outcome::Duplicate(_)), "{again:?}");
    assert!(matches!(again[1], Outcome::Accepted(_)), "{again:?}");
    world.pass(Duration::from_secs(1));
    world.balanced();
}

#[test]
fn one_control_frame_too_many_is_left_out_and_the_events_are_not() {
    let mut world = World::new(HubLimits::default());
    let reader = world.join("t", None);
    world.read(reader);
    for _ in 0..=MAX_CONTROLS {
        world.hub.control(reader, Bytes::from_static(b"<pong>"));
    }
    world.publish("t", "r", &["e"]);
    let text = world.read(reader);
    assert_eq!(text.matches("<pong>").count(), MAX_CONTROLS, "{text}");
    assert!(text.contains("\"seq\":1"), "{text}");
    world.hub.control(reader, Bytes::from_static(b"<again>"));
    assert_eq!(world.read(reader), "<again>");
}
