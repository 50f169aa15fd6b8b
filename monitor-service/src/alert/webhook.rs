//! Findings to the webhook, one after another, each tried a few times.

use tokio::sync::mpsc;

use super::client::{Client, PostError};
use super::message;
use super::settings::AlertSettings;
use crate::domain::{Alert, AlertEvent};
use crate::fleet::api::{Command, FleetHandle};
use crate::fleet::settings::Identity;
use crate::probe::backoff::Backoff;

/// Posts what waits, for ever. `waiting` `None`: there is no webhook.
pub(super) async fn run(
    settings: AlertSettings,
    identity: Identity,
    client: Client,
    waiting: Option<mpsc::Receiver<Alert>>,
    fleet: FleetHandle,
) {
    let Some(mut waiting) = waiting else {
        return std::future::pending().await;
    };
    let webhook = Webhook {
        settings,
        identity,
        client,
    };
    // The newest alert that reached nobody: it is tried again while nothing newer comes.
    let mut failed: Option<Alert> = None;
    loop {
        let alert = tokio::select! {
            alert = waiting.recv() => match alert {
                Some(alert) => alert,
                // The fleet has ended, and the process ends with it.
                None => return std::future::pending().await,
            },
            () = tokio::time::sleep(webhook.settings.retry_cap), if failed.is_some() => {
                let Some(alert) = failed.take() else { continue };
                alert
            }
        };
        let event = match webhook.deliver(&alert).await {
            Ok(()) => {
                failed = None;
                AlertEvent::Delivered
            }
            Err((attempts, error)) => {
                let why = error.to_string();
                let receiver = &webhook.settings.webhook_url;
                tracing::warn!(%receiver, attempts, why, "an alert reached nobody");
                failed = Some(alert);
                AlertEvent::Failed { attempts, why }
            }
        };
        fleet.tell(Command::Alert(event)).await;
    }
}

struct Webhook {
    settings: AlertSettings,
    identity: Identity,
    client: Client,
}

impl Webhook {
    /// Posts an alert; says how often it was tried in vain.
    async fn deliver(&self, alert: &Alert) -> Result<(), (u32, PostError)> {
        let Some(uri) = self.settings.webhook_url.uri() else {
            return Ok(());
        };
        let body = message::alert(alert, &self.identity);
        let mut backoff = Backoff::new(self.settings.retry_base, self.settings.retry_cap);
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.client.post(uri, body.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) if attempts >= self.settings.attempts || !error.may_pass() => {
                    return Err((attempts, error));
                }
                Err(error) => {
                    tracing::debug!(%error, attempts, "an alert is tried again");
                    tokio::time::sleep(backoff.next_pause()).await;
                }
            }
        }
    }
}
