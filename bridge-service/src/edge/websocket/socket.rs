//! A client's socket, shared by the hub, which writes, and the connection's task, which reads.

use std::future::poll_fn;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::net::TcpStream;

use service_kit::accept::{Parts, Place};

use super::decoder::Decoder;
use super::tls::Tls;
use crate::hub::api::Outlet;

/// Chunks handed to the kernel in one call.
const MAX_SLICES: usize = 64;
/// Bytes read in one call, on the stack.
const READ_BYTES: usize = 4_096;

/// The peer takes no more; the hub wants to know when it does again.
const BLOCKED: u8 = 1;
/// The hub is done with the socket.
const RELEASED: u8 = 2;
/// The hub's last write may have ended inside a frame.
const INSIDE_FRAME: u8 = 4;

/// What a connection's task is woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Readable,
    Writable,
    Released,
}

/// The socket. It costs no buffer and no lock: the kernel keeps what is not read or sent yet.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    /// `None`: it is not encrypted.
    tls: Option<Tls>,
    /// Counts the socket among those of its address.
    _place: Place,
    task: AtomicWaker,
    flags: AtomicU8,
}

impl Socket {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            stream: parts.stream,
            tls: parts.tls.map(Tls::new),
            _place: parts.place,
            task: AtomicWaker::new(),
            flags: AtomicU8::new(0),
        }
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Acquire) & flag != 0
    }

    fn set(&self, flag: u8) {
        self.flags.fetch_or(flag, Ordering::AcqRel);
    }

    fn clear(&self, flag: u8) {
        self.flags.fetch_and(!flag, Ordering::AcqRel);
    }

    /// Whether a frame written now would not land inside one of the hub's.
    pub(super) fn between_frames(&self) -> bool {
        !self.has(INSIDE_FRAME)
    }

    /// Waits for the next signal; `listening` says whether incoming bytes are one.
    pub(super) async fn signal(&self, listening: bool) -> Signal {
        poll_fn(|context| self.poll_signal(context, listening)).await
    }

    fn poll_signal(&self, context: &mut Context<'_>, listening: bool) -> Poll<Signal> {
        // Registered before the flags are read, so that a flag set in between wakes again.
        self.task.register(context.waker());
        if self.has(RELEASED) {
            return Poll::Ready(Signal::Released);
        }
        while self.has(BLOCKED) && self.stream.poll_write_ready(context).is_ready() {
            // Anything but a full socket is found by whoever writes next.
            if !matches!(self.try_flush(), Err(error) if error.kind() == ErrorKind::WouldBlock) {
                self.clear(BLOCKED);
                return Poll::Ready(Signal::Writable);
            }
        }
        if listening && self.stream.poll_read_ready(context).is_ready() {
            return Poll::Ready(Signal::Readable);
        }
        Poll::Pending
    }

    /// Sends what TLS has encrypted and the kernel has not taken.
    fn try_flush(&self) -> Result<()> {
        match &self.tls {
            Some(tls) => tls.flush(&self.stream),
            None => Ok(()),
        }
    }

    /// The same, and waits until all is sent.
    ///
    /// # Errors
    /// Where the peer is gone.
    pub(super) async fn flush(&self) -> Result<()> {
        loop {
            match self.try_flush() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stream.writable().await?;
                }
                done => return done,
            }
        }
    }

    /// Takes what TLS had decrypted before it was this socket's.
    ///
    /// # Errors
    /// Where the peer broke TLS.
    pub(super) fn read_decrypted(&self, decoder: &mut Decoder) -> Result<usize> {
        match &self.tls {
            Some(tls) => tls.read_decrypted(decoder),
            None => Ok(0),
        }
    }

    /// Reads what has come, without waiting. 0: the peer sends no more.
    ///
    /// # Errors
    /// `WouldBlock` where nothing has come; any other: the peer is gone.
    pub(super) fn read_into(&self, decoder: &mut Decoder) -> Result<usize> {
        if let Some(tls) = &self.tls {
            return tls.read(&self.stream, decoder);
        }
        let mut buffer = [0; READ_BYTES];
        let count = self.stream.try_read(&mut buffer)?;
        decoder.feed(&buffer[..count]);
        Ok(count)
    }

    /// As [`Socket::read_into`], and waits for the first byte.
    ///
    /// # Errors
    /// Where the peer is gone.
    pub(super) async fn wait_and_read_into(&self, decoder: &mut Decoder) -> Result<usize> {
        loop {
            self.stream.readable().await?;
            match self.read_into(decoder) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    /// Writes all of it. Only for bytes that the hub does not know of, while it has no outlet.
    ///
    /// # Errors
    /// Where the peer is gone.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> Result<()> {
        if let Some(tls) = &self.tls {
            return self.write_all_encrypted(tls, bytes).await;
        }
        while !bytes.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn write_all_encrypted(&self, tls: &Tls, bytes: &[u8]) -> Result<()> {
        let mut rest = Bytes::copy_from_slice(bytes);
        while !rest.is_empty() {
            match tls.write(&self.stream, std::slice::from_ref(&rest)) {
                (_, Some(error)) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                (written, _) => rest = rest.slice(written..),
            }
            self.flush().await?;
        }
        Ok(())
    }

    /// Writes until all is written or the kernel takes no more, so that its readiness is true.
    fn write_chunks(&self, chunks: &[Bytes]) -> (usize, Option<Error>) {
        if let Some(tls) = &self.tls {
            return tls.write(&self.stream, chunks);
        }
        if let [only] = chunks {
            return self.write_one(only);
        }
        let mut written = 0;
        for group in chunks.chunks(MAX_SLICES) {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            for (slice, chunk) in slices.iter_mut().zip(group) {
                *slice = IoSlice::new(chunk);
            }
            let mut rest = &mut slices[..group.len()];
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                match self.stream.try_write_vectored(rest) {
                    Ok(0) => return (written, Some(ErrorKind::WriteZero.into())),
                    Ok(count) => {
                        written += count;
                        IoSlice::advance_slices(&mut rest, count);
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return (written, Some(error)),
                }
            }
        }
        (written, None)
    }

    /// The same for one chunk, which needs no list.
    fn write_one(&self, chunk: &[u8]) -> (usize, Option<Error>) {
        let mut written = 0;
        while written < chunk.len() {
            match self.stream.try_write(&chunk[written..]) {
                Ok(0) => return (written, Some(ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return (written, Some(error)),
            }
        }
        (written, None)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(tls) = &self.tls {
            tls.say_end(&self.stream);
        }
    }
}

/// The hub's end of a socket.
#[derive(Debug)]
pub(super) struct SocketOutlet(pub(super) Arc<Socket>);

impl Outlet for SocketOutlet {
    fn try_write(&mut self, chunks: &[Bytes]) -> Result<usize> {
        let socket = &self.0;
        match socket.write_chunks(chunks) {
            (written, None) => {
                socket.clear(INSIDE_FRAME);
                Ok(written)
            }
            (written, Some(error)) if error.kind() == ErrorKind::WouldBlock => {
                // TLS may have taken all, and wait with the end of it.
                if written == chunks.iter().map(Bytes::len).sum::<usize>() {
                    socket.clear(INSIDE_FRAME);
                } else if written > 0 {
                    socket.set(INSIDE_FRAME);
                }
                socket.set(BLOCKED);
                socket.task.wake();
                if written > 0 { Ok(written) } else { Err(error) }
            }
            (_, Some(error)) => Err(error),
        }
    }
}

impl Drop for SocketOutlet {
    fn drop(&mut self) {
        self.0.set(RELEASED);
        self.0.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use service_kit::accept::{AcceptLimits, Port};
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Arc<Socket>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut port = Port::new(listener, None, AcceptLimits::default());
        let (client, accepted) = tokio::join!(TcpStream::connect(address), port.accept());
        let socket = Socket::new(accepted.into_parts());
        (Arc::new(socket), client.unwrap())
    }

    #[tokio::test]
    async fn chunks_arrive_in_order_whatever_their_number() {
        let (socket, mut client) = pair().await;
        let mut outlet = SocketOutlet(socket.clone());
        socket.stream.writable().await.unwrap();
        let chunks: Vec<Bytes> = (0..200_u8).map(|n| Bytes::from(vec![n; 3])).collect();
        assert_eq!(outlet.try_write(&chunks).unwrap(), 600);
        let mut received = vec![0; 600];
        client.read_exact(&mut received).await.unwrap();
        assert_eq!(received, chunks.concat());
        assert!(socket.between_frames());
    }

    #[tokio::test]
    async fn a_full_socket_says_when_it_takes_more() {
        let (socket, mut client) = pair().await;
        let mut outlet = SocketOutlet(socket.clone());
        socket.stream.writable().await.unwrap();
        let chunk = Bytes::from(vec![7; 64 * 1024]);
        let mut written = 0;
        let blocked = loop {
            match outlet.try_write(std::slice::from_ref(&chunk)) {
                Ok(count) => written += count,
                Err(error) => break error,
            }
        };
        assert_eq!(blocked.kind(), ErrorKind::WouldBlock);
        let reading = tokio::spawn(async move {
            let mut received = vec![0; written];
            client.read_exact(&mut received).await.unwrap();
            client
        });
        assert_eq!(socket.signal(false).await, Signal::Writable);
        assert!(outlet.try_write(std::slice::from_ref(&chunk)).is_ok());
        drop(reading.await.unwrap());
    }

    #[tokio::test]
    async fn dropping_the_outlet_releases_the_socket() {
        let (socket, _client) = pair().await;
        let outlet = SocketOutlet(socket.clone());
        drop(outlet);
        assert_eq!(socket.signal(true).await, Signal::Released);
    }
}
