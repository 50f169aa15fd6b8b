//! Alerts: findings to a webhook, and the beats of a dead man's switch. Nothing here can hold up
//! the audits: the fleet hands an alert to a bounded queue or drops it, and hears later what
//! became of it.

mod client;
mod dead_man;
mod message;
pub(crate) mod settings;
mod webhook;

#[cfg(test)]
mod tests;

use std::future::Future;

use tokio::sync::mpsc;

use self::client::{Client, ClientError};
use self::settings::AlertSettings;
use crate::domain::{Alert, AlertEvent};
use crate::fleet::api::FleetHandle;
use crate::fleet::settings::Identity;

/// Where the fleet leaves its alerts.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    /// `None`: nobody wants to be told.
    queue: Option<mpsc::Sender<Alert>>,
    settings: AlertSettings,
}

impl Outbox {
    /// An outbox that forgets: nobody wants to be told.
    #[cfg(test)]
    pub(crate) fn closed() -> Self {
        Self {
            queue: None,
            settings: AlertSettings::default(),
        }
    }

    /// Leaves an alert, where it is severe enough. `Some`: it was lost, and how.
    pub(crate) fn leave(&self, alert: Alert) -> Option<AlertEvent> {
        let queue = self.queue.as_ref()?;
        if alert.finding.severity < self.settings.min_severity {
            return None;
        }
        let queue_max = self.settings.queue_max;
        let left = queue.try_send(alert);
        left.is_err().then_some(AlertEvent::Dropped { queue_max })
    }
}

/// What is to be run once the fleet runs.
pub(crate) struct Alerting {
    settings: AlertSettings,
    identity: Identity,
    client: Client,
    waiting: Option<mpsc::Receiver<Alert>>,
}

/// The outbox, and what carries it away.
///
/// # Errors
/// Where an address asks for TLS and the system has no certificates to trust.
pub(crate) fn open(
    settings: AlertSettings,
    identity: Identity,
) -> Result<(Outbox, Alerting), ClientError> {
    let urls = [&settings.webhook_url, &settings.dead_man_url];
    let secure = urls.iter().any(|url| url.is_secure());
    let client = Client::new(settings.deadline, secure)?;
    let (queue, waiting) = if settings.webhook_url.is_set() {
        let (queue, waiting) = mpsc::channel(settings.queue_max.max(1));
        (Some(queue), Some(waiting))
    } else {
        (None, None)
    };
    let outbox = Outbox {
        queue,
        settings: settings.clone(),
    };
    let alerting = Alerting {
        settings,
        identity,
        client,
        waiting,
    };
    Ok((outbox, alerting))
}

impl Alerting {
    /// Carries alerts and beats for ever; idle where neither is asked for.
    pub(crate) fn run(self, fleet: FleetHandle) -> impl Future<Output = ()> + Send + 'static {
        let Self {
            settings,
            identity,
            client,
            waiting,
        } = self;
        let beats = dead_man::run(
            settings.clone(),
            identity.clone(),
            client.clone(),
            fleet.clone(),
        );
        let alerts = webhook::run(settings, identity, client, waiting, fleet);
        async move {
            tokio::join!(alerts, beats);
        }
    }
}
