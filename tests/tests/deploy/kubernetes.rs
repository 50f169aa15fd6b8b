//! Manifests and chart before a real API server, and discovery that follows what is written there.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use monitorable::monitor::v1::Verdict;
use monitorable_tests::calls::{Auditor, Target};
use monitorable_tests::cluster::{Cluster, Programs};
use monitorable_tests::command;
use monitorable_tests::eventually::{eventually, holds};
use monitorable_tests::paths::{installed, tool};
use monitorable_tests::process::Service;
use monitorable_tests::skip::skip_optional;
use serde_json::{Value, json};

use crate::{deployed, text};

const SOON: Duration = Duration::from_secs(30);
const TOKEN: &str = "the-token-of-the-monitor";
const OVERLAYS: [&str; 3] = ["central", "sidecar", "scaled"];
/// Values of the chart that together use every part of it.
const VALUES: [&str; 4] = [
    "serviceMonitor.enabled=true,networkPolicy.egress[0].ports[0].port=4317",
    SIDECARS,
    "bridge.autoscaling.enabled=true,bridge.settings.BRIDGE_HUB_CONNECTIONS=100000,\
     bridge.settings.BRIDGE_LOG_FORMAT=text",
    "networkPolicy.enabled=false,monitor.enabled=false,bridge.nodeSelector.disk=ssd",
];

/// An agent with everything of its own.
const SIDECARS: &str = "bridge.enabled=false,agent.enabled=true,agent.monitorBeside=true,\
    agent.env[0].name=TOKEN,agent.env[0].value=x,agent.ports[0].name=web,\
    agent.ports[0].containerPort=3000,agent.volumes[0].name=tmp,\
    agent.volumes[0].emptyDir.medium=Memory,agent.volumeMounts[0].name=tmp,\
    agent.volumeMounts[0].mountPath=/tmp,serviceMonitor.enabled=true,\
    serviceMonitor.labels.release=prometheus";

/// Set by `cargo xtask kubernetes`, which builds the monitor with the feature that this takes.
const ASKED_FOR: &str = "MONITORABLE_KUBERNETES";

/// Everything that these tests need, or a loud skip: it takes long to build.
fn programs(test: &str) -> Option<Programs> {
    if std::env::var_os(ASKED_FOR).is_none() {
        skip_optional(
            test,
            "`cargo xtask kubernetes` builds what it needs and runs it",
        );
        return None;
    }
    let found = (
        tool("bin/kube-apiserver"),
        installed("etcd"),
        installed("kubectl"),
    );
    if let (Some(server), Some(etcd), Some(kubectl)) = found {
        return Some(Programs {
            etcd,
            server,
            kubectl,
        });
    }
    let why = "kube-apiserver, kubectl or etcd is not there (Debian: apt-get install etcd-server)";
    skip_optional(test, why);
    None
}

/// A tool that `cargo xtask kubernetes` installs.
fn helper(name: &str) -> PathBuf {
    tool(&format!("bin/{name}")).unwrap_or_else(|| panic!("{name} is installed with the server"))
}

/// The cluster with the namespace and the definitions of others that manifests use.
async fn cluster(programs: &Programs) -> Cluster {
    let cluster = Cluster::start(programs).await;
    // Its labels have the server warn of pods that would not be let in.
    let namespace = text("kubernetes/overlays/central/namespace.yaml");
    cluster.apply(&namespace).await;
    let definition = tool("kubernetes/servicemonitors.yaml").expect("installed with the server");
    cluster
        .apply(&std::fs::read_to_string(definition).unwrap())
        .await;
    let established = ["wait", "--for=condition=Established", "crd", "--all"];
    cluster.kubectl(&established, "").await;
    cluster
}

/// Every variant as it goes to the server, by name.
async fn rendered(cluster: &Cluster) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for overlay in OVERLAYS {
        let path = deployed(&format!("kubernetes/overlays/{overlay}"));
        let built = command::program(&helper("kubectl"), &["kustomize", &shown(&path)]).await;
        all.push((overlay.to_owned(), built.expect(0)));
    }
    let chart = shown(&deployed("helm/monitorable"));
    let version = cluster.get("/version").await;
    let part = |name: &str| version[name].as_str().unwrap().to_owned();
    let version = format!("{}.{}.0", part("major"), part("minor"));
    let common = format!("--kube-version {version} --namespace monitorable");
    let common: Vec<&str> = common.split(' ').collect();
    let lint = [&["lint", "--strict", &chart][..], &common].concat();
    command::program(&helper("helm"), &lint).await.expect(0);
    for values in VALUES {
        let template = ["template", "chat", &chart, "--set", values];
        let arguments = [&template[..], &common].concat();
        let made = command::program(&helper("helm"), &arguments).await;
        all.push((values.to_owned(), made.expect(0)));
    }
    all
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test]
async fn the_api_server_accepts_every_overlay_and_the_chart() {
    let test = "the_api_server_accepts_every_overlay_and_the_chart";
    let Some(programs) = programs(test) else {
        return;
    };
    let cluster = cluster(&programs).await;
    let schemas = tempfile::tempdir().unwrap();
    write_schemas(&cluster, schemas.path()).await;
    let rendered = rendered(&cluster).await;
    for (name, manifests) in &rendered {
        let file = schemas.path().join("manifests.yaml");
        std::fs::write(&file, manifests).unwrap();
        conforms(&file, schemas.path()).await.expect(0);
        let answer = cluster.accepts(manifests).await;
        assert_eq!(answer.code, Some(0), "{name}: {answer}");
        assert_eq!(answer.stderr, "", "{name}");
    }
    // Not only by a dry run.
    let (_, central) = &rendered[0];
    cluster.apply(central).await;
    let deployments = cluster
        .get("/apis/apps/v1/namespaces/monitorable/deployments")
        .await;
    let names = deployments["items"].as_array().unwrap().iter();
    let names: Vec<_> = names
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["bridge-service", "monitor-service"]);
    let of_sidecars = rendered.iter().find(|(name, _)| name == SIDECARS);
    cluster.apply(&of_sidecars.unwrap().1).await;
    assert_eq!(scraped(&cluster).await, 4);
    // Each of them can say no.
    let rooted = central.replace("runAsNonRoot: true", "runAsNonRoot: false");
    let answer = cluster.accepts(&rooted).await;
    assert!(
        answer.stderr.contains("would violate PodSecurity"),
        "{answer}"
    );
    let misspelt = central.replace("readOnlyRootFilesystem", "readOnlyRootFileSystem");
    let answer = cluster.accepts(&misspelt).await;
    assert!(answer.both().contains("readOnlyRootFileSystem"), "{answer}");
    let file = schemas.path().join("misspelt.yaml");
    std::fs::write(&file, &misspelt).unwrap();
    conforms(&file, schemas.path()).await.expect(1);
}

/// How many ServiceMonitors there are; each selects a service with the port that it scrapes.
async fn scraped(cluster: &Cluster) -> usize {
    let monitors = "/apis/monitoring.coreos.com/v1/namespaces/monitorable/servicemonitors";
    let monitors = cluster.get(monitors).await;
    let monitors = monitors["items"].as_array().unwrap();
    for monitor in monitors {
        let labels = monitor["spec"]["selector"]["matchLabels"].as_object();
        let labels = labels.unwrap().iter();
        let labels: Vec<String> = labels
            .map(|(key, value)| format!("{key}%3D{}", value.as_str().unwrap()))
            .collect();
        let selector = labels.join("%2C").replace('/', "%2F");
        let services = format!("/api/v1/namespaces/monitorable/services?labelSelector={selector}");
        let services = cluster.get(&services).await;
        let services = services["items"].as_array().unwrap().iter();
        let mut ports = services.flat_map(|service| service["spec"]["ports"].as_array().unwrap());
        assert!(ports.any(|port| port["name"] == "http"), "{monitor}");
    }
    monitors.len()
}

async fn conforms(file: &Path, schemas: &Path) -> command::Ended {
    let location = format!(
        "{}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json",
        shown(schemas)
    );
    let arguments = [
        "-strict",
        // Its schema is the Prometheus operator's, which is not in this cluster.
        "-skip",
        "ServiceMonitor",
        "-summary",
        "-schema-location",
        &location,
        &shown(file),
    ];
    command::program(&helper("kubeconform"), &arguments).await
}

/// The server's own schemas as kubeconform reads them: a file a kind, strict.
async fn write_schemas(cluster: &Cluster, folder: &Path) {
    let index = cluster.get("/openapi/v3").await;
    for (path, group) in index["paths"].as_object().unwrap() {
        if !path.starts_with("api") {
            continue;
        }
        let mut document = cluster
            .get(group["serverRelativeURL"].as_str().unwrap())
            .await;
        let mut components = document["components"].take();
        close(&mut components);
        let schemas = components["schemas"].as_object().unwrap();
        for (name, schema) in schemas {
            let Some(kinds) = schema["x-kubernetes-group-version-kind"].as_array() else {
                continue;
            };
            for kind in kinds {
                let part = |key: &str| kind[key].as_str().unwrap_or_default().to_lowercase();
                let group = part("group");
                let group = group.split('.').next().unwrap();
                let names = [&part("kind"), group, &part("version")];
                let names = names.into_iter().filter(|name| !name.is_empty());
                let file = names.collect::<Vec<_>>().join("-");
                let file = folder.join(format!("{file}.json"));
                let schema = json!({
                    "$ref": format!("#/components/schemas/{name}"),
                    "components": components,
                });
                std::fs::write(file, schema.to_string()).unwrap();
            }
        }
    }
}

/// What has fields has no others. Where one schema builds on another that cannot be said.
fn close(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("properties").is_some_and(Value::is_object)
                && map.get("type") == Some(&json!("object"))
            {
                map.entry("additionalProperties").or_insert(json!(false));
            }
            map.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// An address of this machine that is not loopback, which EndpointSlices may not have. Nothing is
/// sent to find it, and what is sent to it never leaves the machine.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").unwrap();
    socket.local_addr().unwrap().ip()
}

/// A slice with these pods behind one port.
fn slice(name: &str, port: u16, pods: &[&str]) -> String {
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|pod| {
            json!({
                "addresses": [own_address()],
                "conditions": { "ready": false },
                "targetRef": { "kind": "Pod", "name": pod, "namespace": "monitorable" },
            })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "monitorable",
            "labels": { "monitorable": "audited" },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "grpc", "port": port }],
        "endpoints": endpoints,
    })
    .to_string()
}

async fn until_watched(auditor: &Auditor, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|id| (*id).to_owned()).collect();
    eventually(SOON, "they are watched", || async {
        let listed = auditor.components().await;
        let ids = listed.iter().filter_map(|status| status.component.as_ref());
        let ids: BTreeSet<String> = ids.map(|known| known.component_id.clone()).collect();
        holds(ids == expected, format!("{ids:?}, not {expected:?}"))
    })
    .await;
}

#[tokio::test]
async fn components_come_and_go_with_the_endpoint_slices() {
    let test = "components_come_and_go_with_the_endpoint_slices";
    let Some(programs) = programs(test) else {
        return;
    };
    let cluster = cluster(&programs).await;
    // The monitor has the rights that its manifests give it, and no others.
    let access = text("kubernetes/monitor/access.yaml");
    let arguments = ["apply", "-n", "monitorable", "-f", "-"];
    cluster.kubectl(&arguments, &access).await;
    let token = cluster
        .kubectl(
            &["create", "token", "monitor-service", "-n", "monitorable"],
            "",
        )
        .await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, cluster.kubeconfig(token.trim())).unwrap();
    let config = folder.path().join("monitor.toml");
    let settings = text("kubernetes/monitor/monitor.toml");
    let settings = settings.replace("/etc/monitor-secret", &shown(folder.path()));
    std::fs::write(folder.path().join("token"), TOKEN).unwrap();
    let settings = format!(
        "{settings}kubeconfig = '{}'\nkeep = '1s'\n",
        shown(&kubeconfig)
    );
    std::fs::write(&config, settings).unwrap();

    let (one, two) = (bridge("bridge-1").await, bridge("bridge-2").await);
    cluster
        .apply(&slice("first", one.grpc.port(), &["bridge-1"]))
        .await;
    let monitor = Service::monitor(&["--config", &shown(&config)]).await;
    let auditor = Auditor::at(&monitor.uri());
    until_watched(&auditor, &["bridge-1"]).await;
    auditor
        .until_standing("bridge-1", Verdict::Healthy, SOON)
        .await;

    // Another one comes, and nobody restarts anything.
    cluster
        .apply(&slice("second", two.grpc.port(), &["bridge-2"]))
        .await;
    until_watched(&auditor, &["bridge-1", "bridge-2"]).await;
    auditor
        .until_standing("bridge-2", Verdict::Healthy, SOON)
        .await;

    // The first one's pod moves to another address, then both go, each in its own way.
    let moved = bridge("bridge-1").await;
    cluster
        .apply(&slice("first", moved.grpc.port(), &["bridge-1"]))
        .await;
    drop(one);
    auditor
        .until_standing("bridge-1", Verdict::Healthy, SOON)
        .await;
    cluster.apply(&slice("first", moved.grpc.port(), &[])).await;
    until_watched(&auditor, &["bridge-2"]).await;
    let delete = ["delete", "endpointslice", "second", "-n", "monitorable"];
    cluster.kubectl(&delete, "").await;
    until_watched(&auditor, &[]).await;
}

/// A bridge of that id where slices may point to.
async fn bridge(id: &str) -> Service {
    let listen = format!("{}:0", own_address());
    // It is reached at an address that is not the loopback's, and only from here.
    let flags = ["--component-id", id, "--auth-tokens", TOKEN, "--insecure"];
    let listen = ["--grpc-listen", &listen, "--http-listen", &listen];
    let flags = [&flags[..], &listen].concat();
    let bridge = Service::bridge(&flags).await;
    Target::at(&bridge.uri()).until_healthy(SOON).await;
    bridge
}
