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
    /// How long the TLS handshake may take, and on a gRPC port the first words of HTTP/2 with it.
    /// Over it the connection is closed.
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
    /// Whether clients have to say that they speak HTTP/2 before they are let in: hyper waits for
    /// that without an end, while it waits for the head of HTTP/1 with one.
    http2: bool,
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
            http2: false,
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

    /// A plain connection is ready where nothing has to be said first; any other has to shake hands.
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
        let tls = self.tls.as_ref().map(|tls| tls.acceptor());
        if tls.is_none() && !self.http2 {
            return Some(Connection::plain(stream, address, place, permit));
        }
        let (http2, timeout) = (self.http2, self.limits.handshake_timeout);
        let shaking = async move {
            let mut connection = match tls {
                None => Connection::plain(stream, address, place, permit),
                Some(tls) => {
                    let stream = tls.accept(stream).await.inspect_err(
                        |error| tracing::info!(%address, %error, "closed: the TLS handshake failed"),
                    );
                    Connection::encrypted(stream.ok()?, address, place, permit)
                }
            };
            if http2 && let Err(error) = connection.hear_preface().await {
                tracing::debug!(%address, %error, "closed: the client has not spoken");
                return None;
            }
            Some(connection)
        };
        self.handshakes.spawn(async move {
            let shaken = tokio::time::timeout(timeout, shaking).await;
            shaken.unwrap_or_else(|_| {
                tracing::debug!(%address, ?timeout, "closed: the handshake took too long");
                None
            })
        });
        None
    }

    /// The connections of a port that speaks HTTP/2, one after the other, without an end.
    pub(crate) fn into_stream(mut self) -> impl Stream<Item = std::io::Result<Connection>> {
        self.http2 = true;
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
