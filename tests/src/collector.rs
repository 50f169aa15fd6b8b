//! A collector of traces: takes OTLP over gRPC, keeps every span, and can refuse them all.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::certificates::Issued;

/// The metadata by which a guarded collector knows its clients.
pub const KEY: &str = "x-collector-key";

/// A span as it came, ids in hex.
#[derive(Clone, Debug)]
pub struct Collected {
    /// `service.name` of whoever sent it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// 32 digits.
    pub trace_id: String,
    /// 16 digits.
    pub span_id: String,
    /// 16 digits; empty: it is a root.
    pub parent_id: String,
    /// Everything else.
    pub span: Span,
}

impl Collected {
    /// A number among its attributes.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<i64> {
        match value(&self.span.attributes, key)? {
            Value::IntValue(number) => Some(*number),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    spans: Mutex<Vec<Collected>>,
    refusing: AtomicBool,
    refused: AtomicUsize,
    /// What whoever sends must show as [`KEY`]; empty: nothing.
    key: String,
}

/// A collector that serves.
#[derive(Clone, Debug)]
pub struct Collector {
    state: Arc<State>,
    uri: String,
}

impl Collector {
    /// Serves on a free port until the test ends.
    pub async fn start() -> Self {
        Self::serve(Server::builder(), "http://127.0.0.1", "").await
    }

    /// The same, encrypted, and closed to whoever does not show this as [`KEY`].
    pub async fn guarded(shows: &Issued, key: &str) -> Self {
        let identity = Identity::from_pem(&shows.certificate, &shows.key);
        let encrypted = ServerTlsConfig::new().identity(identity);
        let server = Server::builder().tls_config(encrypted).unwrap();
        Self::serve(server, "https://localhost", key).await
    }

    async fn serve(mut server: Server, host: &str, key: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("{host}:{}", listener.local_addr().unwrap().port());
        let state = State {
            key: key.to_owned(),
            ..State::default()
        };
        let collector = Self {
            state: Arc::new(state),
            uri,
        };
        let server = server
            .add_service(TraceServiceServer::new(collector.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        collector
    }

    /// Where it serves.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Whether it refuses what comes from now on.
    pub fn refuse(&self, refusing: bool) {
        self.state.refusing.store(refusing, Ordering::SeqCst);
    }

    /// How many batches it has refused.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.state.refused.load(Ordering::SeqCst)
    }

    /// The spans that it has taken.
    #[must_use]
    pub fn spans(&self) -> Vec<Collected> {
        self.state.spans.lock().unwrap().clone()
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let shown = request
            .metadata()
            .get(KEY)
            .and_then(|key| key.to_str().ok());
        let known = shown.unwrap_or_default() == self.state.key;
        if !known || self.state.refusing.load(Ordering::SeqCst) {
            self.state.refused.fetch_add(1, Ordering::SeqCst);
            return Err(Status::permission_denied("not now"));
        }
        for sent in request.into_inner().resource_spans {
            let attributes = sent.resource.unwrap_or_default().attributes;
            let service = match value(&attributes, "service.name") {
                Some(Value::StringValue(name)) => name.clone(),
                other => format!("{other:?}"),
            };
            let spans = sent.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.map(|span| Collected {
                service: service.clone(),
                name: span.name.clone(),
                trace_id: hex(&span.trace_id),
                span_id: hex(&span.span_id),
                parent_id: hex(&span.parent_span_id),
                span,
            });
            self.state.spans.lock().unwrap().extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
