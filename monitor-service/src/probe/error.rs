//! What a failed call says about the target: no connection, no answer, a refusal, or nonsense.

use std::error::Error;
use std::time::Duration;

use tonic::{Code, Status};

use super::channel::root_cause;
use super::line::PingTimeout;
use crate::domain::CallError;

/// Longest message of a refusal that is kept, in characters.
const MAX_MESSAGE_CHARS: usize = 512;

/// Classifies a failed call. `keepalive_timeout` is what a ping that stayed unanswered waited.
pub(crate) fn classify(status: &Status, keepalive_timeout: Duration) -> CallError {
    if status.source().is_none() {
        return from_peer(status);
    }
    if ping_timed_out(status) {
        return CallError::TimedOut(keepalive_timeout);
    }
    let why = root_cause(status);
    if find::<h2::Error>(status).is_some_and(h2::Error::is_library) {
        return CallError::Malformed(format!("it does not keep to HTTP/2: {why}"));
    }
    if is_connect(status) {
        CallError::Unreachable(why)
    } else {
        CallError::Unreachable(format!("the connection broke: {why}"))
    }
}

/// A status without a source was sent by the peer, or stands for an answer that tonic could not
/// read.
fn from_peer(status: &Status) -> CallError {
    let message = shorten(status.message());
    let unreadable = match status.code() {
        Code::OutOfRange => message.contains("decoded message length too large"),
        Code::Internal => {
            message.contains("failed to decode Protobuf") || message.contains("Missing response")
        }
        _ => false,
    };
    if unreadable {
        CallError::Malformed(message)
    } else {
        CallError::Refused {
            code: code_name(status.code()).to_owned(),
            message,
        }
    }
}

/// Whether the connection was there and broke before an answer: a call that changes nothing may
/// be sent once more.
pub(crate) fn connection_lost(status: &Status) -> bool {
    status.source().is_some() && !is_connect(status) && !ping_timed_out(status)
}

/// Whether the peer said goodbye in order (GOAWAY without an error).
pub(crate) fn is_goodbye(status: &Status) -> bool {
    find::<h2::Error>(status)
        .is_some_and(|error| error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR))
}

fn ping_timed_out(status: &Status) -> bool {
    find::<PingTimeout>(status).is_some()
        || find::<hyper::Error>(status).is_some_and(hyper::Error::is_timeout)
}

fn is_connect(status: &Status) -> bool {
    find::<tonic::ConnectError>(status).is_some()
}

fn find<T: Error + 'static>(status: &Status) -> Option<&T> {
    let mut next = status.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn shorten(message: &str) -> String {
    message.chars().take(MAX_MESSAGE_CHARS).collect()
}

/// The code's name as the gRPC documents have it.
pub(crate) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_the_peer_is_a_refusal() {
        let status = Status::unavailable("draining");
        assert_eq!(
            classify(&status, Duration::ZERO),
            CallError::Refused {
                code: "UNAVAILABLE".to_owned(),
                message: "draining".to_owned()
            }
        );
        assert!(!connection_lost(&status));
    }

    #[test]
    fn a_refusal_is_kept_short() {
        let status = Status::internal("x".repeat(1_000_000));
        let CallError::Refused { message, .. } = classify(&status, Duration::ZERO) else {
            panic!("not a refusal");
        };
        assert_eq!(message.len(), MAX_MESSAGE_CHARS);
    }
}
