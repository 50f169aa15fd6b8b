//! The table of settings: flags, environment names, help and defaults all follow from it.

use service_kit::config::Spec;

/// Names of environment variables begin with it.
pub(crate) const PREFIX: &str = "BRIDGE";

const fn spec(path: &'static str, default: &'static str, help: &'static str) -> Spec {
    Spec {
        path,
        default,
        help,
    }
}

/// Settings whose values are never printed.
pub(crate) const SECRETS: &[&str] = &["auth.tokens", "auth.jwks_url"];

/// Every setting, in the order in which `--help` and `--print-config` show them.
#[rustfmt::skip]
pub(crate) const SPECS: &[Spec] = &[
    spec("insecure", "false", "Let a port that other machines can reach stand open to everybody, and an open one be called by any host name; true or false. For networks that keep strangers out themselves."),
    spec("component.id", "bridge-service", "Stable name of this component: 1 to 128 bytes of printable ASCII without spaces."),
    spec("grpc.listen", "127.0.0.1:50051", "Address of the gRPC port; port 0 takes a free one."),
    spec("grpc.reflection", "true", "Whether server reflection is served, to whoever is known; true or false."),
    spec("grpc.tls_certificate_file", "", "PEM file with the certificate chain of the gRPC port; empty: it is served without TLS."),
    spec("grpc.tls_key_file", "", "PEM file with the certificate's private key."),
    spec("grpc.tls_client_ca_file", "", "PEM file with the roots of client certificates; empty: no client is asked for one."),
    spec("grpc.tls_client_certificates", "optional", "Whether a client must show a certificate of these roots: optional or required."),
    spec("grpc.max_connections", "10000", "Connections at once; the next one waits until another ends. 1 to 1000000."),
    spec("grpc.max_connections_per_address", "0", "Connections at once from one address; the next one is closed at once. 0 to 1000000, 0: no such limit."),
    spec("grpc.handshake_timeout", "10s", "How long a connection may take to shake hands: TLS, where there is TLS, and the first words of HTTP/2; 100ms to 5m."),
    spec("grpc.max_header_bytes", "16384", "Largest head of a request, in bytes; 8192 to 1048576."),
    spec("http.listen", "127.0.0.1:8080", "Address of the HTTP port; port 0 takes a free one."),
    spec("http.metrics", "true", "Whether /metrics is served, to whoever may look at health; true or false."),
    spec("http.tls_certificate_file", "", "PEM file with the certificate chain of the HTTP port; empty: it is served without TLS."),
    spec("http.tls_key_file", "", "PEM file with the certificate's private key."),
    spec("http.tls_client_ca_file", "", "PEM file with the roots of client certificates; empty: no client is asked for one."),
    spec("http.tls_client_certificates", "optional", "Whether a client must show a certificate of these roots: optional or required."),
    spec("http.max_connections", "10000", "Connections that may speak HTTP at once, SSE readers included; the next one waits until another ends. 1 to 1000000."),
    spec("http.max_connections_per_address", "0", "Connections at once from one address; the next one is closed at once. 0 to 1000000, 0: no such limit."),
    spec("http.handshake_timeout", "10s", "How long the TLS handshake of a connection may take; 100ms to 5m."),
    spec("http.max_header_bytes", "16384", "Largest head of a request, in bytes; 8192 to 1048576."),
    spec("http.header_timeout", "10s", "How long a request's head may take to arrive; 100ms to 5m."),
    spec("http.allowed_origins", "", "Origins of web pages that may read, separated by commas, such as https://chat.example; * is any. Empty: any where readers show a token, and pages of this machine where they don't. Their hosts are names too by which an open port may be called."),
    spec("log.level", "info", "Level or directives, such as debug or info,hyper=warn."),
    spec("log.format", "text", "Form of log lines: text or json."),
    spec("trace.otlp_endpoint", "", "Collector that is sent the traces of requests, by OTLP over gRPC: http://HOST:PORT or https://HOST:PORT; empty: they go nowhere."),
    spec("trace.ratio", "0.01", "Share of the requests that are traced where their caller has not decided; 0 to 1."),
    spec("auth.tokens", "", "Bearer tokens that readers may show, separated by commas, each 16 to 512 bytes; empty: nobody needs one."),
    spec("auth.access_file", "", "TOML file with [[tokens]] and [[certificates]]: who they are and what they may do (docs/ACCESS.md); empty: none."),
    spec("auth.jwt_key_file", "", "File with the key that JWTs are signed with: a public key in PEM, or the secret of HS256 of 32 bytes or more; empty: none."),
    spec("auth.jwks_file", "", "File with the JWKS that JWTs are signed with; empty: none."),
    spec("auth.jwks_url", "", "URL of such a JWKS, https://, or http:// to this machine itself; empty: none. Secret: only its host is logged, and --print-config hides it."),
    spec("auth.jwks_interval", "5m", "Between two fetches of auth.jwks_url, which is also fetched when the settings are read again; 1s to 1d."),
    spec("auth.jwt_audience", "", "What a JWT must name in aud; needed wherever there are keys."),
    spec("auth.jwt_issuer", "", "What a JWT must name in iss; empty: anything."),
    spec("auth.jwt_leeway", "30s", "How far the clock of whoever issues JWTs may be off; 0s to 10m."),
    spec("auth.frame_timeout", "5s", "How long a WebSocket client without a token in its handshake may take to send the auth frame; 100ms to 5m."),
    spec("websocket.max_frame_bytes", "4096", "Largest message that a WebSocket client may send, in bytes; 128 to 1048576."),
    spec("websocket.max_messages_per_second", "10000", "Messages a second that a WebSocket client may send, acknowledgements among them; over it the connection is closed with 1008. 0 to 1000000000, 0: any number."),
    spec("ingest.max_data_bytes", "65536", "Largest data of one event, in bytes; 1 to 16777216."),
    spec("ingest.max_batch_events", "1000", "Events in one batch; 1 to 100000."),
    spec("ingest.max_message_bytes", "16777216", "Largest gRPC message, in bytes; 4096 to 268435456."),
    spec("ingest.max_streams", "1000", "PublishStream calls open at once; 1 to 100000."),
    spec("ingest.stream_batches", "8", "Batches of one PublishStream that may wait for their answers; 1 to 1000."),
    spec("ingest.max_events_per_second", "0", "Events a second that one agent may hand in, by its name, or by its address where nobody needs to be known; over it Publish fails with RESOURCE_EXHAUSTED and PublishStream waits. 0 to 1000000000, 0: any number."),
    spec("hub.mailbox", "4096", "Messages that may wait for the hub; at the limit senders wait. 16 to 1000000."),
    spec("hub.threads", "100000", "Threads held; at the limit events and readers of a new one are refused. 1 to 100000000."),
    spec("hub.runs", "200000", "Runs held; at the limit finished ones are forgotten, oldest first. 1 to 100000000."),
    spec("hub.run_idle", "1h", "How long a run without events is held; 1s to 30d."),
    spec("hub.connections", "50000", "Readers connected; at the limit a new one is closed with 4010. 1 to 10000000."),
    spec("hub.window_events", "1024", "Events kept for replay in each thread; 1 to 10000000."),
    spec("hub.window_thread_bytes", "1048576", "Bytes of events kept for replay in each thread; 4096 or more."),
    spec("hub.window_total_bytes", "536870912", "Bytes of events kept for replay in all; 4096 or more."),
    spec("hub.window_age", "10m", "How long an event is kept for replay; 1s to 30d."),
    spec("hub.thread_idle", "30m", "How long a thread without events and readers keeps its numbering; 1s to 30d."),
    spec("hub.idempotency_entries", "262144", "Event ids remembered to recognise a repeat; 1 to 100000000."),
    spec("hub.reader_lag_events", "1024", "Events that a reader may lag behind before it is closed with 4008; at least 1, at most hub.window_events."),
    spec("hub.reader_lag_bytes", "1048576", "Bytes that a reader may lag behind before it is closed with 4008; at least 4096, at most hub.window_thread_bytes."),
    spec("hub.heartbeat", "25s", "Interval of heartbeats to a quiet reader; 100ms to 1h."),
    spec("hub.reader_silence", "80s", "How long a reader may show no sign of life; more than twice hub.heartbeat, at most 1d."),
    spec("hub.goodbye", "2s", "How long a reader that is told goodbye has to take it; 10ms to 1m."),
    spec("hub.retry_after", "500ms", "Least wait that a reader is told before it reconnects; 1ms to 10m."),
    spec("hub.watchers", "1000", "Health streams open at once; 1 to 100000."),
    spec("health.check_interval", "1m", "Between two rounds of self-checks; 100ms to 1d."),
    spec("health.verification_timeout", "10s", "How long one self-check may take; 10ms to 5m."),
    spec("health.initialization_timeout", "30s", "How long initialization may take; 10ms to 10m."),
    spec("health.failures_before_recovery", "3", "Rounds failed in a row before recovery begins; 1 to 1000."),
    spec("health.recovery_attempts", "3", "Attempts at recovery before the service says that it failed; 1 to 1000."),
    spec("health.recovery_backoff_base", "1s", "Wait before the first attempt at recovery; it doubles with each. 1ms to 1h."),
    spec("health.recovery_backoff_cap", "30s", "Longest wait before an attempt at recovery; at least health.recovery_backoff_base, at most 1d."),
    spec("drain.spread", "2s", "How long readers leave after each other after SIGTERM, where they are many; up to 10m, and with hub.goodbye at most drain.deadline."),
    spec("drain.deadline", "10s", "How long readers and calls under way may take after SIGTERM; at least hub.goodbye, at most 10m."),
];
