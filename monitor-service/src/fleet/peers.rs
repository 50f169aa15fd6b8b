//! How the components fare beside each other, once a tick and only where one is under suspicion.

use std::cmp::Reverse;
use std::time::Instant;

use service_kit::clock::Now;

use super::component::Component;
use super::state::FleetState;
use crate::audit::peers::Peer;

/// Peers that are asked and compared, so that a fleet of thousands costs no more than a few.
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
        let mut asked: Vec<_> = self.answering().filter_map(|c| peer(c, now)).collect();
        asked.sort_by_key(|peer| Reverse(peer.sent));
        asked.truncate(PEERS_MAX);
        self.peers.asked = asked;
        if let Some(since) = slow {
            self.ask_peers(since);
        }
    }

    /// Asks those that were not asked since, up to the number that is compared.
    fn ask_peers(&mut self, since: Instant) {
        let fresh = self.peers.asked.iter().filter(|peer| peer.sent >= since);
        let lacking = PEERS_MAX.saturating_sub(fresh.count());
        let stale = self.components.values_mut().filter(|component| {
            is_comparable(component)
                && component
                    .claims
                    .track
                    .latency
                    .slowdown()
                    .is_some_and(|(_, sent)| sent < since)
        });
        for component in stale.take(lacking) {
            component.audit_wanted = true;
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

fn peer(component: &Component, now: Now) -> Option<Peer> {
    let track = &component.claims.track;
    let (slowdown, sent) = track.latency.slowdown()?;
    Some(Peer {
        component_id: component.target.component_id.clone(),
        slowdown,
        skew: track.clocks.skew(now),
        sent,
    })
}
