//! blackbox_exporter probing the same components: one health check on a new connection for each
//! probe, asked for over HTTP as Prometheus does.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::crowd;
use super::machine::{on_core, seconds_used};
use super::subject::{Crowd, MEASURED_CORE};

/// Names of the program: as its authors and as Debian call it.
const NAMES: [&str; 2] = ["blackbox_exporter", "prometheus-blackbox-exporter"];
const MODULE: &str = "modules:\n  grpc:\n    prober: grpc\n    timeout: 5s\n    grpc:\n      preferred_ip_protocol: ip4\n";
/// Probes under way at once: enough that it never waits for work.
const UNDER_WAY: usize = 16;

/// Probes in a stretch of time.
pub(crate) struct Probed {
    pub(crate) version: String,
    pub(crate) probes_per_second: f64,
    pub(crate) micros_per_probe: f64,
}

/// The program. `None`: it is not installed.
pub(crate) fn program() -> Option<&'static str> {
    NAMES.into_iter().find(|name| version(name).is_some())
}

fn version(program: &str) -> Option<String> {
    let asked = std::process::Command::new(program)
        .arg("--version")
        .output()
        .ok()?;
    // Old versions tell it on standard error.
    let text = [asked.stdout, asked.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Some(text.split_whitespace().nth(2)?.to_owned())
}

/// Measures as many probes as it makes in a while.
pub(crate) async fn measure(program: &str, crowd: &Crowd, length: Duration) -> Probed {
    let mut module = tempfile::NamedTempFile::new().unwrap();
    module.write_all(MODULE.as_bytes()).unwrap();
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", module.path().display()))
        .arg("--web.listen-address=127.0.0.1:0")
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = on_core(MEASURED_CORE, async { command.spawn().unwrap() }).await;
    let address = address(&mut child).await;
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..UNDER_WAY {
        workers.spawn(probe_for_ever(
            address,
            next.clone(),
            crowd.size,
            crowd.port,
        ));
    }
    let pid = child.id().unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = (
        Instant::now(),
        next.load(Ordering::Relaxed),
        seconds_used(pid),
    );
    tokio::select! {
        () = tokio::time::sleep(length) => {}
        Some(ended) = workers.join_next() => panic!("the probes ended: {ended:?}"),
    }
    let probes = (next.load(Ordering::Relaxed) - began.1) as f64;
    Probed {
        version: version(program).unwrap_or_default(),
        probes_per_second: probes / began.0.elapsed().as_secs_f64(),
        micros_per_probe: (seconds_used(pid) - began.2) * 1e6 / probes,
    }
}

/// Where it listens, as it says.
async fn address(child: &mut tokio::process::Child) -> SocketAddr {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut address = None;
    while address.is_none() {
        let line = lines
            .next_line()
            .await
            .unwrap()
            .expect("it says where it listens");
        let said = line
            .split_once("address=")
            .filter(|_| line.contains("istening"));
        address = said.and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
    }
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    address.unwrap()
}

async fn probe_for_ever(address: SocketAddr, next: Arc<AtomicUsize>, size: usize, port: u16) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    loop {
        let target = crowd::address(next.fetch_add(1, Ordering::Relaxed) % size, port);
        let request = Request::get(format!("/probe?module=grpc&target={target}"))
            .header("host", address.to_string())
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let page = String::from_utf8_lossy(&body);
        assert!(
            page.contains("\nprobe_success 1"),
            "the probe of {target} failed: {page}"
        );
    }
}
