//! One accepted connection.

use std::io::{ErrorKind, IoSlice, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::rustls::ServerConnection;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::addresses::Place;
use crate::tls::ClientCertificate;

/// What every client says first that speaks HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

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

/// Calls the same method of whichever transport it is.
macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().stream {
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
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        if self.heard.is_empty() {
            return either!(self, stream => stream.poll_read(context, buffer));
        }
        let count = self.heard.len().min(buffer.remaining());
        buffer.put_slice(&self.get_mut().heard.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        either!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Encrypted(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        either!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        either!(self, stream => stream.poll_shutdown(context))
    }
}
