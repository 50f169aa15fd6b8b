//! What every request gets, over gRPC and HTTP alike: an id that its log lines carry, and a place in
//! its caller's trace.

use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::extract::{MatchedPath, Request};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt as _;
use tracing::Instrument as _;

use crate::trace_context::TraceContext;
use crate::traces::{self, Kind, Recorded};

/// Header of a request's id, and metadata key. The caller's own is kept; the answer has it in any
/// case.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id of a caller that is kept, in bytes.
const MAX_ID_BYTES: usize = 128;
/// The target of the spans that put a request's id into its log lines, whatever is logged.
pub(crate) const REQUESTS: &str = "request";

/// Runs a request: every line that is logged meanwhile has its id, and so has its answer.
pub async fn observe(mut request: Request, next: Next) -> Response {
    let id = id(request.headers());
    let caller = TraceContext::of(request.headers());
    let recorded = traces::begin(caller.as_ref(), || described(&request));
    let context = recorded.as_ref().and_then(Recorded::context).or(caller);
    let line = tracing::error_span!(
        target: REQUESTS,
        "request",
        request_id = id.to_str().unwrap_or_default(),
        trace_id = context.as_ref().map(TraceContext::trace_id),
        path = request.uri().path(),
    );
    if let Some(context) = context {
        request.extensions_mut().insert(Arc::new(context));
    }
    let mut response = next.run(request).instrument(line.clone()).await;
    let status = response.status().as_u16();
    tracing::debug!(parent: &line, status, "answered");
    response.headers_mut().insert(REQUEST_ID, id);
    match recorded {
        Some(recorded) => ended_with_body(recorded, response),
        None => response,
    }
}

/// Which trace a request's work belongs to; `None`: none is known.
#[must_use]
pub fn trace_of(extensions: &Extensions) -> Option<Arc<TraceContext>> {
    extensions.get().cloned()
}

/// The caller's id where it can be shown, or a new one.
fn id(headers: &HeaderMap) -> HeaderValue {
    let sound = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=MAX_ID_BYTES).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    headers
        .get(REQUEST_ID)
        .filter(sound)
        .cloned()
        .unwrap_or_else(|| {
            let made = format!("{:016x}", fastrand::u64(..));
            HeaderValue::try_from(made).unwrap_or(HeaderValue::from_static("none"))
        })
}

/// What a span is called: a method or a route, never a path that a stranger makes up.
fn described(request: &Request) -> (Kind, String) {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("unknown", MatchedPath::as_str);
    let content = request.headers().get(header::CONTENT_TYPE);
    let grpc = content.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if !grpc {
        return (Kind::Http, format!("{} {route}", request.method()));
    }
    // A service's route stands for all of its methods.
    let known = route.contains("{*");
    let path = if known { request.uri().path() } else { route };
    (Kind::Grpc, path.trim_start_matches('/').to_owned())
}

/// A span lasts as long as its answer is sent: a stream may go on for hours.
fn ended_with_body(mut recorded: Recorded, response: Response) -> Response {
    recorded.answered(&response);
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _until_the_end = &recorded;
            frame
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(value: HeaderValue) -> HeaderMap {
        HeaderMap::from_iter([(REQUEST_ID, value)])
    }

    #[test]
    fn a_callers_id_is_kept_where_a_log_can_show_it() {
        for sound in ["order-66", &"x".repeat(128), "{\"a\"}"] {
            let own = HeaderValue::from_str(sound).unwrap();
            assert_eq!(id(&with(own.clone())), own);
        }
        for wrong in [
            HeaderValue::from_static(""),
            HeaderValue::from_static("two words"),
            HeaderValue::from_static("tab\t"),
            HeaderValue::from_bytes(&[b'x'; 129]).unwrap(),
            HeaderValue::from_bytes(&[0xe9]).unwrap(),
        ] {
            assert_eq!(id(&with(wrong.clone())).len(), 16, "{wrong:?}");
        }
        assert_ne!(id(&HeaderMap::new()), id(&HeaderMap::new()));
    }

    #[test]
    fn no_span_is_called_by_a_path_that_a_stranger_makes_up() {
        let request = |content: &str| {
            let request = axum::http::Request::builder().uri("/made/up");
            let request = request.header(header::CONTENT_TYPE, content);
            described(&request.body(Body::empty()).unwrap())
        };
        assert_eq!(
            request("text/plain"),
            (Kind::Http, "GET unknown".to_owned())
        );
        let grpc = request("application/grpc+proto");
        assert_eq!(grpc, (Kind::Grpc, "unknown".to_owned()));
    }
}
