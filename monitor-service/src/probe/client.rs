//! The calls of `monitorable.v1.Monitorable`, as the generated client makes them, but with buffers
//! of the size of what passes: there is a stream for every component, and the usual 8 KiB for each
//! would be most of what it takes.

use std::marker::PhantomData;

use http::uri::PathAndQuery;
use monitorable::monitorable::v1::{
    GetHealthStatusRequest, GetHealthStatusResponse, GetMetricsRequest, GetMetricsResponse,
    WatchHealthRequest, WatchHealthResponse,
};
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{BufferSettings, Codec};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::channel::MAX_ANSWER_BYTES;
use super::transport::Transport;

/// What buffers begin with, in bytes: as much as a usual message takes. They grow as needed.
const BUFFER_BYTES: usize = 512;

/// A client of one target. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client(Grpc<Transport>);

impl Client {
    pub(super) fn new(transport: Transport) -> Self {
        Self(Grpc::new(transport).max_decoding_message_size(MAX_ANSWER_BYTES))
    }

    pub(super) async fn get_health_status(
        &mut self,
        request: GetHealthStatusRequest,
    ) -> Result<Response<GetHealthStatusResponse>, Status> {
        self.unary("/monitorable.v1.Monitorable/GetHealthStatus", request)
            .await
    }

    pub(super) async fn get_metrics(
        &mut self,
        request: GetMetricsRequest,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        self.unary("/monitorable.v1.Monitorable/GetMetrics", request)
            .await
    }

    pub(super) async fn watch_health(
        &mut self,
        request: WatchHealthRequest,
    ) -> Result<Response<Streaming<WatchHealthResponse>>, Status> {
        let path = PathAndQuery::from_static("/monitorable.v1.Monitorable/WatchHealth");
        let request = Request::new(request);
        self.0.server_streaming(request, path, Small::new()).await
    }

    async fn unary<M, R>(&mut self, path: &'static str, request: M) -> Result<Response<R>, Status>
    where
        M: Message + 'static,
        R: Message + Default + 'static,
    {
        let path = PathAndQuery::from_static(path);
        self.0
            .unary(Request::new(request), path, Small::new())
            .await
    }
}

/// Protobuf, with small buffers.
struct Small<M, R>(PhantomData<fn(M) -> R>);

impl<M, R> Small<M, R> {
    const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<M: Message + 'static, R: Message + Default + 'static> Codec for Small<M, R> {
    type Encode = M;
    type Decode = R;
    type Encoder = ProstEncoder<M>;
    type Decoder = ProstDecoder<R>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(BUFFER_BYTES, BUFFER_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(BUFFER_BYTES, BUFFER_BYTES))
    }
}
