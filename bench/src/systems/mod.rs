//! The servers: the bridge, and the best of its kind beside it.

pub(crate) mod bridge;
mod nats;
mod nchan;
mod uws;
mod ws;

use std::path::PathBuf;
use std::time::Instant;

use crate::failure::Failure;
use crate::process::Server;
use crate::publisher::Publisher;
use crate::readers::{Manner, Readers};

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum System {
    /// The bridge, its events by a publish stream.
    Bridge,
    /// The bridge, one unary call an event.
    BridgeUnary,
    /// uWebSockets, by a small server of ours.
    Uws,
    /// nginx with nchan.
    Nchan,
    /// nats-server, its subscribers over WebSocket.
    Nats,
    /// `ws` on Node.
    Ws,
}

impl System {
    pub(crate) const ALL: [Self; 6] = [
        Self::Bridge,
        Self::BridgeUnary,
        Self::Uws,
        Self::Nchan,
        Self::Nats,
        Self::Ws,
    ];

    /// What tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::BridgeUnary => "bridge, unary",
            Self::Uws => "uWebSockets",
            Self::Nchan => "nginx + nchan",
            Self::Nats => "NATS",
            Self::Ws => "Node ws",
        }
    }

    /// Its version.
    ///
    /// # Errors
    /// Where it is not installed: what is missing and how it is installed.
    pub(crate) fn version(self) -> Result<String, Failure> {
        match self {
            Self::Bridge | Self::BridgeUnary => bridge::version(),
            Self::Uws => uws::version(),
            Self::Nchan => nchan::version(),
            Self::Nats => nats::version(),
            Self::Ws => ws::version(),
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// Where it does not start.
    pub(crate) fn start(self) -> Result<Running, Failure> {
        match self {
            Self::Bridge | Self::BridgeUnary => bridge::start(self == Self::BridgeUnary),
            Self::Uws => uws::start(),
            Self::Nchan => nchan::start(),
            Self::Nats => nats::start(),
            Self::Ws => ws::start(),
        }
        .map_err(|error| error.during(self.name()))
    }
}

type OpenPublisher = Box<dyn Fn(&[String]) -> Result<Box<dyn Publisher>, Failure>>;

/// A server at work.
pub(crate) struct Running {
    pub(crate) server: Server,
    manner: Manner,
    path: fn(&str) -> String,
    publisher: OpenPublisher,
    /// Its files; gone when it is.
    _folder: Option<tempfile::TempDir>,
}

impl Running {
    /// A publisher for these topics.
    ///
    /// # Errors
    /// Where it cannot connect.
    pub(crate) fn publisher(&self, topics: &[String]) -> Result<Box<dyn Publisher>, Failure> {
        (self.publisher)(topics)
    }

    /// Readers of these topics, in turns.
    ///
    /// # Errors
    /// Where one cannot connect.
    pub(crate) fn readers(
        &self,
        began: Instant,
        count: usize,
        topics: &[String],
    ) -> Result<Readers, Failure> {
        Readers::connect(&self.manner, began, count, topics, self.path)
    }
}

/// The folder of the peers' own files.
fn peers() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Whether a program can be started.
fn is_installed(program: &str) -> bool {
    let mut command = std::process::Command::new(program);
    let quiet = std::process::Stdio::null;
    let tried = command
        .arg("-v")
        .stdin(quiet())
        .stdout(quiet())
        .stderr(quiet());
    tried.status().is_ok()
}

fn not_installed(what: &str, packages: &str) -> Failure {
    Failure::new(format!(
        "{what} is not installed; apt-get install {packages}"
    ))
}
