//! A connected client's task: it reads, and wakes the hub when a full socket takes bytes again.
//!
//! Ten thousand of these sleep at once, so the future holds next to nothing: buffers live on the
//! stack of one call, and whatever is rare is boxed. Heartbeats, pings and silence are the hub's.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use service_kit::rate::Account;
use tokio::sync::OwnedSemaphorePermit;

use super::decoder::{Decoder, Incoming};
use super::frame;
use super::message::{self, Message};
use super::session::Session;
use super::socket::{Signal, Socket};
use crate::edge::readers::Readers;
use crate::hub::api::{Command, ConnectionId};
use crate::hub::event::CloseReason;

/// How long a client may take to answer a close frame, and the hub to let go of a socket.
pub(super) const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// Reads of one turn; after them the hub is told and other tasks may run.
const READS_PER_TURN: usize = 4;

/// What one turn of reading came to. Later acknowledgements and pings stand for earlier ones.
#[derive(Debug, Default)]
struct Turn {
    alive: bool,
    messages: usize,
    acknowledged: Option<u64>,
    pong: Option<Bytes>,
    end: Option<End>,
}

/// Why nothing more is read.
#[derive(Debug)]
enum End {
    /// The peer is gone without a word.
    Gone,
    /// The peer closed, with this code.
    Closed(Option<u16>),
    /// The bridge closes, for this reason.
    Refused(CloseReason),
}

/// Serves the client until its socket is closed. The permit is given back with it.
pub(super) async fn run(
    readers: Arc<Readers>,
    socket: Arc<Socket>,
    id: ConnectionId,
    mut decoder: Decoder,
    mut session: Option<Box<Session>>,
    permit: OwnedSemaphorePermit,
) {
    let mut listening = true;
    let mut turn = understand(&readers, &mut session, &mut decoder);
    let rate = readers.limits.max_message_rate;
    let mut account = Account::new(rate, readers.clock.now().monotonic);
    loop {
        let mut over = |messages| {
            let now = readers.clock.now().monotonic;
            account.take(messages, rate, now).is_err()
        };
        if turn.messages > 0 && listening && over(turn.messages) {
            turn.end = Some(End::Refused(CloseReason::TooManyMessages));
        }
        let end = turn.end.take();
        if turn.alive {
            // Also where it is the last turn: what was acknowledged before the end counts.
            Box::pin(tell(&readers, id, turn)).await;
        }
        match end {
            None => {}
            Some(End::Gone) => {
                break Box::pin(readers.hub.tell(Command::Disconnected(id))).await;
            }
            Some(End::Closed(code)) => {
                break Box::pin(answer_close(&readers, &socket, id, code)).await;
            }
            Some(End::Refused(reason)) => {
                listening = false;
                session = None;
                Box::pin(readers.hub.tell(Command::Close(id, reason))).await;
            }
        }
        turn = Turn::default();
        let signal = match &mut session {
            None => socket.signal(listening).await,
            Some(session) => tokio::select! {
                signal = socket.signal(listening) => signal,
                reason = session.lapsed() => {
                    turn.end = Some(End::Refused(reason));
                    continue;
                }
            },
        };
        match signal {
            Signal::Readable => turn = read(&readers, &socket, &mut session, &mut decoder),
            Signal::Writable => Box::pin(readers.hub.tell(Command::Writable(id))).await,
            Signal::Released => break Box::pin(finish_closing(&socket, &mut decoder)).await,
        }
    }
    drop(permit);
}

async fn tell(readers: &Readers, id: ConnectionId, turn: Turn) {
    // An acknowledgement is a sign of life too.
    let sign_of_life = match turn.acknowledged {
        Some(sequence) => Command::Acknowledge(id, sequence),
        None => Command::Alive(id),
    };
    readers.hub.tell(sign_of_life).await;
    if let Some(pong) = turn.pong {
        readers.hub.tell(Command::Control(id, pong)).await;
    }
}

fn read(
    readers: &Readers,
    socket: &Socket,
    session: &mut Option<Box<Session>>,
    decoder: &mut Decoder,
) -> Turn {
    let mut turn = Turn::default();
    for _ in 0..READS_PER_TURN {
        match socket.read_into(decoder) {
            Ok(0) => turn.end = Some(End::Gone),
            Ok(_) => merge(&mut turn, understand(readers, session, decoder)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => turn.end = Some(End::Gone),
        }
        if turn.end.is_some() {
            break;
        }
    }
    turn
}

fn merge(turn: &mut Turn, later: Turn) {
    turn.alive |= later.alive;
    turn.messages += later.messages;
    turn.acknowledged = turn.acknowledged.max(later.acknowledged);
    turn.pong = later.pong.or(turn.pong.take());
    turn.end = later.end;
}

/// Takes every whole message that the decoder has.
fn understand(
    readers: &Readers,
    session: &mut Option<Box<Session>>,
    decoder: &mut Decoder,
) -> Turn {
    let mut turn = Turn::default();
    while turn.end.is_none() {
        match decoder.next(readers.limits.max_frame_bytes) {
            Ok(None) => break,
            Ok(Some(incoming)) => {
                turn.alive = true;
                turn.messages += 1;
                take(session, &mut turn, incoming);
            }
            Err(violation) => {
                tracing::debug!(what = violation.what, "a client broke the protocol");
                turn.end = Some(End::Refused(violation.reason));
            }
        }
    }
    turn
}

fn take(session: &mut Option<Box<Session>>, turn: &mut Turn, incoming: Incoming) {
    match incoming {
        Incoming::Pong => {}
        Incoming::Ping(payload) => turn.pong = Some(frame::pong(&payload)),
        Incoming::Close(code) => turn.end = Some(End::Closed(code)),
        Incoming::Text(text) => match message::parse(&text) {
            Ok(Message::Acknowledge(sequence)) => {
                turn.acknowledged = turn.acknowledged.max(Some(sequence));
            }
            Ok(Message::Authenticate(token)) => {
                let renewed = session.as_mut().map(|session| session.renew(&token));
                turn.end = renewed.and_then(Result::err).map(End::Refused);
            }
            Err(what) => {
                tracing::debug!(what, "a client sent a message that is not known");
                turn.end = Some(End::Refused(CloseReason::ProtocolError));
            }
        },
    }
}

/// Answers the peer's close frame once the hub has let go of the socket.
async fn answer_close(readers: &Readers, socket: &Socket, id: ConnectionId, code: Option<u16>) {
    readers.hub.tell(Command::Disconnected(id)).await;
    let answered = async {
        while socket.signal(false).await != Signal::Released {}
        if socket.between_frames() {
            // A peer that has gone meanwhile has nothing to be told.
            let _ = socket.write_all(&frame::close_answer(code)).await;
        }
    };
    let _ = tokio::time::timeout(CLOSE_WAIT, answered).await;
}

/// Waits for the peer's answer to the close frame that the hub has sent: a socket closed with unread
/// bytes would be reset, and the goodbye lost with it.
pub(super) async fn finish_closing(socket: &Socket, decoder: &mut Decoder) {
    let answered = async {
        if socket.flush().await.is_err() {
            return;
        }
        while let Ok(1..) = socket.wait_and_read_into(decoder).await {
            // After a violation nothing can be understood; then the peer's end is waited for.
            while let Ok(Some(incoming)) = decoder.next(READ_AWAY_BYTES) {
                if matches!(incoming, Incoming::Close(_)) {
                    return;
                }
            }
            decoder.forget_over(READ_AWAY_BYTES);
        }
    };
    let _ = tokio::time::timeout(CLOSE_WAIT, answered).await;
}

/// Largest frame that is still understood while closing, in bytes.
const READ_AWAY_BYTES: usize = 64 * 1024;
