//! The guard in front of gRPC services: by method first, by thread in the method itself.

use std::future::Future;
use std::mem::replace;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tonic::{Code, Status};

use super::{Action, Guard, Identity, Lapse};
use crate::accept::Peer;

/// What a method takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nothing: probes cannot show who they are.
    Open,
    /// That somebody is known and may do this.
    May(Action<'static>),
}

/// The guard, and what each path takes.
pub type GrpcGuard = (Guard, fn(&str) -> Rule);

/// Lets through whoever may call: `UNAUTHENTICATED` for who is not known, `PERMISSION_DENIED` for
/// who may not. What is streamed ends with `UNAUTHENTICATED` when what was shown holds no longer.
pub async fn guard_grpc(
    State((guard, rules)): State<GrpcGuard>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let Rule::May(action) = rules(path) else {
        return next.run(request).await;
    };
    let address = request.extensions().get::<Peer>().map(|peer| peer.address);
    let identity = match guard.identify_request(request.headers(), request.extensions()) {
        Ok(None) => return next.run(request).await,
        Ok(Some(identity)) => identity,
        Err(refusal) => {
            tracing::info!(?address, %refusal, "refused: not known");
            return Status::unauthenticated(format!("authorization: {refusal}")).into_http();
        }
    };
    if let Err(denied) = identity.may(action) {
        tracing::info!(?address, %denied, "refused: not allowed");
        return Status::permission_denied(denied.to_string()).into_http();
    }
    request.extensions_mut().insert(identity.clone());
    let response = next.run(request).await;
    let lapse = Box::pin(guard.lapse(identity));
    response.map(|body| {
        Body::new(Lapsing {
            body,
            lapse,
            begun: false,
            over: false,
        })
    })
}

/// Who calls; `None` where nobody needs to be known.
#[must_use]
pub fn identity_of<T>(request: &tonic::Request<T>) -> Option<Arc<Identity>> {
    request.extensions().get::<Arc<Identity>>().cloned()
}

/// An answer that ends when what its caller had shown holds no longer.
struct Lapsing {
    body: Body,
    lapse: Pin<Box<dyn Future<Output = Lapse> + Send>>,
    /// Whether a message of the answer has gone.
    begun: bool,
    over: bool,
}

impl HttpBody for Lapsing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        // An answer that is ready when it lapses is still the answer. Of a stream that would go on,
        // however fast, nothing more is passed.
        let goes_on = match &frame {
            Poll::Pending => true,
            Poll::Ready(Some(Ok(frame))) => frame.is_data() && replace(&mut self.begun, true),
            Poll::Ready(_) => false,
        };
        if !goes_on {
            return frame;
        }
        let Poll::Ready(lapse) = self.lapse.as_mut().poll(context) else {
            return frame;
        };
        self.over = true;
        // What is dropped with the body ends as if the caller had gone.
        self.body = Body::empty();
        Poll::Ready(Some(Ok(Frame::trailers(ended(lapse)))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl From<Lapse> for Status {
    fn from(lapse: Lapse) -> Self {
        let why = match lapse {
            Lapse::Expired => "has expired",
            Lapse::Withdrawn => "is no longer known",
        };
        Self::unauthenticated(format!(
            "authorization: what was shown {why}; call again with what is valid"
        ))
    }
}

fn ended(lapse: Lapse) -> HeaderMap {
    let status = Status::from(lapse);
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        trailers.insert(
            Status::GRPC_STATUS,
            HeaderValue::from(Code::Unauthenticated as i32),
        );
    }
    trailers
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::*;

    /// An answer whose caller's token has expired already.
    fn lapsed(body: Body) -> Lapsing {
        Lapsing {
            body,
            lapse: Box::pin(std::future::ready(Lapse::Expired)),
            begun: false,
            over: false,
        }
    }

    #[tokio::test]
    async fn a_stream_that_always_has_more_ends_too() {
        let messages = stream::repeat(Bytes::from_static(b"x"));
        let frames = messages.map(|message| Ok::<_, axum::Error>(Frame::data(message)));
        let mut body = lapsed(Body::new(StreamBody::new(frames)));
        let first = body.frame().await.unwrap().unwrap();
        assert!(first.is_data(), "{first:?}");
        let second = body.frame().await.unwrap().unwrap();
        let trailers = second.into_trailers().unwrap();
        assert_eq!(trailers[Status::GRPC_STATUS], "16");
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn an_answer_that_is_ready_is_still_the_answer() {
        let mut trailers = HeaderMap::new();
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
        let answer = Full::new(Bytes::from_static(b"answer"));
        let ended = trailers.clone();
        let answer = answer.with_trailers(std::future::ready(Some(Ok(ended))));
        let whole = lapsed(Body::new(answer)).collect().await.unwrap();
        assert_eq!(whole.trailers(), Some(&trailers));
        assert_eq!(whole.to_bytes(), "answer");
    }
}
