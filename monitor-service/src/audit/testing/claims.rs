//! What a component may claim that it should not.

use std::sync::Arc;
use std::time::Duration;

use super::{Scene, answer, metrics_claim};
use crate::audit::peers::{Peer, Peers};
use crate::audit::rule::Outcome;
use crate::domain::{HealthClaim, MetricsClaim, Probed, WatchReason};

impl Scene {
    /// What the stream says next.
    pub(crate) fn beat_says(&mut self, health: HealthClaim) {
        self.watched(health, WatchReason::Heartbeat);
    }

    pub(crate) fn probe_without_nonce(&mut self) {
        let health = self.health();
        self.probe_says_without_nonce(&health);
    }

    pub(crate) fn probe_says_without_nonce(&mut self, said: &HealthClaim) {
        let probed = Probed {
            health: Ok(answer(said.clone(), self.now)),
            nonce_echoed: false,
            metrics: Ok(answer(metrics_claim(self.now), self.now)),
        };
        self.claims.probed(&probed, self.now);
    }

    /// Calls that were sent that long ago and are answered now.
    pub(crate) fn probe_sent_before(
        &mut self,
        took: Duration,
        change: impl FnOnce(&mut HealthClaim, &mut MetricsClaim),
    ) {
        let mut health = answer(self.health(), self.now);
        let mut metrics = answer(metrics_claim(self.now), self.now);
        change(
            Arc::make_mut(&mut health.value),
            Arc::make_mut(&mut metrics.value),
        );
        for sent in [&mut health.sent, &mut metrics.sent] {
            sent.monotonic -= took;
            sent.wall -= took;
        }
        let probed = Probed {
            health: Ok(health),
            nonce_echoed: true,
            metrics: Ok(metrics),
        };
        self.claims.probed(&probed, self.now);
    }

    /// The next status is this process's, one after that sequence.
    pub(crate) fn speaks_as(&mut self, instance: &str, sequence: u64) {
        instance.clone_into(&mut self.instance);
        self.sequence = sequence;
    }

    pub(crate) fn checks_go_on(&mut self) {
        self.checked = None;
    }

    pub(crate) fn is_up_for(&mut self, uptime: Duration) {
        self.uptime = uptime;
    }

    pub(crate) fn is_not_registered(&mut self) {
        self.registered = None;
    }

    /// Slowdown and skew of each of the others, which were all asked just now.
    pub(crate) fn has_peers(&mut self, others: &[(f64, f64)]) {
        let peer = |(index, (slowdown, skew)): (usize, &(f64, f64))| Peer {
            component_id: format!("peer-{index}").as_str().into(),
            slowdown: *slowdown,
            skew: Some(*skew),
            sent: self.now.monotonic,
            slow: None,
        };
        self.peers = Peers {
            asked: others.iter().enumerate().map(peer).collect(),
            answering: others.len() + 1,
            lateness: Duration::ZERO,
        };
    }

    /// The monitor's wall clock jumps; time does not.
    pub(crate) fn own_clock_steps(&mut self, span: Duration, ahead: bool) {
        if ahead {
            self.now.wall += span;
        } else {
            self.now.wall -= span;
        }
    }

    /// Whether something that was said is to be looked at by calling.
    pub(crate) fn wants_audit(&self) -> bool {
        self.claims.wants_audit(&self.settings, self.now)
    }

    /// The rule can tell, and sees nothing wrong.
    #[track_caller]
    pub(crate) fn assert_decided_quiet(&mut self, rule_id: &str) {
        assert_eq!(self.check(rule_id), Outcome::clear(), "{rule_id}");
    }
}
