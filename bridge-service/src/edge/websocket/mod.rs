//! Readers over WebSocket: hyper shakes hands, then the bare socket is the hub's to write to.

mod connection;
mod decoder;
mod frame;
mod handshake;
#[cfg(feature = "hot-paths")]
pub(crate) mod hot_paths;
mod message;
mod session;
mod socket;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use service_kit::accept::{Connection, Peer};
use service_kit::access::Identity;
use service_kit::request::carried;
use tokio::sync::OwnedSemaphorePermit;

use super::access::may_read;
use super::ingest::validate::is_synthetic;
use super::query::{self, Refused, Wanted};
use super::readers::{Readers, refusal};
use crate::hub::api::SubscribeError;
use crate::hub::event::{CloseReason, Encoding, Transport};
use crate::hub::goodbye;
use decoder::{Decoder, Incoming};
use handshake::Handshake;
use message::Message;
use session::Session;
use socket::{Socket, SocketOutlet};

/// How long the switch of protocols may take after it was answered.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// A handshake that was answered, and what it asked for.
struct Opening {
    readers: Arc<Readers>,
    encoding: Encoding,
    token: Option<String>,
    peer: Option<Peer>,
    /// `None`: a thread that nobody may read.
    wanted: Option<Wanted>,
    permit: OwnedSemaphorePermit,
}

/// Answers an upgrade; what follows runs in a task of its own.
pub(super) fn upgrade(readers: &Arc<Readers>, mut request: Request) -> Response {
    let handshake = match Handshake::check(&request) {
        Ok(handshake) => handshake,
        Err(answer) => return *answer,
    };
    let wanted = match query::parse(request.uri()) {
        Ok(wanted) => Some(wanted),
        Err(Refused::Invalid(error)) => return refusal(StatusCode::BAD_REQUEST, &error),
        // Browsers cannot read the answer of a failed upgrade, so this one is told in a frame.
        Err(Refused::Forbidden(_)) => None,
    };
    let Ok(permit) = readers.sockets.clone().try_acquire_owned() else {
        let limit = readers.limits.max_sockets;
        let text = format!("sockets: {limit} are open, and no more are allowed");
        return refusal(StatusCode::SERVICE_UNAVAILABLE, &text);
    };
    let answer = handshake.answer();
    let opening = Opening {
        readers: readers.clone(),
        encoding: Encoding {
            subprotocol: handshake.subprotocol,
            transport: Transport::WebSocket,
        },
        token: handshake.token,
        peer: request.extensions().get::<Peer>().cloned(),
        wanted,
        permit,
    };
    let upgraded = hyper::upgrade::on(&mut request);
    readers.tasks.spawn(carried(opening.establish(upgraded)));
    answer
}

impl Opening {
    /// From the switched protocol to a connected reader, or to a goodbye.
    async fn establish(self, upgraded: OnUpgrade) {
        let Ok(Ok(upgraded)) = tokio::time::timeout(UPGRADE_TIMEOUT, upgraded).await else {
            tracing::debug!("a client went away while the protocol was switched");
            return;
        };
        let Some((socket, mut decoder)) = bare(upgraded) else {
            tracing::debug!("an upgraded connection could not be taken over");
            return;
        };
        let reason = match self.admit(&socket, &mut decoder).await {
            Ok((wanted, session)) => return self.subscribe(socket, decoder, wanted, session).await,
            Err(Some(reason)) => reason,
            Err(None) => return,
        };
        self.say_goodbye(&socket, decoder, reason).await;
    }

    /// Who is there, and whether they may read what they want.
    ///
    /// # Errors
    /// The reason for a goodbye; `None` where the client is gone.
    async fn admit(
        &self,
        socket: &Socket,
        decoder: &mut Decoder,
    ) -> Result<(Wanted, Option<Box<Session>>), Option<CloseReason>> {
        let identity = self.authenticate(socket, decoder).await?;
        let wanted = self.wanted.clone().ok_or(CloseReason::Forbidden)?;
        let Some(identity) = identity else {
            return Ok((wanted, None));
        };
        if let Err(denied) = may_read(&identity, &wanted.thread_id) {
            tracing::info!(%denied, "a reader was refused");
            return Err(Some(CloseReason::Forbidden));
        }
        let session = Session::begin(&self.readers.guard, identity, &wanted.thread_id);
        Ok((wanted, Some(Box::new(session))))
    }

    /// Who is there; `None` where nobody needs to be known.
    ///
    /// # Errors
    /// As [`Opening::admit`].
    async fn authenticate(
        &self,
        socket: &Socket,
        decoder: &mut Decoder,
    ) -> Result<Option<Arc<Identity>>, Option<CloseReason>> {
        let guard = &self.readers.guard;
        let shown = guard.identify(self.token.as_deref(), self.peer.as_ref());
        let identified = match shown {
            // Nothing that is known came with the handshake, so a token must come in a frame.
            Err(_) if self.token.is_none() => {
                let timeout = self.readers.limits.auth_frame_timeout;
                let token = tokio::select! {
                    token = self.auth_frame(socket, decoder) => token?,
                    () = tokio::time::sleep(timeout) => {
                        return Err(Some(CloseReason::Unauthenticated));
                    }
                    // The hub does not know it yet, and so cannot tell it.
                    () = self.readers.draining.cancelled() => {
                        return Err(Some(CloseReason::Draining));
                    }
                };
                guard.identify(Some(&token), None)
            }
            identified => identified,
        };
        identified.map_err(|refusal| {
            let address = self.peer.as_ref().map(|peer| peer.address);
            tracing::info!(?address, %refusal, "a reader is not known");
            Some(CloseReason::Unauthenticated)
        })
    }

    /// The token of the first message.
    async fn auth_frame(
        &self,
        socket: &Socket,
        decoder: &mut Decoder,
    ) -> Result<String, Option<CloseReason>> {
        loop {
            let next = decoder.next(self.readers.limits.max_frame_bytes);
            match next.map_err(|violation| Some(violation.reason))? {
                Some(Incoming::Text(text)) => {
                    return match message::parse(&text) {
                        Ok(Message::Authenticate(token)) => Ok(token),
                        Ok(Message::Acknowledge(_)) => Err(Some(CloseReason::Unauthenticated)),
                        Err(_) => Err(Some(CloseReason::ProtocolError)),
                    };
                }
                Some(Incoming::Pong) => {}
                Some(Incoming::Ping(payload)) => {
                    let pong = frame::pong(&payload);
                    socket.write_all(&pong).await.map_err(|_| None)?;
                }
                Some(Incoming::Close(code)) => {
                    let _ = socket.write_all(&frame::close_answer(code)).await;
                    return Err(None);
                }
                None => match socket.wait_and_read_into(decoder).await {
                    Ok(1..) => {}
                    _ => return Err(None),
                },
            }
        }
    }

    async fn subscribe(
        self,
        socket: Socket,
        decoder: Decoder,
        wanted: Wanted,
        session: Option<Box<Session>>,
    ) {
        let socket = Arc::new(socket);
        let synthetic = is_synthetic(&wanted.thread_id);
        let outlet = Box::new(SocketOutlet(socket.clone()));
        let Wanted {
            thread_id,
            position,
        } = wanted;
        let hub = &self.readers.hub;
        let subscribed = hub.subscribe(thread_id, position, self.encoding, outlet, synthetic);
        match subscribed.await {
            Ok(id) => {
                // A task of its own, so that what the handshake needed is given back.
                let Self {
                    readers, permit, ..
                } = self;
                let tasks = readers.tasks.clone();
                tasks.spawn(connection::run(
                    readers, socket, id, decoder, session, permit,
                ));
            }
            Err(error) => {
                tracing::debug!(%error, "a reader was not taken");
                let reason = close_reason(&error);
                self.say_goodbye(&socket, decoder, reason).await;
            }
        }
    }

    async fn say_goodbye(&self, socket: &Socket, mut decoder: Decoder, reason: CloseReason) {
        let retry_after = self.readers.retry_after();
        let goodbye = goodbye(self.encoding, reason, retry_after);
        let written = tokio::time::timeout(connection::CLOSE_WAIT, socket.write_all(&goodbye));
        if let Ok(Ok(())) = written.await {
            connection::finish_closing(socket, &mut decoder).await;
        }
    }
}

/// Takes the socket back from hyper, with the bytes that it had read already.
fn bare(upgraded: Upgraded) -> Option<(Socket, Decoder)> {
    let parts = upgraded.downcast::<TokioIo<Connection>>().ok()?;
    let mut decoder = Decoder::default();
    decoder.feed(&parts.read_buf);
    let socket = Socket::new(parts.io.into_inner().into_parts());
    socket.read_decrypted(&mut decoder).ok()?;
    Some((socket, decoder))
}

const fn close_reason(error: &SubscribeError) -> CloseReason {
    match error {
        SubscribeError::TooManyConnections { .. } | SubscribeError::TooManyThreads { .. } => {
            CloseReason::TooManyConnections
        }
        // A hub that does not answer takes the process down; the reader should come back as well.
        SubscribeError::Draining | SubscribeError::NoAnswer => CloseReason::Draining,
    }
}
