//! The guard in front of gRPC services: by method first, by thread in the method itself.

use std::future::Future;
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
        // The answer first: one that is ready when it lapses is still the answer.
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let Poll::Ready(lapse) = self.lapse.as_mut().poll(context) else {
            return Poll::Pending;
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

fn ended(lapse: Lapse) -> HeaderMap {
    let why = match lapse {
        Lapse::Expired => "has expired",
        Lapse::Withdrawn => "is no longer known",
    };
    let status = Status::unauthenticated(format!(
        "authorization: what was shown {why}; call again with what is valid"
    ));
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        trailers.insert(
            Status::GRPC_STATUS,
            HeaderValue::from(Code::Unauthenticated as i32),
        );
    }
    trailers
}
