//! The services as real processes on free ports.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

/// How long a service may take to say that it listens; generous, as the machine is shared.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long a service may take to drain.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// How long a service may take to answer a line on its input.
const TELL_DEADLINE: Duration = Duration::from_secs(5);
/// Log lines shown where a test fails.
const SHOWN_LINES: usize = 80;

/// One running service; killed when dropped.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    child: Child,
    pid: Pid,
    /// Where gRPC is served.
    pub grpc: SocketAddr,
    /// Where HTTP is served.
    pub http: SocketAddr,
    log: Log,
    input: ChildStdin,
    printed: mpsc::UnboundedReceiver<String>,
}

impl Service {
    /// A service of this name, from this file, with these flags added; on free ports of loopback
    /// where they name none.
    pub async fn start(name: &'static str, binary: &Path, flags: &[&str]) -> Self {
        Self::start_in(&[], name, binary, flags).await
    }

    /// The same with these variables in its environment.
    pub async fn start_in(
        variables: &[(&str, &str)],
        name: &'static str,
        binary: &Path,
        flags: &[&str],
    ) -> Self {
        let free = ["--grpc-listen", "--http-listen"].map(|flag| [flag, "127.0.0.1:0"]);
        let free = free.iter().filter(|[flag, _]| !flags.contains(flag));
        let mut child = command(binary)
            .envs(variables.iter().copied())
            .arg("serve")
            .args(free.flatten())
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let log = Log::default();
        log.collect(child.stderr.take().expect("stderr is piped"), None);
        let (lines, mut printed) = mpsc::unbounded_channel();
        let input = child.stdin.take().expect("stdin is piped");
        log.collect(child.stdout.take().expect("stdout is piped"), Some(lines));
        let addresses = tokio::time::timeout(START_DEADLINE, addresses(&mut printed)).await;
        let Ok(Some((grpc, http))) = addresses else {
            panic!("{name} {flags:?} did not say where it listens:\n{log}");
        };
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.unwrap_or_else(|| panic!("{name} ended at once:\n{log}"));
        Self {
            name,
            child,
            pid,
            grpc,
            http,
            log,
            input,
            printed,
        }
    }

    /// Writes a line to the process's input, and waits until it prints one that begins with this.
    /// The lines between are skipped.
    pub async fn tell(&mut self, line: &str, answer: &str) {
        let told = async {
            let line = format!("{line}\n");
            self.input.write_all(line.as_bytes()).await.ok()?;
            loop {
                let printed = self.printed.recv().await?;
                if printed.starts_with(answer) {
                    return Some(());
                }
            }
        };
        let told = tokio::time::timeout(TELL_DEADLINE, told).await;
        assert_eq!(
            told,
            Ok(Some(())),
            "{} did not answer {line:?} with {answer:?}:\n{}",
            self.name,
            self.log
        );
    }

    /// Where gRPC is served, as a URI.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// A channel to its gRPC port, connected at the first call.
    #[must_use]
    pub fn channel(&self) -> Channel {
        channel(&self.uri())
    }

    /// SIGTERM: a drain begins.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGHUP: the settings are read again.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGSTOP: the process stands still, its ports still accept.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM, and how the process ended.
    pub async fn stop(mut self) -> ExitStatus {
        self.terminate();
        self.ended().await
    }

    /// SIGKILL: nothing is said, nothing is saved.
    pub async fn kill(mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Waits until the process has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        match tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await {
            Ok(status) => status.expect("a child can be waited for"),
            Err(_) => panic!("{} did not end within {STOP_DEADLINE:?}", self.name),
        }
    }

    /// The lines that it printed on both outputs so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Its resident memory, in KiB.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("{} has no resident memory: {status}", self.name))
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal)
            .unwrap_or_else(|error| panic!("{} cannot be signalled: {error}", self.name));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} {} said:\n{}---", self.name, self.grpc, self.log);
        }
    }
}

/// A channel to a URI, connected at the first call; no call waits for ever.
#[must_use]
pub fn channel(uri: &str) -> Channel {
    Endpoint::from_shared(uri.to_owned())
        .unwrap_or_else(|error| panic!("{uri:?} is not a URI: {error}"))
        .connect_timeout(Duration::from_secs(5))
        .connect_lazy()
}

/// A service's binary as a command, free of settings from this process's own environment.
#[must_use]
pub fn command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        if ["BRIDGE_", "MONITOR_", "OTEL_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&variable);
        }
    }
    command
}

async fn addresses(
    printed: &mut mpsc::UnboundedReceiver<String>,
) -> Option<(SocketAddr, SocketAddr)> {
    let (mut grpc, mut http) = (None, None);
    loop {
        if let (Some(grpc), Some(http)) = (grpc, http) {
            return Some((grpc, http));
        }
        let line = printed.recv().await?;
        if let Some(address) = line.strip_prefix("grpc listening on ") {
            grpc = address.trim().parse().ok();
        } else if let Some(address) = line.strip_prefix("http listening on ") {
            http = address.trim().parse().ok();
        }
    }
}

/// What a process printed.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn collect(
        &self,
        from: impl AsyncRead + Send + Unpin + 'static,
        also: Option<mpsc::UnboundedSender<String>>,
    ) {
        let log = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(from).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(also) = &also {
                    let _ = also.send(line.clone());
                }
                log.0.lock().expect("no panic while held").push(line);
            }
        });
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no panic while held").clone()
    }
}

impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines = self.lines();
        let from = lines.len().saturating_sub(SHOWN_LINES);
        for line in &lines[from..] {
            writeln!(f, "    {line}")?;
        }
        Ok(())
    }
}
