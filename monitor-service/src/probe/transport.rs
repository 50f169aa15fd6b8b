//! The way of every call to one target, with what is added to each.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri, header};
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tower::{Service, ServiceExt};

use super::line::{Error, Line};

/// What the monitor calls itself.
pub(super) const USER_AGENT: &str = concat!("monitor-service/", env!("CARGO_PKG_VERSION"));

/// A target's connection and what its calls carry. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Transport {
    way: Way,
    metadata: Arc<MetadataMap>,
}

#[derive(Clone)]
enum Way {
    /// As cheap as it gets, since there may be thousands.
    Plain(Line, Arc<Uri>),
    Secure(Channel),
}

impl Transport {
    /// Without TLS. `origin` is the target's URI.
    pub(super) fn plain(line: Line, origin: Uri, metadata: MetadataMap) -> Self {
        Self {
            way: Way::Plain(line, Arc::new(origin)),
            metadata: Arc::new(metadata),
        }
    }

    /// With TLS.
    pub(super) fn secure(channel: Channel, metadata: MetadataMap) -> Self {
        Self {
            way: Way::Secure(channel),
            metadata: Arc::new(metadata),
        }
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // Each call waits for itself.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let metadata = MetadataMap::clone(&self.metadata);
        request.headers_mut().extend(metadata.into_headers());
        match &self.way {
            Way::Plain(line, origin) => {
                let (line, origin) = (line.clone(), origin.clone());
                Box::pin(async move {
                    *request.uri_mut() = place(&origin, request.uri().path_and_query().cloned())?;
                    let name = HeaderValue::from_static(USER_AGENT);
                    request.headers_mut().insert(header::USER_AGENT, name);
                    line.call(request).await
                })
            }
            Way::Secure(channel) => {
                let call = channel.clone().oneshot(request);
                Box::pin(async move { Ok(call.await?) })
            }
        }
    }
}

/// The URI of a call: the target's, with the method's path.
fn place(origin: &Uri, path: Option<PathAndQuery>) -> Result<Uri, http::Error> {
    let mut parts = origin.clone().into_parts();
    parts.path_and_query = path;
    Uri::from_parts(parts).map_err(Into::into)
}
