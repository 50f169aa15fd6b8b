//! Stories of the hub's pure half, told with explicit time.

#[cfg(feature = "fault-injection")]
mod faults;
mod heartbeats;
mod limits;
mod synthetic;

use std::time::Duration;

use super::event::{CloseReason, Event, EventType, Outcome, Position, SubscribeError};
use super::limits::HubLimits;
use super::testing::{ENCODING, World, event};

fn sequences(outcomes: &[Outcome]) -> Vec<u64> {
    outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Accepted(place) | Outcome::Duplicate(place) => place.sequence,
            Outcome::Rejected(_) => 0,
        })
        .collect()
}

#[test]
fn each_thread_counts_for_itself_from_one() {
    let mut world = World::new(HubLimits::default());
    assert_eq!(sequences(&world.publish("a", "r1", &["1", "2"])), [1, 2]);
    assert_eq!(sequences(&world.publish("b", "r2", &["3"])), [1]);
    assert_eq!(sequences(&world.publish("a", "r1", &["4"])), [3]);
    world.balanced();
}

#[test]
fn a_repeat_gets_the_first_place_and_is_not_counted() {
    let mut world = World::new(HubLimits::default());
    world.publish("t", "r", &["1", "2"]);
    let outcomes = world.publish("t", "r", &["1"]);
    assert!(matches!(&outcomes[0], Outcome::Duplicate(place) if place.sequence == 1));
    let report = world.hub.report(world.now);
    assert_eq!((report.stages.accepted, report.duplicates), (2, 1));
}

#[test]
fn a_run_stays_in_its_thread() {
    let mut world = World::new(HubLimits::default());
    world.publish("a", "r", &["1"]);
    let outcomes = world.publish("b", "r", &["2"]);
    assert!(matches!(&outcomes[0], Outcome::Rejected(why) if why.starts_with("run_id")));
    assert_eq!(world.hub.report(world.now).rejected, 1);
}

#[test]
fn a_reader_gets_a_welcome_and_then_every_event_once() {
    let mut world = World::new(HubLimits::default());
    let reader = world.join("t", None);
    world.publish("t", "r", &["e-one", "e-two"]);
    let text = world.read(reader);
    let at = |part: &str| {
        text.find(part)
            .unwrap_or_else(|| panic!("no {part} in {text}"))
    };
    assert!(at("\"welcome\"") < at("e-one") && at("e-one") < at("e-two"));
    assert_eq!(world.read(reader), "");
    let stages = world.hub.report(world.now).stages;
    assert_eq!((stages.delivered, stages.pending), (2, 0));
}

#[test]
fn a_reader_that_comes_later_takes_the_pending_events() {
    let mut world = World::new(HubLimits::default());
    world.publish("t", "r", &["early"]);
    assert_eq!(world.hub.report(world.now).stages.pending, 1);
    let reader = world.join("t", None);
    assert!(world.read(reader).contains("early"));
    assert_eq!(world.hub.report(world.now).stages.delivered, 1);
    world.balanced();
}

#[test]
fn a_reader_that_comes_back_gets_exactly_the_rest() {
    let mut world = World::new(HubLimits::default());
    let outcomes = world.publish("t", "r", &["e-one", "e-two", "e-three"]);
    let Outcome::Accepted(place) = &outcomes[0] else {
        panic!("{outcomes:?}")
    };
    let position = Position {
        epoch: place.epoch.as_str().to_owned(),
        after: 1,
    };
    let reader = world.join("t", Some(&position));
    let text = world.read(reader);
    assert!(text.contains("\"recovered\":true"), "{text}");
    assert!(!text.contains("e-one") && text.contains("e-two") && text.contains("e-three"));
}

#[test]
fn an_event_that_no_reader_came_for_expires() {
    let mut world = World::new(HubLimits::default());
    world.publish("t", "r", &["lonely"]);
    world.pass(HubLimits::default().window_age);
    let stages = world.hub.report(world.now).stages;
    assert_eq!((stages.pending, stages.expired), (0, 1));
    assert_eq!(world.hub.run_report("r").unwrap().stages.expired, 1);
    world.balanced();
}

#[test]
fn the_window_holds_its_limits_and_the_reader_is_told() {
    let limits = HubLimits {
        window_events: 2,
        ..HubLimits::default()
    };
    let mut world = World::new(limits);
    world.publish("t", "r", &["1", "2", "3"]);
    assert_eq!(world.hub.report(world.now).stages.expired, 1);
    let reader = world.join("t", None);
    assert!(world.read(reader).contains("\"recovered\":false"));
}

#[test]
fn the_total_window_lets_the_oldest_of_all_go() {
    let limits = HubLimits {
        window_total_bytes: 2_000,
        ..HubLimits::default()
    };
    let mut world = World::new(limits);
    for n in 0..10_u64 {
        world.now = world.now.later(Duration::from_millis(1));
        let (thread, run, id) = (format!("t{n}"), format!("r{n}"), format!("e{n}"));
        world.publish(&thread, &run, &[&id]);
    }
    let report = world.hub.report(world.now);
    assert!(report.window_bytes <= 2_000);
    assert!(report.stages.expired > 0);
    assert_eq!(
        world.hub.run_report("r9").unwrap().stages.pending,
        1,
        "the newest stays"
    );
    assert_eq!(
        world.hub.run_report("r0").unwrap().stages.expired,
        1,
        "the oldest went"
    );
    world.balanced();
}

#[test]
fn acknowledgements_are_counted_once_and_within_the_delivered() {
    let mut world = World::new(HubLimits::default());
    let (one, two) = (world.join("t", None), world.join("t", None));
    world.publish("t", "r", &["1", "2", "3"]);
    world.read(one);
    world.read(two);
    world.hub.acknowledge(one, 2, world.now.monotonic);
    world.hub.acknowledge(two, 3, world.now.monotonic);
    world.hub.acknowledge(one, 3, world.now.monotonic);
    assert_eq!(world.hub.report(world.now).stages.acknowledged, 3);
    assert_eq!(world.hub.run_report("r").unwrap().stages.acknowledged, 3);
}

#[test]
fn an_acknowledgement_of_the_future_ends_the_connection() {
    let mut world = World::new(HubLimits::default());
    let reader = world.join("t", None);
    world.read(reader);
    world.hub.acknowledge(reader, 9, world.now.monotonic);
    assert!(world.read(reader).contains("protocol_error"));
}

#[test]
fn a_stalled_reader_is_told_and_nobody_else_waits() {
    let limits = HubLimits {
        reader_lag_events: 2,
        ..HubLimits::default()
    };
    let mut world = World::new(limits);
    let (stalled, flowing) = (world.join("t", None), world.join("t", None));
    world.stall(stalled);
    world.publish("t", "r", &["1", "2", "3"]);
    let mut ready = Vec::new();
    world.hub.take_dirty(&mut ready, world.now.monotonic);
    assert_eq!(ready, [flowing]);
    assert!(world.read(flowing).contains("\"seq\":3"));
    world.hub.writable(stalled, world.now.monotonic);
    let text = world.read(stalled);
    assert!(text.contains("\"code\":4008"), "{text}");
    let closes = world.hub.report(world.now).closes_by_reason;
    assert_eq!(closes.get("too_slow"), Some(&1));
}

#[test]
fn a_reader_that_takes_no_goodbye_is_cut() {
    let limits = HubLimits {
        reader_lag_events: 0,
        ..HubLimits::default()
    };
    let mut world = World::new(limits);
    let reader = world.join("t", None);
    world.stall(reader);
    world.publish("t", "r", &["1"]);
    world.hub.take_dirty(&mut Vec::new(), world.now.monotonic);
    world.pass(limits.goodbye);
    assert_eq!(world.hub.take_overdue(), [reader]);
}

#[test]
fn a_drain_delivers_what_is_there_and_says_goodbye() {
    let mut world = World::new(HubLimits::default());
    let reader = world.join("t", None);
    world.publish("t", "r", &["last-words"]);
    world.hub.drain(world.now);
    let text = world.read(reader);
    let at = |part: &str| {
        text.find(part)
            .unwrap_or_else(|| panic!("no {part} in {text}"))
    };
    assert!(at("last-words") < at("\"code\":4009"));
    let refused = world
        .hub
        .subscribe("t", None, ENCODING, false, world.now.monotonic);
    assert_eq!(refused, Err(SubscribeError::Draining));
}

#[test]
fn many_readers_leave_one_batch_after_the_other() {
    let limits = HubLimits::default();
    let mut world = World::new(limits);
    let readers: Vec<_> = (0..450).map(|_| world.join("t", None)).collect();
    world.publish("t", "r", &["last-words"]);
    world.hub.drain(world.now);
    let step = limits.drain_spread / 20;
    let mut gone = Vec::new();
    for _ in 0..=20 {
        let report = world.hub.report(world.now);
        gone.push(report.closes_by_reason["draining"]);
        world.pass(step);
    }
    assert_eq!(gone[0], 100, "{gone:?}");
    let most = gone.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(most <= Some(150), "too many at once: {gone:?}");
    assert_eq!(gone.last(), Some(&450), "{gone:?}");
    for id in readers {
        let text = world.read(id);
        assert!(
            text.find("last-words") < text.find("\"code\":4009"),
            "{text}"
        );
    }
}

#[test]
fn events_that_nobody_came_for_are_counted_at_the_end() {
    let mut world = World::new(HubLimits::default());
    world.publish("t", "r", &["1", "2"]);
    world.hub.drain(world.now);
    assert_eq!(world.hub.drop_pending(), 2);
    let stages = world.hub.report(world.now).stages;
    assert_eq!(stages.dropped.get("shutdown"), Some(&2));
    assert!(stages.balanced());
}

#[test]
fn readers_are_limited() {
    let limits = HubLimits {
        connections: 1,
        ..HubLimits::default()
    };
    let mut world = World::new(limits);
    world.join("t", None);
    let refused = world
        .hub
        .subscribe("t", None, ENCODING, false, world.now.monotonic);
    assert_eq!(
        refused,
        Err(SubscribeError::TooManyConnections { limit: 1 })
    );
    assert!(
        world
            .hub
            .subscribe("t", None, ENCODING, true, world.now.monotonic)
            .is_ok()
    );
}

#[test]
fn finished_runs_make_room_and_open_ones_do_not() {
    let limits = HubLimits {
        runs: 1,
        ..HubLimits::default()
    };
    let mut world = World::new(limits);
    world.publish("t", "r1", &["1"]);
    assert!(matches!(
        &world.publish("t", "r2", &["2"])[0],
        Outcome::Rejected(_)
    ));
    let end = Event {
        event_type: EventType::AgentCompleted,
        ..event("t", "r1", "3")
    };
    world.hub.publish(vec![end], 0, world.now);
    assert!(matches!(
        &world.publish("t", "r2", &["4"])[0],
        Outcome::Accepted(_)
    ));
    assert!(world.hub.run_report("r1").is_none());
    world.balanced();
}

#[test]
fn idle_threads_and_runs_are_forgotten() {
    let mut world = World::new(HubLimits::default());
    let limits = HubLimits::default();
    world.publish("t", "r", &["1"]);
    world.pass(limits.window_age);
    world.pass(limits.thread_idle);
    world.pass(limits.run_idle);
    let report = world.hub.report(world.now);
    assert_eq!(
        (report.threads_held, report.runs_held, report.runs_open),
        (0, 0, 0)
    );
    assert_eq!(report.window_bytes, 0);
    world.balanced();
}

#[test]
fn a_thread_whose_only_event_was_refused_is_forgotten_too() {
    let mut world = World::new(HubLimits::default());
    world.publish("t", "r", &["1"]);
    world.publish("other", "r", &["2"]);
    assert_eq!(world.hub.report(world.now).threads_held, 2);
    world.pass(HubLimits::default().thread_idle);
    assert_eq!(world.hub.report(world.now).threads_held, 0);
}

#[test]
fn a_thread_that_is_read_or_used_is_not_forgotten() {
    let mut world = World::new(HubLimits::default());
    let idle = HubLimits::default().thread_idle;
    let reader = world.join("read", None);
    world.publish("used", "r", &["1"]);
    world.pass(idle / 2);
    world.publish("used", "r", &["2"]);
    world.pass(idle / 2);
    assert_eq!(world.hub.report(world.now).threads_held, 2);
    world.pass(idle / 2);
    assert_eq!(world.hub.report(world.now).threads_held, 1);
    world.hub.remove_reader(reader, world.now.monotonic);
    world.pass(idle / 2);
    assert_eq!(world.hub.report(world.now).threads_held, 1);
    world.pass(idle / 2);
    assert_eq!(world.hub.report(world.now).threads_held, 0);
}

#[test]
fn idle_threads_are_in_nobodys_way_where_room_is_made() {
    let limits = HubLimits {
        window_total_bytes: 2_000,
        ..HubLimits::default()
    };
    let mut world = World::new(limits);
    for n in 0..100_u64 {
        world.publish(&format!("idle-{n}"), &format!("r{n}"), &[&n.to_string()]);
    }
    let expired = |world: &mut World| world.hub.report(world.now).stages.expired;
    assert!(expired(&mut world) > 80);
    for n in 0..100_u64 {
        world.publish("busy", "run", &[&format!("b{n}")]);
        assert!(world.hub.aging.len() < 20, "{}", world.hub.aging.len());
    }
    assert!(expired(&mut world) > 180);
    world.balanced();
}

#[test]
fn readers_leave_in_any_order() {
    let mut world = World::new(HubLimits::default());
    let mut readers: Vec<_> = (0..6).map(|_| world.join("t", None)).collect();
    for place in [3, 0, 3, 1] {
        let gone = readers.remove(place);
        world.hub.remove_reader(gone, world.now.monotonic);
        world.balanced();
    }
    world.publish("t", "r", &["kept"]);
    for reader in readers {
        assert!(world.read(reader).contains("kept"));
    }
}

#[test]
fn a_rebuild_keeps_everything() {
    let mut world = World::new(HubLimits::default());
    let reader = world.join("t", None);
    world.publish("t", "r", &["kept"]);
    world.hub.rebuild(world.now);
    world.balanced();
    assert!(world.read(reader).contains("kept"));
}

#[test]
fn a_close_counts_its_reason_once() {
    let mut world = World::new(HubLimits::default());
    let reader = world.join("t", None);
    world
        .hub
        .close(reader, CloseReason::MessageTooBig, world.now.monotonic);
    world
        .hub
        .close(reader, CloseReason::TooSlow, world.now.monotonic);
    let closes = world.hub.report(world.now).closes_by_reason;
    assert_eq!(
        closes.into_iter().collect::<Vec<_>>(),
        [("message_too_big", 1)]
    );
}

#[test]
fn the_delay_of_a_delivery_is_the_bridges_and_not_the_readers() {
    let mut world = World::new(HubLimits::default());
    world.publish("t", "r", &["before"]);
    world.pass(Duration::from_secs(60));
    let reader = world.join("t", None);
    world.read(reader);
    assert_eq!(world.hub.report(world.now).delivery_delay.count(), 0);
    world.publish("t", "r", &["after"]);
    world.publish("$self/t", "r-self", &["synthetic"]);
    world.pass(Duration::from_millis(3));
    world.read(reader);
    let delay = world.hub.report(world.now).delivery_delay;
    assert_eq!(delay.count(), 1);
    assert_eq!(delay.sum(), Duration::from_millis(3));
}
