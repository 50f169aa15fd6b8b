//! A reader of our own: a fresh WebSocket for each run, with small buffers.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Uri, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::lookup_host;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::story::{Event, Position, Welcome, shown};
use super::tls;
use super::trouble::Trouble;
use crate::fleet::api::TlsTarget;
use crate::probe::channel::connect_first;

/// Bytes that one read takes.
const READ_BYTES: usize = 4 * 1024;
/// Largest message that is read, in bytes.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Messages that one run reads, at the most.
const MAX_MESSAGES: u32 = 1_000;
/// How long the answer to a close may take; events have come back by then.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

/// Where readers connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Over TLS.
    secure: bool,
    /// `HOST:PORT`.
    authority: String,
    host: String,
    port: u16,
    path: String,
}

impl Address {
    /// The address of `ws://HOST:PORT/PATH` or `wss://…`. `None`: it is none.
    pub(super) fn parse(uri: &str) -> Option<Self> {
        let uri: Uri = uri.parse().ok()?;
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return None;
        }
        Some(Self {
            secure: uri.scheme_str() == Some("wss"),
            authority: uri.authority()?.to_string(),
            host: host.to_owned(),
            port: uri.port_u16().filter(|port| *port > 0)?,
            path: uri.path().to_owned(),
        })
    }

    /// `ws://HOST:PORT/PATH`, or `wss://…`.
    pub(super) fn shown(&self) -> String {
        let scheme = if self.secure { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority, self.path)
    }

    fn url(&self, thread_id: &str, after: Option<&Position>) -> String {
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let base = format!("{}?thread_id={}", self.shown(), encoded(thread_id));
        match after {
            None => base,
            Some(Position { epoch, sequence }) => {
                format!("{base}&epoch={}&after={sequence}", encoded(epoch))
            }
        }
    }
}

/// What comes, as far as it matters.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Frame {
    Welcome(Welcome),
    Event(Event),
    Goodbye {
        code: u16,
        #[serde(default)]
        reason: String,
    },
    #[serde(other)]
    Other,
}

/// What carries a WebSocket: a socket, encrypted or not.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// Whom a reader trusts, and what it shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trust<'a> {
    /// Empty: no token.
    pub(super) token: &'a str,
    /// `None`: the system's roots, no certificate.
    pub(super) tls: Option<&'a TlsTarget>,
}

/// A connected reader.
pub(super) struct Socket {
    stream: WebSocketStream<Box<dyn Wire>>,
    messages: u32,
}

impl Socket {
    /// Connects and shakes hands.
    pub(super) async fn open(
        address: &Address,
        Trust { token, tls }: Trust<'_>,
        thread_id: &str,
        after: Option<&Position>,
        deadline: Duration,
    ) -> Result<Self, Trouble> {
        let what = format!("connecting to {}", address.shown());
        let own = |error: &dyn std::fmt::Display| Trouble::NoWord(format!("{what}: {error}"));
        // The name's resolution is the monitor's own affair.
        let addresses: Vec<SocketAddr> = lookup_host((address.host.as_str(), address.port))
            .await
            .map_err(|error| own(&error))?
            .collect();
        let stream = connect_first(&addresses, deadline)
            .await
            .map_err(|error| Trouble::of_io(&what, &error))?;
        stream.set_nodelay(true).map_err(|error| own(&error))?;
        let stream: Box<dyn Wire> = if address.secure {
            let config = tls::config(tls).map_err(|error| own(&error))?;
            let name = tls
                .map(|tls| tls.server_name.as_str())
                .filter(|name| !name.is_empty());
            let name = ServerName::try_from(name.unwrap_or(&address.host).to_owned());
            let name = name.map_err(|error| own(&error))?;
            let connected = TlsConnector::from(config).connect(name, stream).await;
            Box::new(connected.map_err(|error| Trouble::of_io(&what, &error))?)
        } else {
            Box::new(stream)
        };
        let url = address.url(thread_id, after);
        let mut request = url.into_client_request().map_err(|error| own(&error))?;
        if !token.is_empty() {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut value = value.map_err(|error| own(&error))?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(READ_BYTES)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let (stream, _) = client_async_with_config(request, stream, Some(config))
            .await
            .map_err(|error| Trouble::of_socket(&what, &error))?;
        Ok(Self {
            stream,
            messages: 0,
        })
    }

    /// The next welcome or event; a goodbye is trouble.
    pub(super) async fn next(&mut self) -> Result<Frame, Trouble> {
        const WHAT: &str = "reading";
        loop {
            self.messages += 1;
            if self.messages > MAX_MESSAGES {
                let why = format!("{WHAT}: more than {MAX_MESSAGES} messages came");
                return Err(Trouble::Failed(why));
            }
            let message = match self.stream.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(Trouble::of_socket(WHAT, &error)),
                None => return Err(Trouble::Failed(format!("{WHAT}: the connection ended"))),
            };
            let text = match message {
                Message::Text(text) => text,
                Message::Close(frame) => {
                    let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                        (frame.code.into(), frame.reason.to_string())
                    });
                    return Err(Trouble::of_close(WHAT, code, &reason));
                }
                _ => continue,
            };
            match serde_json::from_str(&text) {
                Ok(Frame::Goodbye { code, reason }) => {
                    return Err(Trouble::of_close(WHAT, code, &reason));
                }
                Ok(Frame::Other) => {}
                Ok(frame) => return Ok(frame),
                Err(error) => {
                    let text = shown(&text);
                    let why = format!("{WHAT}: a frame cannot be read: {error}: {text}");
                    return Err(Trouble::Failed(why));
                }
            }
        }
    }

    /// Says that everything through this sequence has arrived.
    pub(super) async fn acknowledge(&mut self, sequence: u64) -> Result<(), Trouble> {
        let text = serde_json::json!({ "type": "ack", "seq": sequence }).to_string();
        let sent = self.stream.send(Message::text(text)).await;
        sent.map_err(|error| Trouble::of_socket("acknowledging", &error))
    }

    /// Closes in order. What else comes until then was never handed in, and is trouble; that the
    /// close is answered late is not.
    pub(super) async fn close(mut self) -> Result<(), Trouble> {
        let closing = async {
            if self.stream.close(None).await.is_err() {
                return Ok(());
            }
            while let Ok(frame) = self.next().await {
                if let Frame::Event(_) = frame {
                    let why = "reading: an event came after the run's end";
                    return Err(Trouble::Failed(why.to_owned()));
                }
            }
            Ok(())
        };
        tokio::time::timeout(CLOSE_PATIENCE, closing)
            .await
            .unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_queries_cannot_break_out() {
        assert!(
            Address::parse("wss://host:1/x")
                .unwrap()
                .shown()
                .starts_with("wss://host:1/")
        );
        let address = Address::parse("ws://[::1]:8080/v1/events").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("::1", 8080));
        let after = Position {
            epoch: "a&b=#?".to_owned(),
            sequence: 7,
        };
        assert_eq!(
            address.url("$canary/m/1", Some(&after)),
            "ws://[::1]:8080/v1/events?thread_id=%24canary%2Fm%2F1&epoch=a%26b%3D%23%3F&after=7"
        );
        for bad in ["", "/x", "ws://host/x", "ws://host:0/", "ws://:1/"] {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
    }
}
