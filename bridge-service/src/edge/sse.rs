//! Readers over server-sent events: the same objects, as the body of a plain answer.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;
use http::request::Parts;
use http::{StatusCode, header};
use service_kit::access::{Identity, Lapse, unauthorized};
use service_kit::http::Cut;
use service_kit::request::carried;
use tokio_stream::Stream;
use tokio_util::task::AbortOnDropHandle;

use super::access::may_read;
use super::ingest::validate::is_synthetic;
use super::query::{self, Refused, Wanted};
use super::readers::{Readers, refusal};
use crate::hub::api::{Command, ConnectionId, HubHandle, Outlet, SubscribeError};
use crate::hub::event::{CloseReason, Encoding, Subprotocol, Transport};

/// Bytes that may wait between the hub and a body. At the limit the hub keeps the rest in the
/// thread's window, as it does where a socket is full.
const MAX_WAITING_BYTES: usize = 64 * 1024;

/// Nothing else comes over a connection that was given to the hub, so that it can be cut.
const LAST_ANSWER: (header::HeaderName, &str) = (header::CONNECTION, "close");

/// Answers a reader.
pub(super) async fn open(readers: &Readers, request: &Parts) -> Response {
    match subscribe(readers, request).await {
        Ok(body) => {
            let headers = [
                (header::CONTENT_TYPE, "text/event-stream"),
                (header::CACHE_CONTROL, "no-store"),
                LAST_ANSWER,
            ];
            (headers, Body::from_stream(body)).into_response()
        }
        Err(answer) => *answer,
    }
}

async fn subscribe(
    readers: &Readers,
    request: &Parts,
) -> std::result::Result<ReaderBody, Box<Response>> {
    let invalid = |error: String| Box::new(refusal(StatusCode::BAD_REQUEST, &error));
    let wanted = query::parse(&request.uri).map_err(|refused| match refused {
        Refused::Invalid(error) => invalid(error),
        Refused::Forbidden(error) => Box::new(refusal(StatusCode::FORBIDDEN, &error)),
    })?;
    let identity = identify(readers, request, &wanted.thread_id)?;
    // What a reconnecting client has seen last wins over the URL, which is as old as its page.
    let position = match request.headers.get("last-event-id") {
        Some(value) => {
            let value = value.to_str().unwrap_or("\u{fffd}");
            Some(query::parse_last_event_id(value).map_err(invalid)?)
        }
        None => wanted.position,
    };
    let wanted = Wanted { position, ..wanted };
    let cut = request.extensions.get::<Cut>().cloned();
    let mut body = connect(readers, wanted, cut).await.map_err(|error| {
        let status = match error {
            SubscribeError::TooManyConnections { .. } | SubscribeError::TooManyThreads { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
            SubscribeError::Draining | SubscribeError::NoAnswer => StatusCode::SERVICE_UNAVAILABLE,
        };
        let wait = readers.retry_after().as_secs().max(1).to_string();
        let headers = [(header::RETRY_AFTER, wait.as_str()), LAST_ANSWER];
        Box::new((headers, refusal(status, &error.to_string())).into_response())
    })?;
    body.lapsing = identity.map(|identity| watch_over(readers, body.id, identity));
    Ok(body)
}

/// 401 for who is not known, 403 for who may not read the thread.
fn identify(
    readers: &Readers,
    request: &Parts,
    thread_id: &str,
) -> std::result::Result<Option<Arc<Identity>>, Box<Response>> {
    let identified = readers
        .guard
        .identify_request(&request.headers, &request.extensions);
    let identity = identified.map_err(|refusal| {
        tracing::info!(%refusal, "a reader is not known");
        Box::new(unauthorized(refusal))
    })?;
    if let Some(Err(denied)) = identity
        .as_deref()
        .map(|identity| may_read(identity, thread_id))
    {
        tracing::info!(%denied, "a reader was refused");
        return Err(Box::new(refusal(
            StatusCode::FORBIDDEN,
            &denied.to_string(),
        )));
    }
    Ok(identity)
}

/// Closes the reader when what it has shown holds no longer.
fn watch_over(
    readers: &Readers,
    id: ConnectionId,
    identity: Arc<Identity>,
) -> AbortOnDropHandle<()> {
    let (hub, lapse) = (readers.hub.clone(), readers.guard.lapse(identity));
    AbortOnDropHandle::new(tokio::spawn(carried(async move {
        let reason = close_reason(lapse.await);
        hub.tell(Command::Close(id, reason)).await;
    })))
}

/// What a reader is told whose token or certificate holds no longer.
pub(super) fn close_reason(lapse: Lapse) -> CloseReason {
    match lapse {
        Lapse::Expired => CloseReason::Expired,
        Lapse::Withdrawn => CloseReason::Unauthenticated,
    }
}

async fn connect(
    readers: &Readers,
    wanted: Wanted,
    cut: Option<Cut>,
) -> std::result::Result<ReaderBody, SubscribeError> {
    let pipe = Arc::new(Pipe::default());
    let encoding = Encoding {
        subprotocol: Subprotocol::Json,
        transport: Transport::ServerSentEvents,
    };
    let synthetic = is_synthetic(&wanted.thread_id);
    let outlet = Box::new(PipeOutlet {
        pipe: pipe.clone(),
        cut,
        goodbye: readers.goodbye,
    });
    let hub = readers.hub.clone();
    let subscribed = hub.subscribe(
        wanted.thread_id,
        wanted.position,
        encoding,
        outlet,
        synthetic,
    );
    let id = subscribed.await?;
    Ok(ReaderBody {
        hub,
        id,
        pipe,
        telling: None,
        lapsing: None,
        ended: false,
    })
}

/// What waits between the hub and a body.
#[derive(Debug, Default)]
struct Pipe {
    /// A lock, since both ends change it; it is held for a push or a pop and never across a wait.
    waiting: Mutex<Waiting>,
    body: AtomicWaker,
}

#[derive(Debug, Default)]
struct Waiting {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// The hub wants to know when there is room again.
    blocked: bool,
    /// The hub is done with this reader.
    released: bool,
    /// The body is gone.
    gone: bool,
}

impl Pipe {
    /// Whoever panicked while holding the lock left a push or a pop undone, no more.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The hub's end.
#[derive(Debug)]
struct PipeOutlet {
    pipe: Arc<Pipe>,
    /// Ends a connection that takes nothing: no body is asked for more there. `None`: the body
    /// stands alone.
    cut: Option<Cut>,
    /// How long what is in the pipe, and the end of the body, may take once the hub is done.
    goodbye: Duration,
}

impl Outlet for PipeOutlet {
    fn try_write(&mut self, chunks: &[Bytes]) -> Result<usize> {
        let mut waiting = self.pipe.waiting();
        if waiting.gone {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let mut written = 0;
        for chunk in chunks {
            // A chunk goes in whole, be it larger than the limit: there is room or there is not.
            if waiting.bytes >= MAX_WAITING_BYTES {
                waiting.blocked = true;
                break;
            }
            waiting.chunks.push_back(chunk.clone());
            waiting.bytes += chunk.len();
            written += chunk.len();
        }
        let blocked = waiting.blocked;
        drop(waiting);
        self.pipe.body.wake();
        match written {
            0 if blocked => Err(Error::from(ErrorKind::WouldBlock)),
            written => Ok(written),
        }
    }
}

impl Drop for PipeOutlet {
    fn drop(&mut self) {
        let mut waiting = self.pipe.waiting();
        waiting.released = true;
        let gone = waiting.gone;
        drop(waiting);
        self.pipe.body.wake();
        if let (false, Some(cut)) = (gone, self.cut.take()) {
            cut.after(self.goodbye);
        }
    }
}

/// The body of the answer.
struct ReaderBody {
    hub: HubHandle,
    id: ConnectionId,
    pipe: Arc<Pipe>,
    /// A word to the hub that its mailbox has not taken yet; at most one.
    telling: Option<BoxFuture<'static, ()>>,
    /// Closes the reader when its token holds no longer. `None`: it needed none.
    lapsing: Option<AbortOnDropHandle<()>>,
    ended: bool,
}

impl ReaderBody {
    fn tell(&self, command: Command) -> BoxFuture<'static, ()> {
        let hub = self.hub.clone();
        Box::pin(async move { hub.tell(command).await })
    }
}

impl Stream for ReaderBody {
    type Item = std::result::Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Registered before the pipe is looked at, so that a push in between wakes again.
        self.pipe.body.register(context.waker());
        if let Some(telling) = &mut self.telling
            && telling.as_mut().poll(context).is_ready()
        {
            self.telling = None;
        }
        let mut waiting = self.pipe.waiting();
        let chunk = waiting.chunks.pop_front();
        waiting.bytes -= chunk.as_ref().map_or(0, Bytes::len);
        let (released, empty) = (waiting.released, waiting.chunks.is_empty());
        let room = waiting.blocked && empty && self.telling.is_none();
        if room {
            waiting.blocked = false;
        }
        drop(waiting);
        if room {
            let mut telling = self.tell(Command::Writable(self.id));
            if telling.as_mut().poll(context).is_pending() {
                self.telling = Some(telling);
            }
        }
        match chunk {
            Some(chunk) => Poll::Ready(Some(Ok(chunk))),
            None if released => {
                self.ended = true;
                Poll::Ready(None)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for ReaderBody {
    fn drop(&mut self) {
        self.pipe.waiting().gone = true;
        let runtime = tokio::runtime::Handle::try_current();
        if let (false, Ok(runtime)) = (self.ended, runtime) {
            runtime.spawn(self.tell(Command::Disconnected(self.id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio_stream::StreamExt;

    use super::*;

    fn pair() -> (PipeOutlet, ReaderBody, mpsc::Receiver<Command>) {
        let (sender, mailbox) = mpsc::channel(8);
        let pipe = Arc::new(Pipe::default());
        let body = ReaderBody {
            hub: HubHandle::new(sender, Duration::from_secs(1)),
            id: ConnectionId::default(),
            pipe: pipe.clone(),
            telling: None,
            lapsing: None,
            ended: false,
        };
        let outlet = PipeOutlet {
            pipe,
            cut: None,
            goodbye: Duration::ZERO,
        };
        (outlet, body, mailbox)
    }

    #[tokio::test]
    async fn a_full_pipe_says_when_it_takes_more() {
        let (mut outlet, mut body, mut mailbox) = pair();
        let chunk = Bytes::from(vec![b'x'; MAX_WAITING_BYTES / 2]);
        let chunks = vec![chunk.clone(); 3];
        assert_eq!(outlet.try_write(&chunks).unwrap(), MAX_WAITING_BYTES);
        let refused = outlet.try_write(&chunks[2..]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        assert_eq!(body.next().await.unwrap().unwrap(), chunk);
        assert!(mailbox.try_recv().is_err(), "there is no need to hurry");
        assert_eq!(body.next().await.unwrap().unwrap(), chunk);
        assert!(matches!(mailbox.try_recv(), Ok(Command::Writable(_))));
        assert_eq!(outlet.try_write(&chunks[2..]).unwrap(), chunk.len());
    }

    #[tokio::test]
    async fn the_body_ends_after_the_last_chunk() {
        let (mut outlet, mut body, mut mailbox) = pair();
        outlet.try_write(&[Bytes::from_static(b"goodbye")]).unwrap();
        drop(outlet);
        assert_eq!(body.next().await.unwrap().unwrap(), "goodbye");
        assert!(body.next().await.is_none());
        drop(body);
        tokio::task::yield_now().await;
        assert!(mailbox.try_recv().is_err(), "the hub knows that already");
    }

    #[tokio::test]
    async fn a_dropped_body_is_a_reader_gone() {
        let (mut outlet, body, mut mailbox) = pair();
        drop(body);
        assert!(matches!(
            mailbox.recv().await,
            Some(Command::Disconnected(_))
        ));
        let error = outlet.try_write(&[Bytes::from_static(b"x")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}
