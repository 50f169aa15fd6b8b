//! From a listening socket to connections: bounded, encrypted where the port has a certificate,
//! and each with the name of its peer.

mod addresses;
mod connection;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_stream::Stream;

use crate::tls::ServerTls;
use addresses::Addresses;
pub use addresses::Place;
pub use connection::{Connection, Parts, Peer};

/// Pause after a failed accept (such as: no file descriptor left), so that it cannot spin.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Limits of one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptLimits {
    /// Connections at once. The next one waits until another ends.
    pub max_connections: usize,
    /// Connections at once from one address. The next one is closed at once. 0: no such limit.
    pub max_per_address: usize,
    /// How long the TLS handshake may take. Over it the connection is closed.
    pub handshake_timeout: Duration,
}

impl Default for AcceptLimits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_per_address: 0,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// A port that is listened on.
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    limits: AcceptLimits,
    permits: Arc<Semaphore>,
    addresses: Addresses,
    /// Handshakes under way; they hold a permit each.
    handshakes: JoinSet<Option<Connection>>,
}

impl Port {
    /// A port; without TLS where there is none.
    #[must_use]
    pub fn new(listener: TcpListener, tls: Option<Arc<ServerTls>>, limits: AcceptLimits) -> Self {
        Self {
            listener,
            tls,
            limits,
            permits: Arc::new(Semaphore::new(
                limits.max_connections.min(Semaphore::MAX_PERMITS),
            )),
            addresses: Addresses::new(limits.max_per_address),
            handshakes: JoinSet::new(),
        }
    }

    /// The next connection that may speak. Cancelling it loses none.
    pub async fn accept(&mut self) -> Connection {
        loop {
            tokio::select! {
                Some(shaken) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = shaken {
                        return connection;
                    }
                }
                accepted = accept(&self.listener, &self.permits) => match accepted {
                    Ok((stream, address, permit)) => {
                        if let Some(connection) = self.admit(stream, address, permit) {
                            return connection;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_ERROR_PAUSE).await;
                    }
                }
            }
        }
    }

    /// A plain connection is ready; one with TLS has to shake hands first.
    fn admit(
        &mut self,
        stream: TcpStream,
        address: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) -> Option<Connection> {
        let Some(place) = self.addresses.enter(address.ip()) else {
            let limit = self.limits.max_per_address;
            tracing::debug!(%address, limit, "closed: this address has as many connections as are allowed");
            return None;
        };
        let Some(tls) = &self.tls else {
            return Some(Connection::plain(stream, address, place, permit));
        };
        let accepting = tls.acceptor().accept(stream);
        let timeout = self.limits.handshake_timeout;
        self.handshakes.spawn(async move {
            match tokio::time::timeout(timeout, accepting).await {
                Ok(Ok(stream)) => Some(Connection::encrypted(stream, address, place, permit)),
                Ok(Err(error)) => {
                    tracing::info!(%address, %error, "closed: the TLS handshake failed");
                    None
                }
                Err(_) => {
                    tracing::debug!(%address, ?timeout, "closed: the TLS handshake took too long");
                    None
                }
            }
        });
        None
    }

    /// The connections one after the other, without an end.
    pub(crate) fn into_stream(self) -> impl Stream<Item = std::io::Result<Connection>> {
        futures_util::stream::unfold(self, async |mut port| {
            let connection = port.accept().await;
            Some((Ok(connection), port))
        })
    }
}

/// Without TLS, with the default limits.
impl From<TcpListener> for Port {
    fn from(listener: TcpListener) -> Self {
        Self::new(listener, None, AcceptLimits::default())
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = permits
        .clone()
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, address, permit))
}
