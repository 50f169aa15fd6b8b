//! The conservation law, held against any order of anything that can happen.

use std::time::Duration;

use proptest::prelude::*;

use super::limits::HubLimits;
use super::reader::ConnectionId;
use super::state::Hub;
use super::testing::{ENCODING, World};
use super::waiting::Oldest;

#[derive(Clone, Debug)]
enum Act {
    Publish(u8, u8),
    Join(u8),
    Read(u8),
    Stall(u8),
    Leave(u8),
    Acknowledge(u8, u8),
    Pass(u16),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_u8..3, 0_u8..4).prop_map(|(thread, run)| Act::Publish(thread, run)),
        2 => (0_u8..3).prop_map(Act::Join),
        3 => any::<u8>().prop_map(Act::Read),
        1 => any::<u8>().prop_map(Act::Stall),
        1 => any::<u8>().prop_map(Act::Leave),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(id, back)| Act::Acknowledge(id, back)),
        1 => (0_u16..400).prop_map(Act::Pass),
    ]
}

/// What waits longest, found by looking at everything.
fn by_scanning(hub: &Hub) -> Oldest {
    let mut oldest = Oldest::default();
    for thread in hub.threads.values() {
        let pending = |from| thread.window.oldest_pending_from(from);
        let readers = || thread.readers.iter().map(|id| &hub.readers[*id]);
        let open = readers().filter(|reader| reader.closing().is_none());
        let next = open.map(|reader| reader.written_through() + 1).min();
        let unacknowledged = readers()
            .filter_map(|reader| thread.window.accepted_at(reader.first_unacknowledged()?));
        let found = [
            readers().next().and_then(|_| pending(1)),
            next.and_then(pending),
            unacknowledged.min(),
        ];
        let kept = [
            &mut oldest.pending,
            &mut oldest.read_pending,
            &mut oldest.unacknowledged,
        ];
        for (kept, found) in kept.into_iter().zip(found) {
            *kept = kept.iter().copied().chain(found).min();
        }
    }
    oldest
}

proptest! {
    /// Whatever happens in whatever order: every ledger balances and every index agrees.
    #[test]
    fn the_conservation_law_holds_through_everything(acts in prop::collection::vec(act(), 0..150)) {
        let limits = HubLimits {
            window_events: 5,
            window_total_bytes: 4_000,
            runs: 6,
            threads: 3,
            reader_lag_events: 3,
            window_age: Duration::from_secs(120),
            thread_idle: Duration::from_secs(200),
            run_idle: Duration::from_secs(300),
            ..HubLimits::default()
        };
        let mut world = World::new(limits);
        let mut ids = Vec::new();
        let pick = |ids: &[ConnectionId], n: u8| ids.get(usize::from(n) % ids.len().max(1)).copied();
        for (n, act) in acts.into_iter().enumerate() {
            match act {
                Act::Publish(thread, run) => {
                    let (thread, run) = (format!("t{thread}"), format!("r{thread}{run}"));
                    world.publish(&thread, &run, &[&format!("e{n}")]);
                }
                Act::Join(thread) => {
                    let thread = format!("t{thread}");
                    let now = world.now.monotonic;
                    ids.extend(world.hub.subscribe(&thread, None, ENCODING, false, now));
                }
                Act::Read(n) => if let Some(id) = pick(&ids, n) { world.read(id); },
                Act::Stall(n) => if let Some(id) = pick(&ids, n) { world.stall(id); },
                Act::Leave(n) => if let Some(id) = pick(&ids, n) {
                    world.hub.remove_reader(id, world.now.monotonic);
                },
                Act::Acknowledge(n, through) => if let Some(id) = pick(&ids, n) {
                    world.hub.acknowledge(id, u64::from(through % 16), world.now.monotonic);
                },
                Act::Pass(seconds) => world.pass(Duration::from_secs(seconds.into())),
            }
            world.hub.take_dirty(&mut Vec::new(), world.now.monotonic);
            for id in world.hub.take_overdue() {
                world.hub.remove_reader(id, world.now.monotonic);
            }
            let scanned = by_scanning(&world.hub);
            prop_assert_eq!(world.hub.oldest(), scanned);
            let inspected = world.hub.inspect();
            prop_assert!(inspected.is_ok(), "{inspected:?}");
        }
        world.hub.drop_pending();
        let stages = world.hub.report(world.now).stages;
        prop_assert!(stages.balanced() && stages.pending == 0, "{stages:?}");
    }
}
