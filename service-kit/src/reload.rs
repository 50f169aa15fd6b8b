//! Settings that are read again while the service runs: at SIGHUP, and when a file changed.

mod files;
mod shared;
mod status;

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{ConfigErrors, Values};
pub use files::Files;
pub use shared::{Shared, SharedSettings};
pub use status::ReloadStatus;

/// A service whose settings can be read again.
pub trait Reload: Send + Sync + 'static {
    /// Its settings, checked.
    type Settings: Send + Sync;

    /// Reads them as at the start.
    ///
    /// # Errors
    /// Every mistake in them.
    fn load(&self) -> Result<Self::Settings, ConfigErrors>;

    /// Every file that they came from.
    fn files(settings: &Self::Settings) -> &Files;

    /// The settings as they were written.
    fn values(settings: &Self::Settings) -> &Values;

    /// Whether a setting takes effect at once; a change of any other waits for the next start.
    fn changes_at_once(path: &str) -> bool;

    /// Goes on with the new ones.
    fn apply(
        &self,
        new: &Self::Settings,
        old: &Self::Settings,
    ) -> impl Future<Output = Result<(), String>> + Send;
}

/// Listens for SIGHUP, which asks for the settings to be read again.
///
/// # Errors
/// Where the process may not install signal handlers.
pub fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Follows the files and the signal for ever. What is valid is applied; what is not changes
/// nothing, and the status, the log and the metrics say why.
pub async fn follow<R: Reload>(
    service: R,
    started: R::Settings,
    mut hangups: Signal,
    status: ReloadStatus,
) {
    let mut current = started;
    let mut files = R::files(&current).clone();
    loop {
        let cause = tokio::select! {
            _ = hangups.recv() => "SIGHUP",
            () = files.changed() => "a file changed",
        };
        let taken = match service.load() {
            Ok(settings) => {
                files = R::files(&settings).clone();
                let applied = service.apply(&settings, &current).await;
                applied.map(|()| settings)
            }
            Err(refused) => {
                // What mends it may be a change of a file that no reading before has named.
                files = refused.files;
                Err(refused.errors.join("; "))
            }
        };
        match &taken {
            Ok(settings) => {
                warn_of_fixed::<R>(settings, &current);
                tracing::info!(cause, "the settings were read again");
            }
            Err(error) => tracing::error!(
                cause,
                %error,
                "the settings were read again and are not valid: those from before hold"
            ),
        }
        match taken {
            Ok(settings) => {
                status.note(Ok(()));
                current = settings;
            }
            Err(error) => status.note(Err(error)),
        }
    }
}

fn warn_of_fixed<R: Reload>(new: &R::Settings, old: &R::Settings) {
    let changed = R::values(new).changed_from(R::values(old));
    let fixed = changed.into_iter().filter(|path| !R::changes_at_once(path));
    let fixed: Vec<&str> = fixed.collect();
    if !fixed.is_empty() {
        let settings = fixed.join(", ");
        tracing::warn!(settings, "these changed and wait for the next start");
    }
}
