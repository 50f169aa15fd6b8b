//! A TCP proxy that can break the network between two peers while they talk.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use service_kit::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Bytes moved at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks that a delay holds back on one connection; beyond it the sender waits.
const MAX_CHUNKS_UNDER_WAY: usize = 4_096;

/// What the network does to every connection, the present and the future ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Bytes pass.
    Pass,
    /// Bytes are not read: peers' buffers fill up. What was sent arrives after the fault.
    Stall,
    /// Bytes towards the client are read and lost; those towards the server pass.
    BlackHole,
    /// Bytes towards the client arrive so much later; those towards the server pass.
    Delay(Duration),
    /// Bytes of both ways are read and lost: the client's machine is gone, and nobody says so.
    Swallow,
    /// Connections are cut with a reset, and new ones are cut at once.
    Reset,
    /// The server's side is closed, and the client is not told: its connection stays open and
    /// silent. New connections are taken and get no answer.
    HalfOpen,
}

/// The proxy; connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where clients connect.
    pub address: SocketAddr,
    fault: watch::Sender<Fault>,
    upstream: watch::Sender<SocketAddr>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of a server, passing everything.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, faults) = watch::channel(Fault::Pass);
        let (upstream, upstreams) = watch::channel(upstream);
        let task = tokio::spawn(accept(listener, faults, upstreams));
        Self {
            address,
            fault,
            upstream,
            task,
        }
    }

    /// Breaks the network, or heals it.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// New connections go to another server, such as a restarted one.
    pub fn redirect(&self, upstream: SocketAddr) {
        self.upstream.send_replace(upstream);
    }

    /// The proxy's address as an HTTP URI.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    faults: watch::Receiver<Fault>,
    upstreams: watch::Receiver<SocketAddr>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let upstream = *upstreams.borrow();
                connections.spawn(connection(client, upstream, faults.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(client: TcpStream, upstream: SocketAddr, mut faults: watch::Receiver<Fault>) {
    let fault = *faults.borrow_and_update();
    match fault {
        Fault::Reset => return reset(&client),
        Fault::HalfOpen => return hold(client, faults).await,
        _ => {}
    }
    let Ok(server) = TcpStream::connect(upstream).await else {
        return reset(&client);
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let Ok(socket) = socket2::SockRef::from(&client).try_clone() else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut up = tokio::spawn(pump(from_client, to_server, faults.clone()));
    let mut down = tokio::spawn(pump_to_client(from_server, to_client, faults.clone()));
    tokio::select! {
        _ = &mut up => {}
        _ = &mut down => {}
    }
    let fault = *faults.borrow_and_update();
    match fault {
        Fault::Reset => {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        Fault::HalfOpen => hold(socket, faults).await,
        _ => {}
    }
    up.abort();
    down.abort();
}

/// The way to the client. A cut must not look like an orderly end, so the shutdown that dropping
/// a half sends is left out then.
async fn pump_to_client(
    from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    faults: watch::Receiver<Fault>,
) {
    if transfer(from, &mut to, true, faults).await == End::Cut {
        to.forget();
    }
}

async fn pump(from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: watch::Receiver<Fault>) {
    transfer(from, &mut to, false, faults).await;
}

/// Why no more bytes are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// A peer closed.
    Closed,
    /// The fault cut the connection.
    Cut,
}

/// Moves bytes one way while the fault lets it.
async fn transfer(
    mut from: OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    towards_client: bool,
    mut faults: watch::Receiver<Fault>,
) -> End {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let fault = *faults.borrow_and_update();
        match fault {
            Fault::Reset | Fault::HalfOpen => return End::Cut,
            Fault::Stall => match faults.changed().await {
                Ok(()) => continue,
                Err(_) => return End::Closed,
            },
            Fault::Delay(by) if towards_client => {
                match delay_line(&mut from, to, by, &mut faults).await {
                    Some(end) => return end,
                    None => continue,
                }
            }
            Fault::Pass | Fault::BlackHole | Fault::Swallow | Fault::Delay(_) => {}
        }
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            changed = faults.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return End::Closed,
            },
        };
        let Ok(count @ 1..) = read else {
            return End::Closed;
        };
        if fault == Fault::Swallow || (towards_client && fault == Fault::BlackHole) {
            continue;
        }
        let cut = faults.wait_for(|fault| matches!(fault, Fault::Reset | Fault::HalfOpen));
        tokio::select! {
            written = to.write_all(&buffer[..count]) => {
                if written.is_err() {
                    return End::Closed;
                }
            }
            _ = cut => return End::Cut,
        }
    }
}

/// Moves bytes later than they came, until the fault is another one; what is under way by then
/// arrives at once. `None`: the fault changed.
async fn delay_line(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    by: Duration,
    faults: &mut watch::Receiver<Fault>,
) -> Option<End> {
    let mut line: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let due = line.front().map(|(due, _)| *due);
        tokio::select! {
            changed = faults.changed() => {
                for (_, bytes) in line {
                    if to.write_all(&bytes).await.is_err() {
                        return Some(End::Closed);
                    }
                }
                return changed.err().map(|_| End::Closed);
            }
            () = async { tokio::time::sleep_until(due.unwrap_or_else(now).into()).await },
                if due.is_some() =>
            {
                if let Some((_, bytes)) = line.pop_front()
                    && to.write_all(&bytes).await.is_err()
                {
                    return Some(End::Closed);
                }
            }
            read = from.read(&mut buffer), if line.len() < MAX_CHUNKS_UNDER_WAY => {
                let Ok(count @ 1..) = read else {
                    return Some(End::Closed);
                };
                line.push_back((now() + by, buffer[..count].to_vec()));
            }
        }
    }
}

fn now() -> Instant {
    Clock::system().now().monotonic
}

fn reset(client: &TcpStream) {
    let _ = socket2::SockRef::from(client).set_linger(Some(Duration::ZERO));
}

/// Keeps a connection open and silent until the proxy is gone.
async fn hold<T>(client: T, mut faults: watch::Receiver<Fault>) {
    while faults.changed().await.is_ok() {}
    drop(client);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that echoes, and a client connected to it through the proxy.
    async fn echo() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let proxy = Proxy::start(address).await;
        let client = TcpStream::connect(proxy.address).await.unwrap();
        (proxy, client)
    }

    async fn says(client: &mut TcpStream, word: &[u8]) {
        client.write_all(word).await.unwrap();
        let mut answer = vec![0; word.len()];
        let read = tokio::time::timeout(Duration::from_secs(5), client.read_exact(&mut answer));
        read.await.expect("an answer in time").unwrap();
        assert_eq!(answer, word);
    }

    async fn is_silent(client: &mut TcpStream) {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(200), client.read(&mut byte));
        assert!(read.await.is_err(), "something came through");
    }

    #[tokio::test]
    async fn a_stall_delays_and_loses_nothing() {
        let (proxy, mut client) = echo().await;
        says(&mut client, b"one").await;
        proxy.set(Fault::Stall);
        client.write_all(b"two").await.unwrap();
        is_silent(&mut client).await;
        proxy.set(Fault::Pass);
        let mut answer = [0; 3];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"two");
    }

    #[tokio::test]
    async fn a_black_hole_loses() {
        let (proxy, mut client) = echo().await;
        says(&mut client, b"one").await;
        proxy.set(Fault::BlackHole);
        client.write_all(b"two").await.unwrap();
        is_silent(&mut client).await;
        proxy.set(Fault::Pass);
        says(&mut client, b"three").await;
    }

    #[tokio::test]
    async fn a_delay_delays_and_keeps_the_order() {
        let (proxy, mut client) = echo().await;
        says(&mut client, b"one").await;
        proxy.set(Fault::Delay(Duration::from_millis(400)));
        client.write_all(b"two").await.unwrap();
        is_silent(&mut client).await;
        client.write_all(b"three").await.unwrap();
        let mut answer = [0; 8];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"twothree");
        proxy.set(Fault::Pass);
        says(&mut client, b"four").await;
    }

    #[tokio::test]
    async fn what_is_swallowed_is_gone_both_ways() {
        let (proxy, mut client) = echo().await;
        says(&mut client, b"one").await;
        proxy.set(Fault::Swallow);
        client.write_all(b"two").await.unwrap();
        is_silent(&mut client).await;
        proxy.set(Fault::Pass);
        says(&mut client, b"three").await;
    }

    #[tokio::test]
    async fn a_reset_cuts() {
        let (proxy, mut client) = echo().await;
        says(&mut client, b"one").await;
        proxy.set(Fault::Reset);
        let mut byte = [0];
        let error = client.read(&mut byte).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn half_open_stays_open_and_silent() {
        let (proxy, mut client) = echo().await;
        says(&mut client, b"one").await;
        proxy.set(Fault::HalfOpen);
        is_silent(&mut client).await;
        let mut second = TcpStream::connect(proxy.address).await.unwrap();
        is_silent(&mut second).await;
    }
}
