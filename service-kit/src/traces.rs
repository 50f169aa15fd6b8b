//! Traces: the spans of requests, sent to a collector over OTLP where one is set.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::Uri;
use axum::response::Response;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanKind, Status as SpanStatus, TraceContextExt as _, TraceFlags,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, SpanId, TraceId};
use opentelemetry_otlp::{WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BSP_MAX_QUEUE_SIZE_DEFAULT, Sampler,
    SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use tonic::transport::{ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

use crate::config::{Source, shown_url};
use crate::exposition::Page;
use crate::trace_context::TraceContext;

/// How long one export may take, connecting included.
const EXPORT_DEADLINE: Duration = Duration::from_secs(3);
/// How long the last one may take, at the end of the process.
const LAST_DEADLINE: Duration = Duration::from_secs(2);

/// Of this process, as its log is. Empty: nothing is recorded.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();
/// Spans that wait for the collector, or are on their way to it.
static WAITING: AtomicUsize = AtomicUsize::new(0);
/// What became of the spans of this process.
static SENT: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Writes how many spans of this process the collector took, how many were lost with a failed batch,
/// and how many found the queue full.
pub fn expose(page: &mut Page, name: &str) {
    let mut family = page.counter(name, "Spans of requests by what became of them.");
    for (outcome, count) in [("sent", &SENT), ("failed", &FAILED), ("dropped", &DROPPED)] {
        family.count(&[("outcome", outcome)], count.load(Ordering::Relaxed));
    }
}

/// Spans of this process that were lost.
#[must_use]
pub fn lost() -> u64 {
    FAILED.load(Ordering::Relaxed) + DROPPED.load(Ordering::Relaxed)
}

/// Where traces go.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSettings {
    /// A collector that takes OTLP over gRPC, such as `http://127.0.0.1:4317`.
    pub endpoint: Uri,
    /// Share of the requests that are recorded where the caller has not decided, 0 to 1.
    pub ratio: f64,
}

impl TraceSettings {
    /// The settings `trace.…`, which both services have. `None`: traces go nowhere.
    pub fn take(source: &mut Source) -> Option<Self> {
        let endpoint: String = source.take("trace.otlp_endpoint");
        let ratio = source.take_if("trace.ratio", "a number from 0 to 1", |ratio| {
            (0.0..=1.0).contains(ratio)
        });
        if endpoint.is_empty() {
            return None;
        }
        let known = |uri: &Uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.port().is_some()
                && uri.path_and_query().is_none_or(|it| it == "/")
                && !uri.authority().is_some_and(|it| it.as_str().contains('@'))
        };
        let Some(endpoint) = endpoint.parse().ok().filter(known) else {
            let shown = shown_url(&endpoint);
            source.reject(format!(
                "trace.otlp_endpoint: {shown:?} is not allowed; allowed is http://HOST:PORT or https://HOST:PORT, without user and password"
            ));
            return None;
        };
        Some(Self { endpoint, ratio })
    }
}

/// Traces under way.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to record and to send, under the service's name, where traces go somewhere. Must be
    /// called inside a runtime; the collector need not be there. A second call in one process changes
    /// nothing.
    ///
    /// # Errors
    /// Where the system's certificates cannot be read, or `OTEL_…` variables are not valid.
    pub fn start_where_set(
        settings: Option<&TraceSettings>,
        service: &str,
        component_id: &str,
    ) -> Result<Option<Self>, String> {
        settings
            .map(|settings| Self::start(settings, service, component_id))
            .transpose()
            .map_err(|error| format!("trace.otlp_endpoint: {error}"))
    }

    fn start(settings: &TraceSettings, service: &str, component_id: &str) -> Result<Self, String> {
        let channel = Endpoint::from(settings.endpoint.clone())
            .connect_timeout(EXPORT_DEADLINE)
            .timeout(EXPORT_DEADLINE);
        let channel = match settings.endpoint.scheme_str() {
            Some("https") => channel.tls_config(ClientTlsConfig::new().with_native_roots()),
            _ => Ok(channel),
        };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_channel(channel.map_err(|error| error.to_string())?.connect_lazy())
            .with_timeout(EXPORT_DEADLINE)
            .build()
            .map_err(|error| error.to_string())?;
        let unless_told = Sampler::TraceIdRatioBased(settings.ratio);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Bounded::new(Told {
                exporter,
                lost: AtomicUsize::new(0),
            }))
            .with_sampler(Sampler::ParentBased(Box::new(unless_told)))
            .with_resource(resource(service, component_id))
            .build();
        let _ = TRACER.set(provider.tracer("monitorable"));
        Ok(Self(provider))
    }

    /// Sends what waits, if the collector takes it in time, and ends.
    pub async fn finish(self) {
        // It blocks until the collector has answered.
        let ending =
            tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(LAST_DEADLINE));
        if let Ok(Err(error)) = ending.await {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Who sends. What `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say goes before.
fn resource(service: &str, component_id: &str) -> Resource {
    let own = Resource::builder_empty()
        .with_service_name(service.to_owned())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new(
            "service.instance.id",
            component_id.to_owned(),
        ))
        .with_detector(Box::new(EnvResourceDetector::new()));
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) => own.with_service_name(name).build(),
        Err(_) => own.build(),
    }
}

/// The SDK's queue drops what it has no room for in silence; this one counts it.
#[derive(Debug)]
struct Bounded {
    spans: BatchSpanProcessor,
    /// Spans that may wait: as many as the SDK's queue holds.
    room: usize,
}

impl Bounded {
    fn new(exporter: Told) -> Self {
        let set = std::env::var(OTEL_BSP_MAX_QUEUE_SIZE).ok();
        Self {
            spans: BatchSpanProcessor::builder(exporter).build(),
            room: set
                .and_then(|size| size.parse().ok())
                .unwrap_or(OTEL_BSP_MAX_QUEUE_SIZE_DEFAULT),
        }
    }
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.spans.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if WAITING.fetch_add(1, Ordering::Relaxed) >= self.room {
            WAITING.fetch_sub(1, Ordering::Relaxed);
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.spans.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.spans.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.spans.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.spans.set_resource(resource);
    }
}

/// An exporter that says in the log when it begins to fail, and when that is over: not each time.
#[derive(Debug)]
struct Told {
    exporter: opentelemetry_otlp::SpanExporter,
    /// Spans lost in a row.
    lost: AtomicUsize,
}

impl SpanExporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        WAITING.fetch_sub(spans, Ordering::Relaxed);
        let count = if result.is_ok() { &SENT } else { &FAILED };
        count.fetch_add(spans as u64, Ordering::Relaxed);
        match &result {
            Ok(()) => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::info!(lost, "traces are sent again");
                }
            }
            Err(error) => {
                if self.lost.fetch_add(spans, Ordering::Relaxed) == 0 {
                    tracing::warn!(%error, "traces cannot be sent and are lost until they can");
                }
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// What a request came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Grpc,
    Http,
}

/// A request that is recorded: its span ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Recorded {
    span: Span,
    kind: Kind,
}

/// Begins to record a request as a part of its caller's trace; `None` where it is not recorded.
pub(crate) fn begin(
    caller: Option<&TraceContext>,
    described: impl FnOnce() -> (Kind, String),
) -> Option<Recorded> {
    let tracer = TRACER.get()?;
    if caller.is_some_and(|caller| !caller.is_sampled()) {
        return None;
    }
    let (kind, name) = described();
    let parent = Context::new();
    let parent = match caller.and_then(remote) {
        Some(caller) => parent.with_remote_span_context(caller),
        None => parent,
    };
    let span = tracer
        .span_builder(name)
        .with_kind(SpanKind::Server)
        .start_with_context(tracer, &parent);
    let recorded = span.span_context().is_sampled();
    recorded.then_some(Recorded { span, kind })
}

impl Recorded {
    /// What goes on from here.
    pub(crate) fn context(&self) -> Option<TraceContext> {
        let own = self.span.span_context();
        let (trace, span, flags) = (own.trace_id(), own.span_id(), own.trace_flags().to_u8());
        let parent = format!("00-{trace}-{span}-{flags:02x}");
        TraceContext::parse(&parent, &own.trace_state().header())
    }

    /// Notes how it was answered.
    pub(crate) fn answered(&mut self, response: &Response) {
        let http = response.status();
        // A call that failed at once says so in its head; a stream that fails later does not.
        let grpc = Status::from_header_map(response.headers()).map(|status| status.code());
        let (name, code, failed) = match self.kind {
            Kind::Http => (
                "http.response.status_code",
                i64::from(http.as_u16()),
                http.is_server_error(),
            ),
            Kind::Grpc => {
                let code = grpc.unwrap_or(Code::Ok);
                ("rpc.grpc.status_code", code as i64, is_own_fault(code))
            }
        };
        self.span.set_attribute(KeyValue::new(name, code));
        if failed {
            self.span.set_status(SpanStatus::error(""));
        }
    }
}

/// The codes that say that the service failed, and not its caller.
fn is_own_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

fn remote(caller: &TraceContext) -> Option<SpanContext> {
    let trace = TraceId::from_hex(caller.trace_id()).ok()?;
    let span = SpanId::from_hex(caller.span_id()).ok()?;
    let state = caller
        .tracestate()
        .parse::<TraceState>()
        .unwrap_or_default();
    let flags = TraceFlags::new(caller.flags());
    Some(SpanContext::new(trace, span, flags, true, state))
}
