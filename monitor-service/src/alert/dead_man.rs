//! The dead man's switch: a beat at regular times, and only while the working loop is proven, so
//! that somebody elsewhere notices when this monitor is dead or hangs.

use tokio::time::MissedTickBehavior;

use super::client::Client;
use super::message;
use super::settings::AlertSettings;
use crate::domain::AlertEvent;
use crate::fleet::api::{Command, FleetHandle};
use crate::fleet::settings::Identity;

/// Beats for ever, where a switch is set.
pub(super) async fn run(
    settings: AlertSettings,
    identity: Identity,
    client: Client,
    fleet: FleetHandle,
) {
    let Some(uri) = settings.dead_man_url.uri() else {
        return std::future::pending().await;
    };
    let mut beats = tokio::time::interval(settings.dead_man_interval);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    loop {
        beats.tick().await;
        let report = fleet.ask(|reply| Command::SelfReport { reply }).await;
        if !report.is_ok_and(|report| report.proven) {
            tracing::warn!("the working loop is not proven; the dead man's switch gets no beat");
            continue;
        }
        number += 1;
        let event = match client.post(uri, message::beat(&identity, number)).await {
            Ok(()) => AlertEvent::BeatConfirmed,
            Err(error) => {
                let receiver = &settings.dead_man_url;
                tracing::warn!(%receiver, %error, "the dead man's switch did not confirm a beat");
                AlertEvent::BeatFailed {
                    why: error.to_string(),
                }
            }
        };
        fleet.tell(Command::Alert(event)).await;
    }
}
