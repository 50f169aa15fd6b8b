//! The whole way of an alarm: a live silent failure, the monitor, Prometheus, Alertmanager, and
//! somebody who hears it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use monitorable::monitor::v1::{Vantage, Verdict};
use monitorable_tests::calls::{Auditor, Target};
use monitorable_tests::eventually::{eventually, holds, time_until};
use monitorable_tests::http::get;
use monitorable_tests::process::Service;
use monitorable_tests::proxy::{Fault, Proxy};
use monitorable_tests::publisher::{Publisher, Run};
use monitorable_tests::reader::{Options, Reader};
use monitorable_tests::receiver::Receiver;
use monitorable_tests::witness::Witness;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::{deployed, program};

const BRIDGE: &str = "bridge-service";
const SOON: Duration = Duration::from_secs(30);
/// From the break to the page: the monitor's 7 s, a scrape, an evaluation, Alertmanager's group.
const PAGED_WITHIN: Duration = Duration::from_secs(30);

/// A program that serves HTTP; killed when dropped.
struct Daemon {
    address: SocketAddr,
    _child: Child,
}

impl Daemon {
    /// Starts it on a free port that `listen` names, and waits until it says that it is ready.
    async fn start(path: &Path, arguments: &[String], listen: &str) -> Self {
        let address = free_address().await;
        let child = Command::new(path)
            .args(arguments)
            .arg(format!("{listen}={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        eventually(SOON, "it is ready", || async {
            let connected = tokio::net::TcpStream::connect(address).await;
            connected.map_err(|error| error.to_string())?;
            let answer = get(address, "/-/ready").await;
            holds(answer.status == 200, answer.body)
        })
        .await;
        Self {
            address,
            _child: child,
        }
    }
}

/// Neither program can be told to take a free port and say which.
async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

async fn alertmanager(path: &Path, folder: &Path, receiver: &Receiver) -> Daemon {
    let config = format!(
        "route: {{ receiver: test, group_wait: 0s, group_interval: 1s }}\n\
         receivers:\n  - name: test\n    webhook_configs: [{{ url: 'http://{}/' }}]\n",
        receiver.address
    );
    let file = folder.join("alertmanager.yml");
    std::fs::write(&file, config).unwrap();
    let arguments = [
        format!("--config.file={}", file.display()),
        format!("--storage.path={}", folder.join("alertmanager").display()),
        "--cluster.listen-address=".to_owned(),
    ];
    Daemon::start(path, &arguments, "--web.listen-address").await
}

async fn prometheus(
    path: &Path,
    folder: &Path,
    alertmanager: SocketAddr,
    (bridge, monitor): (SocketAddr, SocketAddr),
) -> Daemon {
    let rules = deployed("prometheus/*.rules.yml");
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
         rule_files: ['{}']\n\
         alerting: {{ alertmanagers: [{{ static_configs: [{{ targets: ['{alertmanager}'] }}] }}] }}\n\
         scrape_configs:\n\
         - job_name: bridge-service\n  static_configs: [{{ targets: ['{bridge}'] }}]\n\
         - job_name: monitor-service\n  static_configs: [{{ targets: ['{monitor}'] }}]\n",
        rules.display()
    );
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let arguments = [
        format!("--config.file={}", file.display()),
        format!(
            "--storage.tsdb.path={}",
            folder.join("prometheus").display()
        ),
    ];
    Daemon::start(path, &arguments, "--web.listen-address").await
}

/// Publishes a small run each 200 ms until dropped.
async fn talk(publisher: Publisher) {
    let mut beat = tokio::time::interval(Duration::from_millis(200));
    for number in 0_u64.. {
        beat.tick().await;
        let run = Run::whole("chat", &format!("chat-{number}"), 1);
        publisher.publish(&run).await;
    }
}

#[tokio::test]
async fn a_silent_failure_rings_the_pager_and_its_end_clears_it() {
    let test = "a_silent_failure_rings_the_pager_and_its_end_clears_it";
    let programs = (
        program(test, "prometheus", "prometheus"),
        program(test, "prometheus-alertmanager", "prometheus-alertmanager"),
    );
    let (Some(prometheus_path), Some(alertmanager_path)) = programs else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (bridge, monitor) = tokio::join!(Service::bridge(&[]), Service::monitor(&[]));
    Target::at(&bridge.uri()).until_healthy(SOON).await;
    let auditor = Auditor::at(&monitor.uri());
    auditor.register(BRIDGE, &bridge.uri()).await;
    let receiver = Receiver::start().await;
    let alertmanager = alertmanager(&alertmanager_path, folder.path(), &receiver).await;
    let services = (bridge.http, monitor.http);
    let _prometheus = prometheus(
        &prometheus_path,
        folder.path(),
        alertmanager.address,
        services,
    )
    .await;

    // A chat that works, seen from both sides.
    let network = Proxy::start(bridge.http).await;
    let witness = |name, vantage| Witness::start(&monitor.uri(), name, BRIDGE, vantage);
    let producers = witness("producer-1", Vantage::Producer);
    let consumers = witness("consumer-1", Vantage::Consumer);
    let options = Options::thread("chat").witnessed_by(consumers.pen());
    let mut reader = Reader::connect(network.address, options).await;
    reader.welcome().await;
    let publisher = Publisher::new(&bridge.uri()).witnessed_by(producers.pen());
    let talk = tokio::spawn(talk(publisher));
    auditor.until_standing(BRIDGE, Verdict::Healthy, SOON).await;
    eventually(SOON, "the consumer is heard", || async {
        let thread = auditor.thread("chat").await;
        let thread = thread.map_err(|status| status.to_string())?;
        holds(thread.consumed > 0, thread)
    })
    .await;

    // The network swallows the deliveries behind the bridge's back.
    network.set(Fault::Stall);
    let (page, after) = time_until(PAGED_WITHIN, "the pager rings", || async {
        told(&receiver, "firing").ok_or_else(|| format!("{:?}", receiver.received()))
    })
    .await;
    println!(
        "paged {after:?} after the break: {}",
        page["annotations"]["summary"]
    );
    assert_eq!(page["labels"]["severity"], "critical");
    assert_eq!(page["labels"]["component"], BRIDGE);
    let claims = Target::at(&bridge.uri()).health().await.unwrap();
    assert!(claims.healthy, "the bridge itself sees nothing: {claims:?}");

    network.set(Fault::Pass);
    eventually(
        Duration::from_secs(60),
        "the pager is told of the end",
        || async {
            told(&receiver, "resolved").ok_or_else(|| format!("{:?}", receiver.received()))
        },
    )
    .await;
    talk.abort();
}

/// The alert of a silent failure, where the receiver was told of it in this state.
fn told(receiver: &Receiver, status: &str) -> Option<serde_json::Value> {
    let received = receiver.received();
    let alerts = received.iter().filter_map(|page| page["alerts"].as_array());
    let mut alerts = alerts.flatten();
    let found = alerts
        .find(|alert| alert["labels"]["alertname"] == "SilentFailure" && alert["status"] == status);
    found.cloned()
}
