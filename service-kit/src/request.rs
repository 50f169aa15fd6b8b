//! What every request gets, over gRPC and HTTP alike: an id that its log lines carry, and a place in
//! its caller's trace.
//!
//! Most requests say nothing that an id would help to find, so one is made when it is first needed:
//! a request that is answered in silence costs neither an id nor a span of `tracing`.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, OnceLock};
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody as _};
use axum::extract::{MatchedPath, Request};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::response::Response;
use futures_util::future::Either;
use http_body_util::BodyExt as _;
use pin_project_lite::pin_project;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::task::futures::TaskLocalFuture;
use tonic::Status;
use tower::{Layer, Service};
use tracing::Level;

use crate::trace_context::TraceContext;
use crate::traces::{self, Kind, Recorded};

/// Header of a request's id, and metadata key.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id of a caller that is kept, in bytes.
const MAX_ID_BYTES: usize = 128;

tokio::task_local! {
    static CURRENT: Arc<Current>;
}

/// A request under way.
#[derive(Debug)]
struct Current {
    /// The caller's id.
    given: Option<HeaderValue>,
    /// The one that was made for want of the caller's.
    made: OnceLock<HeaderValue>,
    uri: Uri,
    trace: Option<Arc<TraceContext>>,
}

impl Current {
    fn id(&self) -> &HeaderValue {
        let made = || self.made.get_or_init(new_id);
        self.given.as_ref().unwrap_or_else(made)
    }

    /// The id that somebody has seen, or was sent.
    fn known_id(&self) -> Option<&HeaderValue> {
        self.given.as_ref().or_else(|| self.made.get())
    }
}

/// What a log line says of the request that it belongs to: names and values. `None`: it belongs to
/// none.
pub(crate) fn of_line() -> Option<Vec<(&'static str, String)>> {
    CURRENT
        .try_with(|current| {
            let id = current.id().to_str().unwrap_or_default().to_owned();
            let path = current.uri.path().to_owned();
            let mut said = vec![("request_id", id), ("path", path)];
            if let Some(trace) = &current.trace {
                said.push(("trace_id", trace.trace_id().to_owned()));
            }
            said
        })
        .ok()
}

/// What a request leaves to a task of its own still belongs to it.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    match CURRENT.try_with(Arc::clone) {
        Ok(current) => Either::Left(CURRENT.scope(current, work)),
        Err(_) => Either::Right(work),
    }
}

/// Every line that is logged while a request is answered has its id. So has the answer, where the
/// caller sent one, where such a line was logged, and where the request is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observe;

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed(inner)
    }
}

/// See [`Observe`].
#[derive(Clone, Debug)]
pub(crate) struct Observed<S>(S);

impl<S> Service<Request> for Observed<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let caller = TraceContext::of(request.headers());
        let recorded = traces::begin(caller.as_ref(), || described(&request));
        let trace = recorded.as_ref().and_then(Recorded::context).or(caller);
        let trace = trace.map(Arc::new);
        let (given, replaced) = given_id(request.headers());
        let current = Arc::new(Current {
            given,
            made: OnceLock::new(),
            uri: request.uri().clone(),
            trace: trace.clone(),
        });
        if replaced {
            current.id();
        }
        if let Some(trace) = trace {
            request.extensions_mut().insert(trace);
        }
        Answering {
            inner: CURRENT.scope(current.clone(), self.0.call(request)),
            current,
            recorded,
        }
    }
}

pin_project! {
    /// A request that is being answered.
    pub(crate) struct Answering<F> {
        #[pin]
        inner: TaskLocalFuture<Arc<Current>, F>,
        current: Arc<Current>,
        recorded: Option<Recorded>,
    }
}

impl<F> Future for Answering<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.inner.poll(context));
        if tracing::enabled!(Level::DEBUG) {
            let status = response.status().as_u16();
            CURRENT.sync_scope(this.current.clone(), || tracing::debug!(status, "answered"));
        }
        if is_refusal(&response) {
            this.current.id();
        }
        if let Some(id) = this.current.known_id() {
            response.headers_mut().insert(REQUEST_ID, id.clone());
        }
        Poll::Ready(Ok(match this.recorded.take() {
            Some(recorded) => ended_with_body(recorded, response),
            None => response,
        }))
    }
}

fn is_refusal(response: &Response) -> bool {
    let http = response.status();
    let grpc = response.headers().get(Status::GRPC_STATUS);
    http.is_client_error() || http.is_server_error() || grpc.is_some_and(|status| status != "0")
}

/// Which trace a request's work belongs to; `None`: none is known.
#[must_use]
pub fn trace_of(extensions: &Extensions) -> Option<Arc<TraceContext>> {
    extensions.get().cloned()
}

/// The caller's id where a log can show it, and whether one that it cannot is to be replaced.
fn given_id(headers: &HeaderMap) -> (Option<HeaderValue>, bool) {
    let Some(id) = headers.get(REQUEST_ID) else {
        return (None, false);
    };
    let bytes = id.as_bytes();
    let sound = (1..=MAX_ID_BYTES).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    (sound.then(|| id.clone()), !sound)
}

fn new_id() -> HeaderValue {
    let mut made = String::with_capacity(16);
    // Writing to a string does not fail, and hexadecimal digits are a header's value.
    let _ = write!(made, "{:016x}", fastrand::u64(..));
    HeaderValue::try_from(made).unwrap_or(HeaderValue::from_static("none"))
}

/// Every method of the services that are described here, such as `package.Service/Method`.
static METHODS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let described = FileDescriptorSet::decode(monitorable::DESCRIPTORS).unwrap_or_default();
    let mut methods = HashSet::new();
    for file in &described.file {
        for service in &file.service {
            let name = |method: &str| format!("{}.{}/{method}", file.package(), service.name());
            methods.extend(service.method.iter().map(|method| name(method.name())));
        }
    }
    methods
});

/// What a span is called: a method or a route that there is, never what a stranger makes up.
fn described(request: &Request) -> (Kind, String) {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("unknown", MatchedPath::as_str);
    let content = request.headers().get(header::CONTENT_TYPE);
    if !content.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        return (
            Kind::Http,
            format!("{} {route}", shown_method(request.method())),
        );
    }
    let method = request.uri().path().trim_start_matches('/');
    let name = if METHODS.contains(method) {
        method
    } else {
        // A service's route stands for all of its methods: `/package.Service/{*rest}`.
        let service = route.split("/{").next().unwrap_or(route);
        service.trim_start_matches('/')
    };
    (Kind::Grpc, name.to_owned())
}

/// `_OTHER`, as OpenTelemetry's conventions have it, for a method that HTTP does not know.
fn shown_method(method: &Method) -> &str {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ];
    if known.contains(method) {
        method.as_str()
    } else {
        "_OTHER"
    }
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
    use tower::ServiceExt as _;

    use super::*;

    fn with(value: HeaderValue) -> HeaderMap {
        HeaderMap::from_iter([(REQUEST_ID, value)])
    }

    #[test]
    fn a_callers_id_is_kept_where_a_log_can_show_it() {
        for sound in ["order-66", &"x".repeat(128), "{\"a\"}"] {
            let own = HeaderValue::from_str(sound).unwrap();
            assert_eq!(given_id(&with(own.clone())), (Some(own), false));
        }
        for wrong in [
            HeaderValue::from_static(""),
            HeaderValue::from_static("two words"),
            HeaderValue::from_static("tab\t"),
            HeaderValue::from_bytes(&[b'x'; 129]).unwrap(),
            HeaderValue::from_bytes(&[0xe9]).unwrap(),
        ] {
            assert_eq!(given_id(&with(wrong.clone())), (None, true), "{wrong:?}");
        }
        assert_eq!(given_id(&HeaderMap::new()), (None, false));
        assert_eq!(new_id().len(), 16);
        assert_ne!(new_id(), new_id());
    }

    /// The id in the answer to a request that is handled so.
    async fn answered(id: Option<&str>, handle: fn() -> Response) -> Option<String> {
        let inner = tower::service_fn(move |_: Request| async move { Ok(handle()) });
        let mut request = Request::new(Body::empty());
        if let Some(id) = id {
            let id = HeaderValue::from_str(id).unwrap();
            request.headers_mut().insert(REQUEST_ID, id);
        }
        let response = Observe.layer(inner).call(request).await.unwrap();
        let id = response.headers().get(REQUEST_ID)?;
        Some(id.to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn an_answer_has_an_id_where_there_is_something_to_find() {
        let well = || Response::new(Body::empty());
        let refused = || Status::unavailable("").into_http();
        let logged = || {
            of_line().unwrap();
            Response::new(Body::empty())
        };
        assert_eq!(answered(None, well).await, None);
        assert_eq!(answered(Some("a"), well).await.unwrap(), "a");
        assert_eq!(answered(Some("a b"), well).await.unwrap().len(), 16);
        assert_eq!(answered(None, refused).await.unwrap().len(), 16);
        assert_eq!(answered(None, logged).await.unwrap().len(), 16);
        assert_eq!(answered(Some("a"), refused).await.unwrap(), "a");
    }

    #[tokio::test]
    async fn a_task_of_its_own_belongs_to_the_request_only_where_it_is_carried() {
        let current = Arc::new(Current {
            given: Some(HeaderValue::from_static("a")),
            made: OnceLock::new(),
            uri: Uri::from_static("/path"),
            trace: None,
        });
        let both = async {
            let carried = tokio::spawn(carried(async { of_line() }));
            let alone = tokio::spawn(async { of_line() });
            (carried.await.unwrap(), alone.await.unwrap())
        };
        let (with, without) = CURRENT.scope(current, both).await;
        let said = [("request_id", "a".to_owned()), ("path", "/path".to_owned())];
        assert_eq!((with, without), (Some(said.to_vec()), None));
        assert_eq!(carried(async { of_line() }).await, None);
    }

    /// What the span of a request is called that a router of one service took.
    async fn called(method: &str, path: &str, content: &str) -> (Kind, String) {
        let name = async |request: Request| format!("{:?}", described(&request));
        let router = axum::Router::new()
            .route("/livez", axum::routing::any(name))
            .route("/bridge.v1.AgentEvents/{*rest}", axum::routing::any(name))
            .fallback(name);
        let request = axum::http::Request::builder().method(method).uri(path);
        let request = request.header(header::CONTENT_TYPE, content);
        let request = request.body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let kind = if text.contains("Grpc") {
            Kind::Grpc
        } else {
            Kind::Http
        };
        (kind, text.split('"').nth(1).unwrap().to_owned())
    }

    #[tokio::test]
    async fn no_span_is_called_by_what_a_stranger_makes_up() {
        let (text, grpc) = ("text/plain", "application/grpc+proto");
        for (method, path, content, kind, name) in [
            ("GET", "/livez", text, Kind::Http, "GET /livez"),
            ("XYZ", "/livez", text, Kind::Http, "_OTHER /livez"),
            ("GET", "/made/up", text, Kind::Http, "GET unknown"),
            ("POST", "/made.Up/Call", grpc, Kind::Grpc, "unknown"),
            (
                "POST",
                "/bridge.v1.AgentEvents/Publish",
                grpc,
                Kind::Grpc,
                "bridge.v1.AgentEvents/Publish",
            ),
            (
                "POST",
                "/bridge.v1.AgentEvents/MadeUp",
                grpc,
                Kind::Grpc,
                "bridge.v1.AgentEvents",
            ),
        ] {
            let named = called(method, path, content).await;
            assert_eq!(named, (kind, name.to_owned()), "{method} {path}");
        }
    }
}
