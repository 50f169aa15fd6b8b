//! A receiver of alerts: keeps what it is sent, and answers what it is told to.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The receiver; gone when dropped.
#[derive(Debug)]
pub struct Receiver {
    /// Where it serves.
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Value>>>,
    answer: watch::Sender<StatusCode>,
    /// Answers of the next requests, before that one.
    once: Arc<Mutex<VecDeque<StatusCode>>>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// A receiver that takes everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::default();
        let (answer, answers) = watch::channel(StatusCode::OK);
        let once = Arc::default();
        let task = tokio::spawn(serve(
            listener,
            Arc::clone(&received),
            Arc::clone(&once),
            answers,
        ));
        Self {
            address,
            received,
            answer,
            once,
            task,
        }
    }

    /// What it answers from now on.
    pub fn answer(&self, status: StatusCode) {
        self.answer.send_replace(status);
    }

    /// What it answers to the next request alone.
    pub fn answer_once(&self, status: StatusCode) {
        let mut once = self.once.lock().expect("no panic while held");
        once.push_back(status);
    }

    /// What it was sent so far, oldest first.
    #[must_use]
    pub fn received(&self) -> Vec<Value> {
        self.received.lock().expect("no panic while held").clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    received: Arc<Mutex<Vec<Value>>>,
    once: Arc<Mutex<VecDeque<StatusCode>>>,
    answers: watch::Receiver<StatusCode>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (received, once, answers) = (received.clone(), once.clone(), answers.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (received, once, answers) = (received.clone(), once.clone(), answers.clone());
            async move {
                let body = request.into_body().collect().await;
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                if let Ok(body) = serde_json::from_slice(&body) {
                    received.lock().expect("no panic while held").push(body);
                }
                let mut response = Response::new(Empty::<Bytes>::new());
                let scripted = once.lock().expect("no panic while held").pop_front();
                *response.status_mut() = scripted.unwrap_or_else(|| *answers.borrow());
                Ok::<_, Infallible>(response)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}
