//! A name whose every address is a component, such as that of a headless service.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;

use super::settings::Place;

/// Looks the name up again and again. A lookup that fails says nothing of who is there: nobody is
/// removed for it.
pub(super) async fn look(
    host: String,
    interval: Duration,
    name: &str,
    found: mpsc::Sender<BTreeSet<Place>>,
) {
    let mut failing = false;
    loop {
        match tokio::net::lookup_host(&host).await {
            Ok(addresses) => {
                failing = false;
                let places = addresses.map(|address| Place {
                    address,
                    pod: String::new(),
                });
                if found.send(places.collect()).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // Once for each outage of the name service.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(source = name, host, %error, "the name is not found");
                }
            }
        }
        tokio::time::sleep(interval).await;
    }
}
