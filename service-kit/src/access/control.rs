//! Who is known, while that changes: the files are read again, keys are fetched.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Access, Guard, Identity, JwksUrl, jwks_url};
use crate::clock::Clock;

/// Longest wait before the clock is looked at again: a wall clock may step.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Who is known now. Every guard follows it.
#[derive(Debug)]
pub struct AccessControl {
    configured: watch::Sender<Arc<Access>>,
    known: watch::Receiver<Arc<Access>>,
}

impl AccessControl {
    /// Begins with these, and the task that fetches keys where there is a URL for them.
    #[must_use]
    pub fn start(
        access: Access,
        jwks_url: Option<&JwksUrl>,
    ) -> (Self, Option<impl Future<Output = ()> + Send + 'static>) {
        let access = Arc::new(access);
        let (configured, from_files) = watch::channel(access.clone());
        let Some(url) = jwks_url else {
            return (
                Self {
                    configured,
                    known: from_files,
                },
                None,
            );
        };
        let (with_keys, known) = watch::channel(access);
        let fetching = jwks_url::fetch_forever(url.clone(), from_files, with_keys);
        (Self { configured, known }, Some(fetching))
    }

    /// From now on these are known. Whoever no longer is loses what they hold open.
    pub fn replace(&self, access: Access) {
        self.configured.send_replace(Arc::new(access));
    }

    /// The guard of a door; one that is not closed lets everybody in.
    #[must_use]
    pub fn guard(&self, closed: bool, clock: Clock) -> Guard {
        if closed {
            Guard::new(self.known.clone(), clock)
        } else {
            Guard::open(clock)
        }
    }
}

/// Why somebody who was known no longer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// What they had shown has expired.
    Expired,
    /// Nobody is known by it any more.
    Withdrawn,
}

/// Ends when the identity holds no longer.
pub(super) async fn lapsed(
    mut access: watch::Receiver<Arc<Access>>,
    clock: Clock,
    identity: Arc<Identity>,
) -> Lapse {
    loop {
        // Looked at before the wait, so that a change in between is not missed.
        if !access.borrow_and_update().still_knows(&identity) {
            return Lapse::Withdrawn;
        }
        let wait = match identity.expires {
            None => LOOK_AGAIN,
            Some(moment) => match moment.duration_since(clock.now().wall) {
                Ok(wait) if !wait.is_zero() => wait.min(LOOK_AGAIN),
                _ => return Lapse::Expired,
            },
        };
        tokio::select! {
            () = tokio::time::sleep(wait), if identity.expires.is_some() => {}
            changed = access.changed() => if changed.is_err() {
                // The service is going, and with it everything that is open.
                std::future::pending::<()>().await;
            },
        }
    }
}
