//! blackbox_exporter probing the same components: one health check on a new connection for each
//! probe, asked for over HTTP as Prometheus does.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Rate;
use super::crowd::Crowd;
use crate::failure::Failure;
use crate::machine::{SERVER_CORE, said};
use crate::process::{Server, free_address};

pub(crate) const NAME: &str = "blackbox_exporter";
/// What the program is called by its authors and by Debian.
const PROGRAMS: [&str; 2] = [NAME, "prometheus-blackbox-exporter"];
const MODULE: &str = "modules:\n  grpc:\n    prober: grpc\n    timeout: 5s\n    grpc:\n      preferred_ip_protocol: ip4\n";
/// Probes under way at once: enough that it never waits for work.
const UNDER_WAY: usize = 16;
/// Unmeasured at the beginning.
const WARM_UP: Duration = Duration::from_secs(1);

/// The installed program.
#[derive(Clone, Debug)]
pub(crate) struct Prober {
    program: &'static str,
    pub(crate) version: String,
}

impl Prober {
    /// Looks for it.
    ///
    /// # Errors
    /// Where it is not installed: how it is.
    pub(crate) fn find() -> Result<Self, Failure> {
        let versions = PROGRAMS.map(|program| (program, said(program, &["--version"])));
        let mut installed = versions.into_iter();
        let found = installed.find(|(_, version)| version.starts_with(NAME));
        let (program, version) = found.ok_or_else(|| {
            let package = PROGRAMS[1];
            Failure::new(format!(
                "{NAME} is not installed; apt-get install {package}"
            ))
        })?;
        Ok(Self { program, version })
    }

    /// Counts as many probes as it makes in a while.
    ///
    /// # Errors
    /// Where it does not start, or a probe fails.
    pub(crate) async fn measure(&self, crowd: &Crowd, length: Duration) -> Result<Rate, Failure> {
        let mut module = tempfile::NamedTempFile::new()?;
        module.write_all(MODULE.as_bytes())?;
        let address = free_address()?;
        let mut command = Command::new(self.program);
        command
            .arg(format!("--config.file={}", module.path().display()))
            .arg(format!("--web.listen-address={address}"))
            .stderr(Stdio::null());
        let server = Server::silent(&mut command, SERVER_CORE, address)?;
        let made = Arc::new(AtomicU64::new(0));
        let mut workers = JoinSet::new();
        for worker in 0..UNDER_WAY {
            let targets = (worker..crowd.size).step_by(UNDER_WAY);
            let targets = targets.map(|index| crowd.address(index)).collect();
            workers.spawn(probe_for_ever(address, targets, made.clone()));
        }
        let measuring = async {
            tokio::time::sleep(WARM_UP).await;
            let count = async || Ok(made.load(Ordering::Relaxed) as f64);
            Rate::measure(&server, crowd, length, count).await
        };
        tokio::select! {
            rate = measuring => rate,
            Some(ended) = workers.join_next() => match ended {
                Ok(Err(failure)) => Err(failure.during(NAME)),
                ended => Err(Failure::new(format!("a worker ended: {ended:?}"))),
            },
        }
    }
}

async fn probe_for_ever(
    address: SocketAddr,
    targets: Vec<SocketAddr>,
    made: Arc<AtomicU64>,
) -> Result<(), Failure> {
    let stream = TcpStream::connect(address).await?;
    let connected = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.map_err(failure)?;
    tokio::spawn(connection);
    for target in targets.iter().cycle() {
        probe(&mut sender, address, *target).await?;
        made.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn probe(
    sender: &mut SendRequest<Empty<Bytes>>,
    address: SocketAddr,
    target: SocketAddr,
) -> Result<(), Failure> {
    let request = Request::get(format!("/probe?module=grpc&target={target}"))
        .header("host", address.to_string())
        .body(Empty::new())
        .map_err(failure)?;
    let answer = sender.send_request(request).await.map_err(failure)?;
    let page = answer.into_body().collect().await.map_err(failure)?;
    let page = page.to_bytes();
    let page = String::from_utf8_lossy(&page);
    if page.lines().any(|line| line == "probe_success 1") {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the probe of {target} failed: {page}"
    )))
}

fn failure(error: impl std::error::Error) -> Failure {
    Failure::new(error.to_string())
}
