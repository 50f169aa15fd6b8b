//! One accepted connection.

use std::io::{ErrorKind, IoSlice, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tokio_rustls::rustls::ServerConnection;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::addresses::Place;
use crate::tls::ClientCertificate;

/// What every client says first that speaks HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a peer may take nothing of what is written to it. Neither protocol ends such a
/// connection by itself: HTTP/1 waits without an end, and where pings of HTTP/2 find the peer dead,
/// its goodbye waits behind the rest.
const MAX_STALL: Duration = Duration::from_secs(120);

/// Who is at the other end; each request carries it as an extension.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    /// The certificate that it has shown, verified. `None`: it has shown none.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// An accepted connection, encrypted or not.
#[derive(Debug)]
pub struct Connection {
    stream: Transport,
    /// What was heard before it was let in, and is still to be read.
    heard: Bytes,
    /// When it is given up. `None`: the peer takes what is written.
    stalled: Option<Pin<Box<Sleep>>>,
    peer: Peer,
    place: Place,
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

/// What a connection is made of.
#[derive(Debug)]
pub struct Parts {
    /// The socket.
    pub stream: TcpStream,
    /// The state of TLS over it. `None`: it is not encrypted.
    pub tls: Option<Box<ServerConnection>>,
    /// Its place among the connections of its address, to be kept as long as the socket.
    pub place: Place,
}

impl Connection {
    pub(super) fn plain(
        stream: TcpStream,
        address: SocketAddr,
        place: Place,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            stream: Transport::Plain(stream),
            heard: Bytes::new(),
            stalled: None,
            peer: Peer {
                address,
                certificate: None,
            },
            place,
            permit: Some(permit),
        }
    }

    pub(super) fn encrypted(
        stream: TlsStream<TcpStream>,
        address: SocketAddr,
        place: Place,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let shown = stream.get_ref().1.peer_certificates();
        let certificate = shown.and_then(|chain| ClientCertificate::read(chain.first()?));
        Self {
            stream: Transport::Encrypted(Box::new(stream)),
            heard: Bytes::new(),
            stalled: None,
            peer: Peer {
                address,
                certificate: certificate.map(Arc::new),
            },
            place,
            permit: Some(permit),
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Waits for the preface of HTTP/2, which is read again by whoever serves the connection. What
    /// begins otherwise is theirs to answer too.
    ///
    /// # Errors
    /// Where the client goes without having said so much.
    pub(super) async fn hear_preface(&mut self) -> Result<()> {
        let mut heard = Vec::with_capacity(PREFACE.len());
        while heard.len() < PREFACE.len() && PREFACE.starts_with(&heard) {
            if self.read_buf(&mut heard).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        self.heard = heard.into();
        Ok(())
    }

    /// Takes its permit among the port's connections; without it, it counts as long as it lives.
    pub(crate) fn take_permit(&mut self) -> Option<OwnedSemaphorePermit> {
        self.permit.take()
    }

    /// Takes it apart.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        let (stream, tls) = match self.stream {
            Transport::Plain(stream) => (stream, None),
            Transport::Encrypted(stream) => {
                let (stream, tls) = stream.into_inner();
                (stream, Some(Box::new(tls)))
            }
        };
        Parts {
            stream,
            tls,
            place: self.place,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl Connection {
    /// What came of writing; an error where the peer has taken nothing for too long.
    fn in_time<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<Result<T>>,
    ) -> Poll<Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let begin = || Box::pin(tokio::time::sleep(MAX_STALL));
        let stalled = self.stalled.get_or_insert_with(begin).as_mut();
        stalled
            .poll(context)
            .map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

/// Calls the same method of whichever transport it is.
macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.stream {
            Transport::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Transport::Encrypted(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        if self.heard.is_empty() {
            return either!(self, stream => stream.poll_read(context, buffer));
        }
        let count = self.heard.len().min(buffer.remaining());
        buffer.put_slice(&self.heard.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let written = either!(self, stream => stream.poll_write(context, bytes));
        self.in_time(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = either!(self, stream => stream.poll_write_vectored(context, slices));
        self.in_time(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Encrypted(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let written = either!(self, stream => stream.poll_flush(context));
        self.in_time(context, written)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let written = either!(self, stream => stream.poll_shutdown(context));
        self.in_time(context, written)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use crate::accept::Port;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap());
        let mut port = Port::from(listener);
        let (peer, mut connection) = tokio::join!(peer, port.accept());
        // More than the buffers of both ends hold.
        let written = connection.write_all(&vec![0; 64 * 1024 * 1024]).await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::TimedOut);
        drop(peer);
    }
}
