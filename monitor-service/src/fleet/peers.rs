//! How the components fare beside each other, once a tick and only where one is under suspicion.

use std::time::Instant;

use service_kit::clock::Now;
use twox_hash::XxHash3_64;

use super::component::Component;
use super::state::FleetState;
use crate::audit::peers::Peer;

/// Peers that are asked and compared, so that a fleet of thousands costs no more than a few. They are
/// always the same ones, drawn by lot: of all that were asked, those that have answered already are
/// the quick ones, and would make any other look slow.
const PEERS_MAX: usize = 16;

impl FleetState {
    /// Gathers how the others answered, and asks some that were not asked since the suspicion
    /// began.
    pub(super) fn compare_peers(&mut self, now: Now) {
        self.peers.lateness = self.pulse.tick_lateness;
        self.peers.answering = self.answering().count();
        let slow = |component: &Component| component.claims.track.latency.streak_since();
        let slow = self.every().filter_map(slow).max();
        let tolerance = self.settings.rules.clock_tolerance;
        let skewed =
            |component: &Component| component.claims.track.clocks.is_suspect(tolerance, now);
        if slow.is_none() && !self.every().any(skewed) {
            self.peers.asked.clear();
            return;
        }
        let mut lots: Vec<_> = self.answering().map(|it| (lot(it), it)).collect();
        if lots.len() > PEERS_MAX {
            lots.select_nth_unstable_by_key(PEERS_MAX, |(lot, _)| *lot);
            lots.truncate(PEERS_MAX);
        }
        self.peers.asked = lots.iter().filter_map(|(_, it)| peer(it, now)).collect();
        if let Some(since) = slow {
            self.ask_peers(since);
        }
    }

    /// Asks those of them that were not asked since.
    fn ask_peers(&mut self, since: Instant) {
        for peer in self.peers.asked.iter().filter(|peer| peer.sent < since) {
            if let Some(component) = self.components.get_mut(&peer.component_id) {
                component.audit_wanted = true;
            }
        }
    }

    /// The components that answer and whose usual latency is known.
    fn answering(&self) -> impl Iterator<Item = &Component> {
        self.every().filter(|component| is_comparable(component))
    }
}

fn is_comparable(component: &Component) -> bool {
    !component.claims.is_down() && component.claims.track.latency.slowdown().is_some()
}

/// The peers are those with the lowest.
fn lot(component: &Component) -> u64 {
    XxHash3_64::oneshot(component.target.component_id.as_bytes())
}

fn peer(component: &Component, now: Now) -> Option<Peer> {
    let track = &component.claims.track;
    let (slowdown, sent) = track.latency.slowdown()?;
    Some(Peer {
        component_id: component.target.component_id.clone(),
        slowdown,
        skew: track.clocks.skew(now),
        sent,
        slow: track.latency.newest_slowdown(),
    })
}
