//! Whoever issues JWTs: serves its keys, and may change them or fail.

use std::convert::Infallible;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The issuer; gone when dropped.
#[derive(Debug)]
pub struct Issuer {
    /// Where its keys are.
    pub url: String,
    answer: watch::Sender<(StatusCode, String)>,
    task: JoinHandle<()>,
}

impl Issuer {
    /// One whose key is this secret of HS256.
    pub async fn start(secret: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let (answer, answers) = watch::channel((StatusCode::OK, jwks(secret)));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answers = answers.clone();
                let service = service_fn(move |_| {
                    let (status, body) = answers.borrow().clone();
                    let mut response = Response::new(Full::new(Bytes::from(body)));
                    *response.status_mut() = status;
                    async { Ok::<_, Infallible>(response) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Self { url, answer, task }
    }

    /// From now on this is its key, and the one before is not.
    pub fn rotate(&self, secret: &str) {
        self.answer(StatusCode::OK, &jwks(secret));
    }

    /// What it answers from now on.
    pub fn answer(&self, status: StatusCode, body: &str) {
        self.answer.send_replace((status, body.to_owned()));
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn jwks(secret: &str) -> String {
    let key = URL_SAFE_NO_PAD.encode(secret);
    serde_json::json!({ "keys": [{ "kty": "oct", "k": key }] }).to_string()
}
