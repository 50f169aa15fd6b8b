//! Components that come and go by themselves: found behind a name, or in EndpointSlices, and
//! registered and removed without a restart.

mod dns;
mod keeper;
pub(crate) mod settings;
#[cfg(feature = "kubernetes")]
mod slices;

use service_kit::clock::Clock;

use self::keeper::Keeper;
use self::settings::{Discovery, Way};
use crate::fleet::api::FleetHandle;

/// Follows every source; never ends.
pub(crate) async fn follow(sources: Vec<Discovery>, fleet: FleetHandle, clock: Clock) {
    let mut following = tokio::task::JoinSet::new();
    for source in sources {
        let keeper = Keeper::new(source.template, source.keep, fleet.clone(), clock);
        match source.way {
            Way::Dns { host, interval } => {
                following.spawn(dns::follow(host, interval, keeper));
            }
            #[cfg(feature = "kubernetes")]
            Way::EndpointSlices(slices) => {
                following.spawn(slices::follow(slices, keeper));
            }
        }
    }
    match following.join_next().await {
        None => std::future::pending().await,
        Some(ended) => {
            // Whoever supervises this task hears of it with its name.
            if let Err(Ok(panic)) = ended.map_err(tokio::task::JoinError::try_into_panic) {
                std::panic::resume_unwind(panic);
            }
        }
    }
}
