//! One HTTP/2 connection to one target, straight on `h2`: made when a call needs it, kept for ever,
//! pinged while it is silent.
//!
//! There is one for every component, and each of its calls is short. So it has one task, and a call
//! passes through no queue: both calls of an audit leave in one write.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong, RecvStream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use service_kit::clock::{Clock, Now};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tonic::body::Body;

use super::channel::{MAX_HEADER_BYTES, WINDOW_BYTES};

/// What is remembered of an answer's header fields, in bytes. Nothing: the date that most servers
/// send is another one each second, and the usual 4 KiB of them take 15 KiB here.
const HEADER_TABLE_BYTES: u32 = 0;

/// Any error of a call.
pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;
/// The way to a new connection.
pub(super) type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;
type Connect = Box<dyn Fn() -> Connecting + Send + Sync>;

/// A ping stayed unanswered, and the connection was given up.
#[derive(Debug, thiserror::Error)]
#[error("a ping was not answered")]
pub(super) struct PingTimeout;

/// When to ping.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeepAlive {
    /// The silence after which the peer is pinged.
    pub(super) interval: Duration,
    /// How long the answer may take.
    pub(super) timeout: Duration,
}

/// The line to one target. Cheap to clone; the connection closes with the last clone and call.
#[derive(Clone)]
pub(super) struct Line(Arc<Inner>);

struct Inner {
    connect: Connect,
    keep_alive: KeepAlive,
    clock: Clock,
    /// Locked while a connection is made, so that calls that come together share it.
    open: Mutex<Option<Open>>,
}

/// A connection that was made.
#[derive(Clone)]
struct Open {
    sender: SendRequest<Bytes>,
    signs: Arc<Signs>,
}

/// What a connection's task and its calls tell each other.
struct Signs {
    made: Now,
    /// When something was last read, in milliseconds after it was made.
    heard: AtomicU64,
    unanswered: AtomicBool,
}

impl Signs {
    /// What an error of the connection means.
    fn explain(&self, error: h2::Error) -> Error {
        if self.unanswered.load(Ordering::Relaxed) {
            PingTimeout.into()
        } else {
            error.into()
        }
    }
}

impl Line {
    pub(super) fn new(connect: Connect, keep_alive: KeepAlive, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            connect,
            keep_alive,
            clock,
            open: Mutex::new(None),
        }))
    }

    /// Sends a request, whose body is there already, and waits for the head of its answer.
    pub(super) async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let Open { mut sender, signs } = self.ready().await?;
        let (response, mut outgoing) = sender
            .send_request(Request::from_parts(head, ()), false)
            .map_err(|error| signs.explain(error))?;
        outgoing
            .send_data(body, true)
            .map_err(|error| signs.explain(error))?;
        let response = response.await.map_err(|error| signs.explain(error))?;
        Ok(response.map(|stream| Body::new(Incoming { stream, signs })))
    }

    /// The open connection, or a new one where it cannot take a call any more.
    async fn ready(&self) -> Result<Open, Error> {
        let known = self.0.open.lock().await.clone();
        let gone = match known {
            None => None,
            Some(Open { sender, signs }) => match sender.ready().await {
                Ok(sender) => return Ok(Open { sender, signs }),
                Err(_) => Some(signs),
            },
        };
        let mut open = self.0.open.lock().await;
        // Another call may have made one meanwhile.
        if let Some(made) = &*open
            && !gone.is_some_and(|gone| Arc::ptr_eq(&gone, &made.signs))
        {
            return Ok(made.clone());
        }
        let made = self.make().await?;
        *open = Some(made.clone());
        Ok(made)
    }

    async fn make(&self) -> Result<Open, Error> {
        let stream = (self.0.connect)().await;
        let stream = stream.map_err(|error| tonic::ConnectError(error.into()))?;
        let clock = self.0.clock;
        let signs = Arc::new(Signs {
            made: clock.now(),
            heard: AtomicU64::new(0),
            unanswered: AtomicBool::new(false),
        });
        let heard = Heard {
            stream,
            signs: signs.clone(),
            clock,
        };
        let (sender, connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_header_list_size(MAX_HEADER_BYTES)
            .header_table_size(HEADER_TABLE_BYTES)
            .handshake(heard)
            .await?;
        tokio::spawn(drive(connection, signs.clone(), self.0.keep_alive, clock));
        Ok(Open { sender, signs })
    }
}

/// A connection's task: carries its frames until the last call is over, it breaks, or a ping stays
/// unanswered.
async fn drive(
    mut connection: Connection<Heard, Bytes>,
    signs: Arc<Signs>,
    keep_alive: KeepAlive,
    clock: Clock,
) {
    let Some(pings) = connection.ping_pong() else {
        return;
    };
    tokio::select! {
        biased;
        // Every call under way is told by the connection itself.
        _ = &mut connection => {}
        () = silence(pings, &signs, keep_alive, clock) => {
            signs.unanswered.store(true, Ordering::Relaxed);
        }
    }
}

/// Pings whenever nothing was heard for an interval; returns when that stays unanswered.
async fn silence(mut pings: PingPong, signs: &Signs, keep_alive: KeepAlive, clock: Clock) {
    loop {
        let heard = Duration::from_millis(signs.heard.load(Ordering::Relaxed));
        let silent = clock
            .now()
            .since(signs.made.monotonic)
            .saturating_sub(heard);
        if silent < keep_alive.interval {
            tokio::time::sleep(keep_alive.interval - silent).await;
            continue;
        }
        match tokio::time::timeout(keep_alive.timeout, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection is ending by itself.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return,
        }
    }
}

/// A socket that notes when something was read.
struct Heard {
    stream: TcpStream,
    signs: Arc<Signs>,
    clock: Clock,
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            let since = self.clock.now().since(self.signs.made.monotonic);
            let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            self.signs.heard.store(since, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The body of an answer.
struct Incoming {
    stream: RecvStream,
    signs: Arc<Signs>,
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let frame = match std::task::ready!(this.stream.poll_data(context)) {
            Some(Ok(data)) => {
                // What is handed on is room for more.
                let released = this.stream.flow_control().release_capacity(data.len());
                Some(released.map(|()| Frame::data(data)))
            }
            Some(Err(error)) => Some(Err(error)),
            None => std::task::ready!(this.stream.poll_trailers(context))
                .map(|trailers| trailers.map(Frame::<Bytes>::trailers))
                .transpose(),
        };
        Poll::Ready(frame.map(|frame| frame.map_err(|error| this.signs.explain(error))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const NEVER: Duration = Duration::from_secs(3_600);

    fn line(address: SocketAddr, interval: Duration, timeout: Duration) -> Line {
        let connect = Box::new(move || Box::pin(TcpStream::connect(address)) as Connecting);
        let keep_alive = KeepAlive { interval, timeout };
        Line::new(connect, keep_alive, Clock::system())
    }

    fn request() -> Request<Body> {
        Request::post("http://127.0.0.1/path")
            .body(Body::empty())
            .unwrap()
    }

    /// Answers every call on a connection, until it was so many.
    async fn answer(listener: &TcpListener, calls: usize) {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        for _ in 0..calls {
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            respond.send_response(Response::new(()), true).unwrap();
        }
        connection.graceful_shutdown();
        while connection.accept().await.is_some() {}
    }

    #[tokio::test]
    async fn calls_share_a_connection_and_make_a_new_one_where_it_went() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = line(listener.local_addr().unwrap(), NEVER, NEVER);
        let calling = async {
            let both = tokio::join!(line.call(request()), line.call(request()));
            assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
            // The goodbye may cross the third call; the probe sends such a one once more.
            while line.call(request()).await.is_err() {}
        };
        let serving = async {
            answer(&listener, 2).await;
            answer(&listener, 1).await;
        };
        tokio::join!(calling, serving);
    }

    #[tokio::test]
    async fn a_peer_that_answers_no_ping_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = line(listener.local_addr().unwrap(), SOON, SOON);
        let calling = tokio::spawn(async move { line.call(request()).await.map(|_| ()) });
        let (_silent, _) = listener.accept().await.unwrap();
        let error = calling.await.unwrap().unwrap_err();
        assert!(error.downcast_ref::<PingTimeout>().is_some(), "{error:?}");
    }

    #[tokio::test]
    async fn a_quiet_peer_that_answers_pings_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = line(listener.local_addr().unwrap(), SOON, NEVER);
        let serving = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            // The answer comes after many pings.
            let waiting = tokio::time::sleep(Duration::from_millis(300));
            tokio::select! {
                () = waiting => {}
                more = connection.accept() => panic!("{more:?}"),
            }
            respond.send_response(Response::new(()), true).unwrap();
            while connection.accept().await.is_some() {}
        };
        tokio::select! {
            answered = line.call(request()) => assert!(answered.is_ok(), "{answered:?}"),
            () = serving => panic!("the connection went before the answer"),
        }
    }
}
