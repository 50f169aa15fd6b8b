//! Quiet readers hear that the bridge is there, and dead ones are found.

use crate::hub::event::CloseReason;
use crate::hub::limits::HubLimits;
use crate::hub::testing::World;

#[test]
fn a_quiet_reader_is_sent_heartbeats_and_a_dead_one_is_closed() {
    let mut world = World::new(HubLimits::default());
    let limits = HubLimits::default();
    let reader = world.join("t", None);
    world.read(reader);
    world.pass(limits.heartbeat);
    world.pass(limits.heartbeat);
    assert!(world.read(reader).contains("\"heartbeat\""));
    world.hub.alive(reader, world.now.monotonic);
    world.pass(limits.heartbeat);
    assert!(world.read(reader).contains("\"heartbeat\""));
    world.pass(limits.reader_silence);
    assert!(world.read(reader).contains("\"silent\""));
}

#[test]
fn heartbeats_that_are_due_soon_go_out_together() {
    let limits = HubLimits::default();
    let mut world = World::new(limits);
    let readers: Vec<_> = (0..300)
        .map(|n| {
            let reader = world.join(&format!("t{n}"), None);
            world.read(reader);
            reader
        })
        .collect();
    let (mut turns, mut busiest) = (0, 0);
    let end = world.now.monotonic + limits.heartbeat * 2;
    let mut beats = vec![0_u32; readers.len()];
    while let Some(due) = world.hub.next_due()
        && due < end
    {
        world.pass(due - world.now.monotonic);
        turns += 1;
        let mut together = 0;
        for (reader, beats) in readers.iter().zip(&mut beats) {
            let beat = world.read(*reader).contains("\"heartbeat\"");
            together += u32::from(beat);
            *beats += u32::from(beat);
            world.hub.alive(*reader, world.now.monotonic);
        }
        busiest = busiest.max(together);
    }
    let sum: u32 = beats.iter().sum();
    assert!(beats.iter().all(|beats| (1..=2).contains(beats)));
    assert!(turns * 2 <= sum, "{turns} turns for {sum} heartbeats");
    assert!(busiest * 10 < 300, "{busiest} readers beat together");
}

#[test]
fn a_goodbye_keeps_its_whole_time() {
    let limits = HubLimits::default();
    let mut world = World::new(limits);
    let reader = world.join("t", None);
    world.read(reader);
    world
        .hub
        .close(reader, CloseReason::TooSlow, world.now.monotonic);
    world.pass(limits.goodbye - limits.heartbeat_slack() / 2);
    assert!(world.hub.take_overdue().is_empty());
    world.pass(limits.heartbeat_slack());
    assert_eq!(world.hub.take_overdue(), [reader]);
}

#[test]
fn a_busy_reader_is_pinged_too() {
    let mut world = World::new(HubLimits::default());
    let limits = HubLimits::default();
    let reader = world.join("t", None);
    let mut pinged = false;
    for n in 0..40_u64 {
        world.pass(limits.heartbeat / 10);
        world.publish("t", "r", &[&format!("e{n}")]);
        // A ping's two bytes, 0x89 and 0x00, as lossy text; no header or payload looks like it.
        pinged |= world.read(reader).contains("\u{fffd}\u{0}");
    }
    assert!(pinged, "no ping in four intervals");
}
