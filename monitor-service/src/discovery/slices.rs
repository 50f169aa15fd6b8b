//! EndpointSlices of a Kubernetes API server, followed as they change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;

use super::settings::{Place, SliceSettings};

/// Pause before the API server is looked for again.
const RETRY: Duration = Duration::from_secs(5);
/// How often what is missing is looked at between changes.
const TICK: Duration = Duration::from_secs(1);

/// Follows the slices; ends with its listener. While the API server is away, everybody stays
/// registered.
pub(super) async fn look(
    settings: SliceSettings,
    name: &str,
    found: mpsc::Sender<BTreeSet<Place>>,
) {
    while !found.is_closed() {
        match client(&settings).await {
            Ok(client) => watch(&settings, client, name, &found).await,
            Err(error) => {
                tracing::error!(source = name, error, "no Kubernetes API server is known");
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Reads the configuration anew each time: its token may have been replaced.
async fn client(
    settings: &SliceSettings,
) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let Some(path) = &settings.kubeconfig else {
        return Ok(Client::try_default().await?);
    };
    let kubeconfig = Kubeconfig::read_from(path)?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    Ok(Client::try_from(config)?)
}

async fn watch(
    settings: &SliceSettings,
    client: Client,
    name: &str,
    found: &mpsc::Sender<BTreeSet<Place>>,
) {
    let api: Api<EndpointSlice> = match settings.namespace.as_deref() {
        None => Api::default_namespaced(client),
        Some("*") => Api::all(client),
        Some(namespace) => Api::namespaced(client, namespace),
    };
    let config = Config::default().labels(&settings.labels);
    let events = watcher(api, config).default_backoff();
    pin_mut!(events);
    let mut slices = Slices::new(settings.port.clone());
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => slices.take(event),
                Some(Err(error)) => {
                    tracing::warn!(source = name, %error, "the API server does not answer well");
                    continue;
                }
                None => return,
            },
            _ = tick.tick() => {}
        }
        if let Some(places) = slices.places()
            && found.send(places).await.is_err()
        {
            return;
        }
    }
}

/// Every slice as it stands.
struct Slices {
    port: Option<String>,
    /// By namespace and name.
    current: BTreeMap<(String, String), BTreeSet<Place>>,
    /// A list that is under way: complete, it takes the place of the current one.
    listed: Option<BTreeMap<(String, String), BTreeSet<Place>>>,
    /// Whether a whole list has come.
    complete: bool,
}

impl Slices {
    fn new(port: Option<String>) -> Self {
        Self {
            port,
            current: BTreeMap::new(),
            listed: None,
            complete: false,
        }
    }

    fn take(&mut self, event: Event<EndpointSlice>) {
        let key = |slice: &EndpointSlice| (slice.namespace().unwrap_or_default(), slice.name_any());
        match event {
            Event::Init => self.listed = Some(BTreeMap::new()),
            Event::InitApply(slice) => {
                let places = places(&slice, self.port.as_deref());
                self.listed
                    .get_or_insert_default()
                    .insert(key(&slice), places);
            }
            Event::InitDone => {
                self.current = self.listed.take().unwrap_or_default();
                self.complete = true;
            }
            Event::Apply(slice) => {
                let places = places(&slice, self.port.as_deref());
                self.current.insert(key(&slice), places);
            }
            Event::Delete(slice) => drop(self.current.remove(&key(&slice))),
        }
    }

    /// Who is there. `None`: nobody knows yet.
    fn places(&self) -> Option<BTreeSet<Place>> {
        let all = || self.current.values().flatten().cloned().collect();
        self.complete.then(all)
    }
}

/// Every endpoint of a slice, ready or not: one that is not ready is to be looked at most of all.
fn places(slice: &EndpointSlice, port: Option<&str>) -> BTreeSet<Place> {
    let ports = slice.ports.iter().flatten();
    let mut named = ports.filter(|known| port.is_none() || known.name.as_deref() == port);
    let number = named.next().and_then(|found| found.port);
    let Some(number) = number.and_then(|number| u16::try_from(number).ok()) else {
        return BTreeSet::new();
    };
    let endpoints = slice.endpoints.iter().flatten();
    let places = endpoints.filter_map(|endpoint| {
        // All addresses of one endpoint are the same pod.
        let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        let pod = endpoint.target_ref.as_ref();
        let pod = pod.and_then(|target| target.name.clone());
        Some(Place {
            address: SocketAddr::new(address, number),
            pod: pod
                .or_else(|| endpoint.hostname.clone())
                .unwrap_or_default(),
        })
    });
    places.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(name: &str, endpoints: &serde_json::Value) -> EndpointSlice {
        serde_json::from_value(serde_json::json!({
            "metadata": { "name": name, "namespace": "chat" },
            "addressType": "IPv4",
            "ports": [{ "name": "http", "port": 8080 }, { "name": "grpc", "port": 50051 }],
            "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn pods(slices: &Slices) -> Vec<String> {
        let places = slices.places().unwrap();
        places.into_iter().map(|place| place.pod).collect()
    }

    #[test]
    fn an_endpoint_that_is_not_ready_is_found_at_the_port_of_that_name() {
        let slice = slice(
            "a",
            &serde_json::json!([{
                "addresses": ["10.0.0.7"],
                "conditions": { "ready": false },
                "targetRef": { "kind": "Pod", "name": "bridge-7" },
            }]),
        );
        let found = places(&slice, Some("grpc"));
        let place = found.first().unwrap();
        assert_eq!(
            (place.address.to_string().as_str(), place.pod.as_str()),
            ("10.0.0.7:50051", "bridge-7")
        );
        assert!(places(&slice, Some("metrics")).is_empty());
    }

    #[test]
    fn nobody_is_gone_before_a_list_is_whole() {
        let endpoint = |pod: &str, ip: &str| serde_json::json!([{ "addresses": [ip], "targetRef": { "name": pod } }]);
        let (a, b) = (
            slice("a", &endpoint("pod-a", "10.0.0.1")),
            slice("b", &endpoint("pod-b", "10.0.0.2")),
        );
        let mut slices = Slices::new(Some("grpc".to_owned()));
        slices.take(Event::Init);
        slices.take(Event::InitApply(a.clone()));
        assert!(slices.places().is_none());
        slices.take(Event::InitApply(b.clone()));
        slices.take(Event::InitDone);
        assert_eq!(pods(&slices), ["pod-a", "pod-b"]);
        // The watch breaks, and is listed anew.
        slices.take(Event::Init);
        assert_eq!(pods(&slices), ["pod-a", "pod-b"]);
        slices.take(Event::InitApply(b.clone()));
        slices.take(Event::InitDone);
        assert_eq!(pods(&slices), ["pod-b"]);
        slices.take(Event::Apply(a));
        slices.take(Event::Delete(b));
        assert_eq!(pods(&slices), ["pod-a"]);
    }
}
