//! A plain HTTP/1.1 client: one connection for each request.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long one exchange may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: String,
}

impl Answer {
    /// A header's value; empty where it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("not JSON: {error}: {}", self.body))
    }
}

/// GET.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, Method::GET, path, &[], "").await
}

/// Any request; `host` is the address where the headers do not say.
pub async fn request(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let exchange = async {
        let response = send(address, method, path, headers, body).await;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer {
            status,
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    };
    let exchange = tokio::time::timeout(DEADLINE, exchange).await;
    exchange.unwrap_or_else(|_| panic!("{path}: no whole answer within {DEADLINE:?}"))
}

/// Sends a request and returns as soon as the head is there; the body goes on.
pub async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response<Incoming> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path);
    let request = if headers.iter().any(|(name, _)| *name == "host") {
        request
    } else {
        request.header("host", address.to_string())
    };
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    sender.send_request(request.unwrap()).await.unwrap()
}
