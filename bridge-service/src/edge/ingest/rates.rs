//! How many events a second one agent may hand in.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use service_kit::accept::Peer;
use service_kit::access::Identity;
use service_kit::clock::Clock;
use service_kit::rate::{Accounts, Rate};
use tonic::{Request, Status};

/// The accounts of all agents. Behind a lock because calls are served by many tasks; held for one
/// step in the map.
#[derive(Debug)]
pub(super) struct Rates {
    rate: Rate,
    accounts: Mutex<Accounts>,
    clock: Clock,
}

impl Rates {
    pub(super) fn new(rate: Rate, clock: Clock) -> Self {
        Self {
            rate,
            accounts: Mutex::new(Accounts::new(rate)),
            clock,
        }
    }

    /// Whose account an agent's events are taken from: its name, or its address where nobody needs
    /// to be known. Empty where nothing is counted.
    pub(super) fn caller<T>(&self, request: &Request<T>, identity: Option<&Identity>) -> String {
        match (identity, request.extensions().get::<Peer>()) {
            _ if self.rate.0 == 0 => String::new(),
            (Some(identity), _) => identity.name.to_string(),
            (None, Some(peer)) => peer.address.ip().to_canonical().to_string(),
            (None, None) => String::new(),
        }
    }

    /// Takes events from an account.
    ///
    /// # Errors
    /// How long until it takes any again.
    pub(super) fn take(&self, caller: &str, count: usize) -> Result<(), Duration> {
        if self.rate.0 == 0 {
            return Ok(());
        }
        self.accounts()
            .take(caller, count, self.clock.now().monotonic)
    }

    /// The same for a call that does not wait.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` with the rate and the wait.
    pub(super) fn take_or_refuse(&self, caller: &str, count: usize) -> Result<(), Status> {
        self.take(caller, count).map_err(|wait| {
            let (rate, wait) = (self.rate.0, wait.as_millis().max(1));
            Status::resource_exhausted(format!(
                "events: {caller:?} has handed in {rate} in a second, and no more are allowed; nothing of this batch was taken, try again in {wait} ms"
            ))
        })
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
