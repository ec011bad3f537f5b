//! The generated client over gRPC, its messages, and calls frame by frame.

mod frames;

use bytes::Bytes;
use tonic::transport::Channel;
use wharf_server::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use wharf_server::inference::infer_parameter::ParameterChoice;
use wharf_server::inference::model_infer_request::InferInputTensor;
use wharf_server::inference::{InferParameter, InferTensorContents, ModelInferRequest};

use super::Running;

pub(crate) use frames::{Call, frame, pause_now_and_then};

pub(crate) type Client = GrpcInferenceServiceClient<Channel>;

impl Running {
    pub(crate) async fn channel(&self) -> Channel {
        let address = format!("http://{}", self.address);
        Channel::from_shared(address)
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        Client::new(self.channel().await)
    }
}

/// The bytes of FP32 elements.
pub(crate) fn bytes_of(values: &[f32]) -> Bytes {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A request with a raw input `x` of FP32 [*, 2].
pub(crate) fn floats(model: &str, values: &[f32]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![input("x", "FP32", &[values.len() as i64 / 2, 2])],
        raw_input_contents: vec![bytes_of(values)],
        ..ModelInferRequest::default()
    }
}

pub(crate) fn input(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..InferInputTensor::default()
    }
}

/// A request with a typed input `x`.
pub(crate) fn typed(
    model: &str,
    datatype: &str,
    shape: &[i64],
    contents: InferTensorContents,
) -> ModelInferRequest {
    let mut input = input("x", datatype, shape);
    input.contents = Some(contents);
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![input],
        ..ModelInferRequest::default()
    }
}

pub(crate) fn text(value: &str) -> InferParameter {
    parameter(ParameterChoice::StringParam(value.to_owned()))
}

pub(crate) fn parameter(value: ParameterChoice) -> InferParameter {
    InferParameter {
        parameter_choice: Some(value),
    }
}
