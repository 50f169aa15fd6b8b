//! TLS over a client's socket, as the hub needs it: writing never waits, and nothing is kept but
//! the one record that the kernel has not taken whole.

use std::io::{Error, ErrorKind, IoSlice, Read, Result, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConnection;

use super::decoder::Decoder;

/// Plain bytes of one record, at the most (RFC 8446, section 5.1).
const RECORD_BYTES: usize = 16 * 1024;
/// Chunks that go into one record.
const MAX_SLICES: usize = 64;
/// Bytes taken from one record at once, on the stack.
const READ_BYTES: usize = 4_096;

/// The state of TLS. Behind a lock because the hub writes while the connection's task reads; it is
/// held for one call of the kernel and never across a wait.
#[derive(Debug)]
pub(super) struct Tls(Mutex<Box<ServerConnection>>);

impl Tls {
    pub(super) fn new(connection: Box<ServerConnection>) -> Self {
        Self(Mutex::new(connection))
    }

    fn connection(&self) -> MutexGuard<'_, Box<ServerConnection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes record after record until all is written or the kernel takes no more. The last
    /// record counts as written though part of it may wait: [`Tls::flush`] sends the rest.
    pub(super) fn write(&self, stream: &TcpStream, chunks: &[Bytes]) -> (usize, Option<Error>) {
        let mut connection = self.connection();
        let total: usize = chunks.iter().map(Bytes::len).sum();
        let mut written = 0;
        loop {
            if let Err(error) = flush(&mut connection, stream) {
                return (written, Some(error));
            }
            if written == total {
                return (written, None);
            }
            match write_record(&mut connection, chunks, written) {
                Ok(0) => return (written, Some(ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) => return (written, Some(error)),
            }
        }
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// `WouldBlock` where the kernel does not take it all now; any other: the peer is gone.
    pub(super) fn flush(&self, stream: &TcpStream) -> Result<()> {
        flush(&mut self.connection(), stream)
    }

    /// Takes everything that was decrypted already, without touching the socket.
    pub(super) fn read_decrypted(&self, decoder: &mut Decoder) -> Result<usize> {
        read_decrypted(&mut self.connection(), decoder)
    }

    /// Reads what has come, without waiting. 0: the peer sends no more.
    ///
    /// # Errors
    /// `WouldBlock` where nothing whole has come; any other: the peer is gone.
    pub(super) fn read(&self, stream: &TcpStream, decoder: &mut Decoder) -> Result<usize> {
        let mut connection = self.connection();
        if connection.read_tls(&mut Kernel(stream))? == 0 {
            return Ok(0);
        }
        let processed = connection.process_new_packets();
        // What the protocol itself answers, an alert among it; a full socket gets it later.
        let _ = flush(&mut connection, stream);
        let state = processed.map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
        match read_decrypted(&mut connection, decoder)? {
            0 if state.peer_has_closed() => Ok(0),
            0 => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    /// Says that nothing more comes, as far as the kernel takes it.
    pub(super) fn say_end(&self, stream: &TcpStream) {
        let mut connection = self.connection();
        connection.send_close_notify();
        let _ = flush(&mut connection, stream);
    }
}

/// Encrypts the next record of the chunks, from this byte on.
fn write_record(connection: &mut ServerConnection, chunks: &[Bytes], from: usize) -> Result<usize> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let (mut skip, mut room, mut count) = (from, RECORD_BYTES, 0);
    for chunk in chunks {
        if skip >= chunk.len() {
            skip -= chunk.len();
            continue;
        }
        let rest = &chunk[skip..];
        let part = &rest[..rest.len().min(room)];
        skip = 0;
        room -= part.len();
        slices[count] = IoSlice::new(part);
        count += 1;
        if room == 0 || count == MAX_SLICES {
            break;
        }
    }
    connection.writer().write_vectored(&slices[..count])
}

fn flush(connection: &mut ServerConnection, stream: &TcpStream) -> Result<()> {
    while connection.wants_write() {
        if connection.write_tls(&mut Kernel(stream))? == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

fn read_decrypted(connection: &mut ServerConnection, decoder: &mut Decoder) -> Result<usize> {
    let mut total = 0;
    let mut buffer = [0; READ_BYTES];
    loop {
        match connection.reader().read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                decoder.feed(&buffer[..count]);
                total += count;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(total),
            // An end without a word is an end all the same: close frames say what matters.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(total),
            Err(error) => return Err(error),
        }
    }
}

/// The socket's non-blocking calls as std has them.
struct Kernel<'a>(&'a TcpStream);

impl Read for Kernel<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Kernel<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::generate_simple_self_signed;
    use service_kit::accept::{AcceptLimits, Port};
    use service_kit::tls::{ClientCertificates, Protocol, ServerTls, TlsFiles};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::super::socket::{Signal, Socket, SocketOutlet};
    use super::*;
    use crate::hub::api::Outlet as _;

    async fn pair() -> (Arc<Socket>, TlsStream<TcpStream>) {
        let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("pem"), made.cert.pem()).unwrap();
        std::fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
        let files = TlsFiles {
            port: "http",
            certificate: path("pem"),
            key: path("key"),
            client_ca: None,
            client_certificates: ClientCertificates::Optional,
        };
        let tls = Arc::new(ServerTls::load(files, Protocol::Http1).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut port = Port::new(listener, Some(tls), AcceptLimits::default());
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connecting = async {
            let stream = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let connector = TlsConnector::from(Arc::new(config));
            connector.connect(name, stream).await.unwrap()
        };
        let (client, accepted) = tokio::join!(connecting, port.accept());
        (Arc::new(Socket::new(accepted.into_parts())), client)
    }

    #[tokio::test]
    async fn a_full_socket_keeps_one_record_and_says_when_it_takes_more() {
        let (socket, mut client) = pair().await;
        let mut outlet = SocketOutlet(socket.clone());
        let chunks: Vec<Bytes> = (0..100_u8).map(|n| Bytes::from(vec![n; 1_000])).collect();
        let mut expected = Vec::new();
        let blocked = loop {
            match outlet.try_write(&chunks) {
                Ok(count) => expected.extend_from_slice(&chunks.concat()[..count]),
                Err(error) => break error,
            }
        };
        assert_eq!(blocked.kind(), ErrorKind::WouldBlock);
        let length = expected.len();
        let reading = tokio::spawn(async move {
            let mut received = vec![0; length];
            client.read_exact(&mut received).await.unwrap();
            (received, client)
        });
        assert_eq!(socket.signal(false).await, Signal::Writable);
        socket.flush().await.unwrap();
        let (received, mut client) = reading.await.unwrap();
        assert!(received == expected, "bytes were lost, doubled or swapped");
        drop(outlet);
        assert_eq!(socket.signal(false).await, Signal::Released);
        drop(socket);
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0, "an orderly end");
    }

    #[tokio::test]
    async fn what_comes_is_read_whole() {
        let (socket, mut client) = pair().await;
        let mut decoder = Decoder::default();
        // A masked text frame of a client, and an end.
        client
            .write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i'])
            .await
            .unwrap();
        client.shutdown().await.unwrap();
        while socket.wait_and_read_into(&mut decoder).await.unwrap() == 0 {}
        let message = decoder.next(128).unwrap();
        assert_eq!(
            message,
            Some(super::super::decoder::Incoming::Text("hi".to_owned()))
        );
        assert_eq!(socket.wait_and_read_into(&mut decoder).await.unwrap(), 0);
    }
}
