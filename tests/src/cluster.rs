//! A real Kubernetes API server with its etcd; no kubelet, so nothing runs in it.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::command::{self, Ended};
use crate::eventually::{eventually, holds};

/// How long the server may take to start; generous, as the machine is shared.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// The token of the cluster's administrator.
const ADMIN: &str = "administrator-of-a-test";

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `etcd`.
    pub etcd: PathBuf,
    /// `kube-apiserver`.
    pub server: PathBuf,
    /// `kubectl`.
    pub kubectl: PathBuf,
}

/// The running server; gone when dropped.
#[derive(Debug)]
pub struct Cluster {
    kubectl: PathBuf,
    address: SocketAddr,
    folder: TempDir,
    _processes: [Child; 2],
}

impl Cluster {
    /// Starts both on free ports, and waits until the server is ready.
    pub async fn start(programs: &Programs) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [client, peer, secure] = free_addresses();
        let etcd = start_etcd(&programs.etcd, folder.path(), client, peer);
        let server = start_server(&programs.server, folder.path(), client, secure).await;
        let cluster = Self {
            kubectl: programs.kubectl.clone(),
            address: secure,
            folder,
            _processes: [etcd, server],
        };
        std::fs::write(cluster.path("kubeconfig"), cluster.kubeconfig(ADMIN)).unwrap();
        eventually(START_DEADLINE, "the API server is ready", || async {
            let ready = cluster.try_kubectl(&["get", "--raw", "/readyz"], "").await;
            holds(ready.code == Some(0), ready.both() + &cluster.log())
        })
        .await;
        cluster
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.path("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// A configuration with which whoever has this token reaches the server.
    #[must_use]
    pub fn kubeconfig(&self, token: &str) -> String {
        let (address, authority) = (self.address, self.path("apiserver.crt"));
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{ name: test, cluster: {{ server: 'https://{address}', certificate-authority: '{}' }} }}]\n\
             users: [{{ name: test, user: {{ token: '{token}' }} }}]\n\
             contexts: [{{ name: test, context: {{ cluster: test, user: test, namespace: monitorable }} }}]\n",
            authority.display()
        )
    }

    /// What kubectl prints, given this on its input; it must end well.
    pub async fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        self.try_kubectl(arguments, input).await.expect(0)
    }

    /// The same, however it ends.
    pub async fn try_kubectl(&self, arguments: &[&str], input: &str) -> Ended {
        let mut child = Command::new(&self.kubectl)
            .arg("--kubeconfig")
            .arg(self.path("kubeconfig"))
            .args(["--cache-dir".as_ref(), self.path("cache").as_os_str()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // A kubectl that takes no input has closed it.
        let _ = pipe.write_all(input.as_bytes()).await;
        drop(pipe);
        command::ended(&child.wait_with_output().await.unwrap())
    }

    /// Applies manifests; the server checks every field.
    pub async fn apply(&self, manifests: &str) {
        let arguments = ["apply", "--server-side", "--validate=strict", "-f", "-"];
        self.kubectl(&arguments, manifests).await;
    }

    /// Has the server go through everything but the writing.
    pub async fn accepts(&self, manifests: &str) -> Ended {
        let arguments = ["apply", "--server-side", "--validate=strict"];
        let dry = ["--dry-run=server", "-f", "-"];
        self.try_kubectl(&[&arguments[..], &dry].concat(), manifests)
            .await
    }

    /// An answer of the server's as JSON.
    pub async fn get(&self, path: &str) -> Value {
        let text = self.kubectl(&["get", "--raw", path], "").await;
        serde_json::from_str(&text).unwrap()
    }
}

/// Ports that were free a moment ago: neither program can be told to take one and say which.
fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

fn start_etcd(path: &Path, folder: &Path, client: SocketAddr, peer: SocketAddr) -> Child {
    let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
    let log = std::fs::File::create(folder.join("etcd.log")).unwrap();
    Command::new(path)
        .arg(format!("--data-dir={}", folder.join("etcd").display()))
        .arg(format!("--listen-client-urls={client}"))
        .arg(format!("--advertise-client-urls={client}"))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=default={peer}"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn start_server(path: &Path, folder: &Path, etcd: SocketAddr, secure: SocketAddr) -> Child {
    let (key, tokens) = (folder.join("accounts.key"), folder.join("tokens.csv"));
    let key = key.display().to_string();
    let made = ["genrsa", "-out", &key, "2048"];
    command::program(Path::new("openssl"), &made)
        .await
        .expect(0);
    std::fs::write(&tokens, format!("{ADMIN},admin,admin,system:masters\n")).unwrap();
    let log = std::fs::File::create(folder.join("server.log")).unwrap();
    Command::new(path)
        .arg(format!("--etcd-servers=http://{etcd}"))
        .arg("--bind-address=127.0.0.1")
        .arg(format!("--secure-port={}", secure.port()))
        .arg(format!("--cert-dir={}", folder.display()))
        .arg(format!("--token-auth-file={}", tokens.display()))
        .arg("--authorization-mode=RBAC")
        .arg("--service-cluster-ip-range=10.0.0.0/24")
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(format!("--service-account-key-file={key}"))
        .arg(format!("--service-account-signing-key-file={key}"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
