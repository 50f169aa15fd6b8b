//! One target's channel: connected on demand, kept for ever, pinged while idle.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use monitorable::bridge::v1::agent_events_client::AgentEventsClient;
use service_kit::clock::Clock;
use tokio::net::{TcpStream, lookup_host};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::client::Client;
use super::line::{KeepAlive, Line};
use super::settings::ProbeSettings;
use super::transport::{Transport, USER_AGENT};
use crate::fleet::api::{Target, TlsTarget};

/// Largest answer that is read, in bytes.
pub(crate) const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// HTTP/2 flow-control window of each stream and connection, in bytes. Small, because thousands
/// of channels may be open; it still holds a large report.
pub(super) const WINDOW_BYTES: u32 = 64 * 1024;
/// Calls that may wait for one channel: two of an audit, one stream, two of synthetic runs, and
/// retries.
const CALLS_WAITING: usize = 8;
/// Largest header block of an answer, in bytes.
pub(super) const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// A client for handing agents' events to one target.
pub(crate) type EventsClient = AgentEventsClient<Transport>;

/// A target's clients, on one channel.
pub(crate) struct Opened {
    pub(crate) client: Client,
    pub(crate) events: EventsClient,
    pub(crate) link: Arc<Link>,
}

/// How the newest attempt to connect stands: what a call that got no answer was waiting for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// No attempt was made yet.
    Idle,
    /// An attempt is under way.
    Connecting,
    /// TCP is up, or was: only the next attempt changes this.
    Connected,
}

/// The state of one target's connection. Behind a lock because the connector and the calls run in
/// different tasks; held for a copy only.
#[derive(Debug)]
pub(crate) struct Link(Mutex<LinkState>);

impl Link {
    fn set(&self, state: LinkState) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub(crate) fn state(&self) -> LinkState {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Makes a target's clients; nothing is sent yet.
///
/// # Errors
/// A phrase that names the field, where TLS options or metadata are not usable.
pub(crate) fn open(
    target: &Target,
    settings: &ProbeSettings,
    clock: Clock,
) -> Result<Opened, String> {
    let endpoint = endpoint(target, settings)?;
    let metadata = metadata(target)?;
    let link = Arc::new(Link(Mutex::new(LinkState::Idle)));
    let connector = {
        let (link, deadline) = (link.clone(), settings.connect_deadline);
        move |uri: Uri| connect(uri, link.clone(), deadline)
    };
    let transport = if is_secure(target) {
        let connector = move |uri| {
            let stream = connector(uri);
            async move { stream.await.map(TokioIo::new) }
        };
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(connector));
        Transport::secure(channel, metadata)
    } else {
        let origin = endpoint.uri().clone();
        let uri = origin.clone();
        let connect = Box::new(move || Box::pin(connector(uri.clone())) as _);
        let keep_alive = KeepAlive {
            interval: settings.keepalive_interval,
            timeout: settings.keepalive_timeout,
        };
        Transport::plain(Line::new(connect, keep_alive, clock), origin, metadata)
    };
    let events =
        AgentEventsClient::new(transport.clone()).max_decoding_message_size(MAX_ANSWER_BYTES);
    Ok(Opened {
        client: Client::new(transport),
        events,
        link,
    })
}

/// Whether a client could be made of the target; nothing is made.
///
/// # Errors
/// As [`open`].
pub(crate) fn check(target: &Target, settings: &ProbeSettings) -> Result<(), String> {
    endpoint(target, settings)?;
    metadata(target)?;
    Ok(())
}

fn endpoint(target: &Target, settings: &ProbeSettings) -> Result<Endpoint, String> {
    let shown = &target.endpoint;
    let endpoint = Endpoint::from_shared(shown.clone())
        .map_err(|error| format!("endpoint: {shown:?} is not a URI: {error}"))?
        .user_agent(USER_AGENT)
        .map_err(|error| format!("user agent: {error}"))?
        .http2_keep_alive_interval(settings.keepalive_interval)
        .keep_alive_timeout(settings.keepalive_timeout)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .buffer_size(CALLS_WAITING);
    if !is_secure(target) {
        return Ok(endpoint);
    }
    endpoint
        .tls_config(tls(target.tls.as_ref(), settings.connect_deadline))
        .map_err(|error| format!("tls: {}", root_cause(&error)))
}

fn is_secure(target: &Target) -> bool {
    target.endpoint.starts_with("https://")
}

fn tls(options: Option<&TlsTarget>, handshake_deadline: Duration) -> ClientTlsConfig {
    let config = ClientTlsConfig::new().timeout(handshake_deadline);
    let Some(options) = options else {
        return config.with_native_roots();
    };
    let config = if options.ca_pem.is_empty() {
        config.with_native_roots()
    } else {
        config.ca_certificate(Certificate::from_pem(&options.ca_pem))
    };
    let config = if options.client_certificate_pem.is_empty() {
        config
    } else {
        config.identity(Identity::from_pem(
            &options.client_certificate_pem,
            &options.client_key_pem,
        ))
    };
    if options.server_name.is_empty() {
        config
    } else {
        config.domain_name(options.server_name.clone())
    }
}

fn metadata(target: &Target) -> Result<MetadataMap, String> {
    let mut metadata = MetadataMap::new();
    for (key, value) in &target.metadata {
        let name = AsciiMetadataKey::from_bytes(key.as_bytes())
            .map_err(|_| format!("metadata: {key:?} is not a metadata key"))?;
        let mut value = AsciiMetadataValue::try_from(value.as_str())
            .map_err(|_| format!("metadata[{key:?}]: the value is not printable ASCII"))?;
        value.set_sensitive(true);
        metadata.insert(name, value);
    }
    Ok(metadata)
}

async fn connect(uri: Uri, link: Arc<Link>, deadline: Duration) -> io::Result<TcpStream> {
    link.set(LinkState::Connecting);
    let stream = tokio::time::timeout(deadline, connect_any(&uri, deadline))
        .await
        .unwrap_or_else(|_| Err(no_connection_within(deadline)))?;
    stream.set_nodelay(true)?;
    link.set(LinkState::Connected);
    Ok(stream)
}

pub(super) fn no_connection_within(deadline: Duration) -> io::Error {
    let why = format!("no connection within {deadline:?}");
    io::Error::new(io::ErrorKind::TimedOut, why)
}

async fn connect_any(uri: &Uri, deadline: Duration) -> Result<TcpStream, io::Error> {
    let host = uri
        .host()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let port = uri.port_u16().unwrap_or_default();
    let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    connect_first(&addresses, deadline).await
}

/// Tries each address of a host in turn, each with an even share of the time, so that one that
/// swallows packets leaves time for the next.
pub(crate) async fn connect_first(
    addresses: &[SocketAddr],
    deadline: Duration,
) -> Result<TcpStream, io::Error> {
    let share = deadline / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = io::Error::other("the host has no address");
    for address in addresses {
        match tokio::time::timeout(share, TcpStream::connect(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = no_connection_within(share),
        }
    }
    Err(last)
}

/// What the last error of a chain says.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
