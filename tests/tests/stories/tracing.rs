//! Who asks what happened to one request finds it: by its id in the log, and as one trace from the
//! agent through the bridge to what the chat user got.

use std::time::Duration;

use http::Method;
use monitorable::bridge::v1::agent_events_client::AgentEventsClient;
use monitorable::bridge::v1::{AgentEvent, EventType, PublishRequest, PublishStreamRequest};
use monitorable::monitorable::v1::GetHealthStatusRequest;
use monitorable::monitorable::v1::monitorable_client::MonitorableClient;
use monitorable_tests::calls::Target;
use monitorable_tests::certificates::Authority;
use monitorable_tests::collector::{Collected, Collector, KEY};
use monitorable_tests::eventually::{eventually, holds};
use monitorable_tests::http::{get, request};
use monitorable_tests::process::Service;
use monitorable_tests::publisher::Run;
use monitorable_tests::reader::{Options, Reader};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::Value;
use tokio::net::TcpListener;
use tonic::{Code, Request};

use crate::pair::SOON;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const STATE: &str = "vendor=a1";
const SERVICES: [&str; 2] = ["bridge-service", "monitor-service"];
/// Spans are sent soon, so that the test need not wait.
const AT_ONCE: [(&str, &str); 1] = [("OTEL_BSP_SCHEDULE_DELAY", "20")];
/// What a drain without readers and the last export may take, and a slow machine.
const IN_TIME: Duration = Duration::from_secs(5);

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

/// A request inside the caller's trace.
fn traced<T>(message: T, traceparent: &str) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", traceparent.parse().unwrap());
    metadata.insert("tracestate", STATE.parse().unwrap());
    metadata.insert("x-request-id", "order-66".parse().unwrap());
    request
}

fn event(run: &mut Run, traceparent: &str) -> AgentEvent {
    AgentEvent {
        traceparent: traceparent.to_owned(),
        ..run.event(EventType::AgentMessage)
    }
}

/// Publishes one event after the other; what readers are shown as their traces.
async fn shown(bridge: &Service, calls: &[(&str, &str)], subprotocol: &str) -> Vec<Value> {
    Target::at(&bridge.uri()).until_healthy(SOON).await;
    let options = Options::thread("chat").subprotocol(subprotocol);
    let mut reader = Reader::connect(bridge.http, options).await;
    let mut client = AgentEventsClient::new(bridge.channel());
    let mut run = Run::new("chat", "run-1");
    for (call, own) in calls {
        let events = vec![event(&mut run, own)];
        let answer = client
            .publish(traced(PublishRequest { events }, call))
            .await;
        let answer = answer.unwrap();
        assert_eq!(answer.metadata().get("x-request-id").unwrap(), "order-66");
        assert_eq!(answer.into_inner().receipts[0].error, "");
    }
    let is_event = |value: &Value| value["seq"].as_u64() > Some(0) || value["sequence"].is_string();
    let is_event = |value: &Value| is_event(value) && value["type"] != "welcome";
    let record = reader
        .until(SOON, "every event", |record| {
            let values = record.frames.iter().filter(|frame| is_event(&frame.value));
            values.count() >= calls.len()
        })
        .await;
    let values = record.frames.iter().map(|frame| frame.value.clone());
    values.filter(is_event).collect()
}

async fn collected(collector: &Collector, count: usize) -> Vec<Collected> {
    eventually(SOON, "the spans are collected", || async {
        let mut spans = collector.spans();
        spans.retain(|span| span.trace_id == TRACE);
        holds(spans.len() >= count, &spans).map(|()| spans)
    })
    .await
}

#[tokio::test]
async fn a_trace_goes_from_the_agent_through_the_bridge_to_what_a_user_is_shown() {
    let collector = Collector::start().await;
    let flags = [
        "--trace-otlp-endpoint",
        collector.uri(),
        "--trace-ratio",
        "0",
    ];
    let bridge = Service::bridge(&flags).await;
    let own = "00-4bf92f3577b34da6a3ce929d0e0e4736-1111111111111111-01";
    let calls = [(parent("01"), ""), (parent("01"), own), (parent("00"), "")];
    let calls = calls.each_ref().map(|(call, own)| (call.as_str(), *own));
    let shown = shown(&bridge, &calls, "cloudevents.json").await;
    // Whatever waits is sent at the end.
    assert!(bridge.stop().await.success());

    // The third call is not recorded, as its caller wants, and neither are the probes' at this ratio.
    let spans = collected(&collector, 2).await;
    assert_eq!(collector.spans().len(), 2, "{:?}", collector.spans());
    for span in &spans {
        assert_eq!(span.service, "bridge-service");
        assert_eq!(span.name, "bridge.v1.AgentEvents/Publish");
        assert_eq!(span.parent_id, CALLER);
        assert_eq!(span.span.kind(), SpanKind::Server);
        assert_eq!(span.span.trace_state, STATE);
        assert_eq!(span.number("rpc.grpc.status_code"), Some(0));
    }
    let from_bridge = format!("00-{TRACE}-{}-01", spans[0].span_id);
    let parents = [from_bridge, own.to_owned(), parent("00")];
    for (event, parent) in shown.iter().zip(&parents) {
        assert_eq!(event["traceparent"], *parent, "{event}");
    }
    assert_eq!(shown[0]["tracestate"], STATE);
    assert!(shown[1].get("tracestate").is_none(), "{}", shown[1]);
}

#[tokio::test]
async fn a_stream_is_one_span_that_lasts_as_long_as_it_does() {
    let collector = Collector::start().await;
    let flags = [
        "--trace-otlp-endpoint",
        collector.uri(),
        "--trace-ratio",
        "0",
    ];
    let bridge = Service::start_in(&AT_ONCE, "bridge-service", &flags).await;
    Target::at(&bridge.uri()).until_healthy(SOON).await;
    let mut reader = Reader::connect(bridge.http, Options::thread("chat")).await;
    let mut run = Run::new("chat", "run-1");
    let (batches, sent) = tokio::sync::mpsc::channel(1);
    let sent = tokio_stream::wrappers::ReceiverStream::new(sent);
    let mut client = AgentEventsClient::new(bridge.channel());
    let answers = client.publish_stream(traced(sent, &parent("01"))).await;
    let mut answers = answers.unwrap().into_inner();
    for _ in 0..2 {
        let events = vec![event(&mut run, "")];
        batches.send(PublishStreamRequest { events }).await.unwrap();
        answers.message().await.unwrap().unwrap();
    }
    let record = reader.until_events(SOON, 2).await;
    assert!(collector.spans().is_empty(), "{:?}", collector.spans());
    drop(batches);
    assert!(answers.message().await.unwrap().is_none());
    let spans = collected(&collector, 1).await;
    let from_bridge = format!("00-{TRACE}-{}-01", spans[0].span_id);
    for event in record.events() {
        assert_eq!(event.text("traceparent"), from_bridge);
    }
}

#[tokio::test]
async fn without_a_collector_the_callers_trace_is_passed_on_and_a_bad_one_loses_no_event() {
    let bridge = Service::bridge(&[]).await;
    let later = format!("01-{TRACE}-{CALLER}-01-more");
    let (sampled, nothing) = (parent("01"), "00-0000-0000-01");
    let calls = [
        (sampled.as_str(), ""),
        (&later, nothing),
        (nothing, nothing),
    ];
    let shown = shown(&bridge, &calls, "monitorable.v1.json").await;
    assert_eq!(shown[0]["traceparent"], sampled);
    assert_eq!(shown[0]["tracestate"], STATE);
    assert_eq!(shown[1]["traceparent"], sampled, "as version 00");
    assert!(shown[2].get("traceparent").is_none(), "{}", shown[2]);
}

#[tokio::test]
async fn every_request_of_both_services_has_an_id_in_its_answer_and_its_log_lines() {
    for name in SERVICES {
        let flags = ["--log-format", "json", "--log-level", "service_kit=debug"];
        let service = Service::start_in(&[], name, &flags).await;
        let mut client = MonitorableClient::new(service.channel());
        let called = traced(GetHealthStatusRequest::default(), &parent("01"));
        let answer = client.get_health_status(called).await.unwrap();
        assert_eq!(answer.metadata().get("x-request-id").unwrap(), "order-66");
        let wrong = "two words".to_owned() + &"x".repeat(200);
        let headers = [("x-request-id", wrong.as_str())];
        let answer = request(service.http, Method::GET, "/livez", &headers, "").await;
        let made = answer.header("x-request-id").to_owned();
        assert_eq!(made.len(), 16, "{name}: {made}");
        // What is refused, or is not there, has one too.
        let unknown = get(service.http, "/nowhere").await;
        assert_eq!(unknown.header("x-request-id").len(), 16);
        let mut agent = AgentEventsClient::new(service.channel());
        let refused = agent.publish(PublishRequest::default()).await.unwrap_err();
        assert!(
            matches!(refused.code(), Code::InvalidArgument | Code::Unimplemented),
            "{refused}"
        );
        assert_eq!(refused.metadata().get("x-request-id").unwrap().len(), 16);
        eventually(SOON, "the lines of both requests", || async {
            let log = service.log();
            let lines = log
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok());
            let lines: Vec<Value> = lines
                .filter(|line: &Value| line["message"] == "answered")
                .collect();
            let called = lines.iter().any(|line| {
                line["request_id"] == "order-66"
                    && line["trace_id"] == TRACE
                    && line["path"] == "/monitorable.v1.Monitorable/GetHealthStatus"
            });
            let replaced = lines.iter().any(|line| line["request_id"] == made.as_str());
            holds(called && replaced, log)
        })
        .await;
    }
}

#[tokio::test]
async fn a_collector_that_refuses_is_told_of_once_and_so_is_its_return() {
    for name in SERVICES {
        let collector = Collector::start().await;
        collector.refuse(true);
        let flags = [
            "--trace-otlp-endpoint",
            collector.uri(),
            "--trace-ratio",
            "1",
        ];
        let service = Service::start_in(&AT_ONCE, name, &flags).await;
        eventually(SOON, "three batches are refused", || async {
            assert_eq!(get(service.http, "/livez").await.status, 200);
            let refused = collector.refused();
            holds(refused >= 3, refused)
        })
        .await;
        collector.refuse(false);
        let told = |what: &str| {
            let log = service.log();
            log.iter().filter(|line| line.contains(what)).count()
        };
        eventually(SOON, "traces are sent again", || async {
            get(service.http, "/livez").await;
            holds(told("traces are sent again") == 1, service.log())
        })
        .await;
        assert_eq!(told("traces cannot be sent"), 1, "{:?}", service.log());
        let spans = collector.spans();
        let livez = spans.iter().find(|span| span.name == "GET /livez").unwrap();
        assert_eq!(
            (livez.service.as_str(), livez.parent_id.as_str()),
            (name, "")
        );
        assert_eq!(livez.number("http.response.status_code"), Some(200));
        assert!(service.stop().await.success());
    }
}

#[tokio::test]
async fn a_collector_behind_tls_that_asks_for_a_key_gets_the_traces_and_no_other_does() {
    let (known, stranger) = (Authority::new("known"), Authority::new("stranger"));
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), &known.pem).unwrap();
    let roots = roots.path().display().to_string();
    let secret = "hush-hush-hush";
    let shown = format!("{KEY}={secret}");
    let variables = [
        AT_ONCE[0],
        ("SSL_CERT_FILE", &roots),
        ("OTEL_EXPORTER_OTLP_HEADERS", &shown),
    ];
    for name in SERVICES {
        for (authority, key, taken) in [
            (&known, secret, true),
            (&known, "another", false),
            (&stranger, secret, false),
        ] {
            let collector = Collector::guarded(&authority.server(), key).await;
            let flags = [
                "--trace-otlp-endpoint",
                collector.uri(),
                "--trace-ratio",
                "1",
            ];
            let service = Service::start_in(&variables, name, &flags).await;
            let what = format!("{name}: traces are taken: {taken}");
            eventually(SOON, &what, || async {
                get(service.http, "/livez").await;
                let told = |line: &String| line.contains("traces cannot be sent");
                let lost = service.log().iter().any(told);
                let came = !collector.spans().is_empty();
                holds((came, lost) == (taken, !taken), service.log())
            })
            .await;
            let log = service.log().join("\n");
            assert!(!log.contains(secret), "{log}");
        }
    }
}

#[tokio::test]
async fn a_collector_that_hangs_or_is_gone_delays_no_event_and_no_end() {
    // One accepts, by its backlog, and never says a word; the other is not there.
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uris = [&hanging, &gone].map(|end| format!("http://{}", end.local_addr().unwrap()));
    drop(gone);
    for (uri, name) in uris.iter().flat_map(|uri| SERVICES.map(|name| (uri, name))) {
        let flags = ["--trace-otlp-endpoint", uri, "--trace-ratio", "1"];
        let small = [AT_ONCE[0], ("OTEL_BSP_MAX_QUEUE_SIZE", "8")];
        let mut service = Service::start_in(&small, name, &flags).await;
        if name == "bridge-service" {
            let sampled = parent("01");
            let calls = [(sampled.as_str(), ""); 100];
            let shown = shown(&service, &calls, "monitorable.v1.json").await;
            assert_eq!(shown.len(), 100);
            let page = get(service.http, "/metrics").await.body;
            let lost = |outcome: &str| {
                let of = format!("bridge_trace_spans_total{{outcome=\"{outcome}\"}} ");
                let count = page
                    .lines()
                    .find_map(|line| line.strip_prefix(&of))
                    .unwrap();
                count.parse::<u64>().unwrap()
            };
            assert!(lost("failed") + lost("dropped") > 0, "{page}");
            // More than eight do not wait for a collector that says nothing.
            let silent = *uri == uris[0];
            assert!(!silent || lost("dropped") > 0, "{page}");
            assert_eq!(lost("sent"), 0);
        }
        eventually(SOON, "it is told of", || async {
            get(service.http, "/livez").await;
            let log = service.log();
            let told = log
                .iter()
                .any(|line| line.contains("traces cannot be sent"));
            holds(told, log)
        })
        .await;
        service.terminate();
        let ended = tokio::time::timeout(IN_TIME, service.ended()).await;
        assert!(ended.unwrap().success(), "{name} at {uri}");
    }
}
