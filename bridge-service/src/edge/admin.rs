//! What the health protocol and the admin pages ask, answered through the hub.

use service_kit::health_protocol::{HealthSource, LIVENESS, READINESS};
use service_kit::http::{Exposition, MetricsSource};
use service_kit::reload::ReloadStatus;

use super::exposition;
use crate::health::report::State;
use crate::hub::api::{HubHandle, Identity};

/// The hub's own word, asked anew each time.
#[derive(Debug)]
pub(crate) struct Claims {
    hub: HubHandle,
    identity: Identity,
    reloads: ReloadStatus,
}

impl Claims {
    /// Over this hub.
    pub(crate) fn new(hub: HubHandle, identity: Identity, reloads: ReloadStatus) -> Self {
        Self {
            hub,
            identity,
            reloads,
        }
    }
}

impl HealthSource for Claims {
    async fn serving(&self, service: &str) -> bool {
        match self.hub.health().await {
            Ok(report) => serves(service, report.state),
            Err(_) => false,
        }
    }
}

impl MetricsSource for Claims {
    async fn metrics(&self, format: Exposition) -> Option<String> {
        let (hub, lifecycle, health) = self.hub.metrics().await.ok()?;
        let mut page = exposition::page(&hub, &lifecycle, &health, &self.identity, format);
        self.reloads.write(&mut page, "bridge");
        Some(page.finish())
    }
}

/// Whether a service serves while the component is in this state. Alive is every loop that
/// answers and has not given up; ready is also one that heals itself.
fn serves(service: &str, state: State) -> bool {
    match service {
        LIVENESS => state != State::Failed,
        READINESS => matches!(state, State::Active | State::Degraded),
        _ => state == State::Active,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_serves_before_it_is_proven() {
        for state in [State::Uninitialized, State::Initializing] {
            assert!(serves(LIVENESS, state));
            assert!(!serves(READINESS, state) && !serves("", state));
        }
        assert!(serves(READINESS, State::Degraded) && !serves("", State::Degraded));
        assert!(!serves(LIVENESS, State::Failed) && !serves(READINESS, State::Draining));
        assert!(serves("monitorable.v1.Monitorable", State::Active));
    }
}
