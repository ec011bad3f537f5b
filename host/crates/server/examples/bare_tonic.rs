//! The yardstick of `cargo xtask bench` for gRPC: tonic on hyper, with the service and the settings of HTTP/2 that the
//! server has, which answers each request with the same message. Its arguments are the name of the model, the name of the
//! output and the number of FP32 elements in it. Writes its address to standard output.

use std::convert::Infallible;
use std::io::Write;

use bytes::Bytes;
use futures_util::stream::{self, Empty};
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tonic::{Response, Status, Streaming};
use tower::Service as _;
use wharf_server::inference::grpc_inference_service_server::{
    GrpcInferenceService, GrpcInferenceServiceServer,
};
use wharf_server::inference::model_infer_response::InferOutputTensor;
use wharf_server::inference::*;

/// Answers `ModelInfer`.
struct Fixed(ModelInferResponse);

/// The calls that nobody measures.
macro_rules! refuse {
    ($($name:ident: $request:ty => $response:ty,)+) => {
        #[tonic::async_trait]
        impl GrpcInferenceService for Fixed {
            type ModelStreamInferStream = Empty<Result<ModelStreamInferResponse, Status>>;

            async fn model_infer(
                &self,
                request: tonic::Request<ModelInferRequest>,
            ) -> Result<Response<ModelInferResponse>, Status> {
                let id = request.into_inner().id;
                Ok(Response::new(ModelInferResponse { id, ..self.0.clone() }))
            }

            async fn model_stream_infer(
                &self,
                _: tonic::Request<Streaming<ModelInferRequest>>,
            ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
                Ok(Response::new(stream::empty()))
            }

            $(async fn $name(&self, _: tonic::Request<$request>) -> Result<Response<$response>, Status> {
                Err(Status::unimplemented("it is a yardstick"))
            })+
        }
    };
}

refuse! {
    server_live: ServerLiveRequest => ServerLiveResponse,
    server_ready: ServerReadyRequest => ServerReadyResponse,
    model_ready: ModelReadyRequest => ModelReadyResponse,
    server_metadata: ServerMetadataRequest => ServerMetadataResponse,
    model_metadata: ModelMetadataRequest => ModelMetadataResponse,
    model_config: ModelConfigRequest => ModelConfigResponse,
    model_statistics: ModelStatisticsRequest => ModelStatisticsResponse,
    repository_index: RepositoryIndexRequest => RepositoryIndexResponse,
    repository_model_load: RepositoryModelLoadRequest => RepositoryModelLoadResponse,
    repository_model_unload: RepositoryModelUnloadRequest => RepositoryModelUnloadResponse,
    system_shared_memory_status: SystemSharedMemoryStatusRequest => SystemSharedMemoryStatusResponse,
    system_shared_memory_register: SystemSharedMemoryRegisterRequest => SystemSharedMemoryRegisterResponse,
    system_shared_memory_unregister: SystemSharedMemoryUnregisterRequest => SystemSharedMemoryUnregisterResponse,
    cuda_shared_memory_status: CudaSharedMemoryStatusRequest => CudaSharedMemoryStatusResponse,
    cuda_shared_memory_register: CudaSharedMemoryRegisterRequest => CudaSharedMemoryRegisterResponse,
    cuda_shared_memory_unregister: CudaSharedMemoryUnregisterRequest => CudaSharedMemoryUnregisterResponse,
    trace_setting: TraceSettingRequest => TraceSettingResponse,
    log_settings: LogSettingsRequest => LogSettingsResponse,
}

fn answer() -> ModelInferResponse {
    let mut arguments = std::env::args().skip(1);
    let mut text = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (model_name, name) = (text("echo"), text("output"));
    let count: usize = text("4").parse().unwrap_or(4);
    ModelInferResponse {
        model_name,
        model_version: "1".to_owned(),
        outputs: vec![InferOutputTensor {
            name,
            datatype: "FP32".to_owned(),
            shape: vec![1, count as i64],
            ..InferOutputTensor::default()
        }],
        raw_output_contents: vec![Bytes::from(vec![0; 4 * count])],
        ..ModelInferResponse::default()
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let service = GrpcInferenceServiceServer::new(Fixed(answer()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let mut service = service.clone();
                async move {
                    let answer = service.call(request).await;
                    Ok::<_, Infallible>(answer.unwrap_or_else(|never: Infallible| match never {}))
                }
            });
            // The end of a connection is no news.
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(256)
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
