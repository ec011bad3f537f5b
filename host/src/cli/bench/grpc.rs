//! The messages of gRPC that a load needs, encoded once.

use anyhow::{Context, Result, ensure};
use prost::Message;
use wharf_server::inference::model_infer_request::InferInputTensor;
use wharf_server::inference::{ModelInferRequest, ModelMetadataRequest, ModelMetadataResponse};

use super::inputs::InputTensor;
use super::metadata::Model;

/// The flag and the length in front of a message.
const PREFIX: usize = 5;

/// Asks for a model's metadata.
pub(super) fn metadata_request(model: &Model) -> Vec<u8> {
    let request = ModelMetadataRequest {
        name: model.name.clone(),
        version: model.version.clone().unwrap_or_default(),
    };
    request.encode_to_vec()
}

/// Reads the inputs from the answer's body: name, datatype and shape of each.
///
/// # Errors
/// Where the body is no such message.
pub(super) fn metadata_inputs(body: &[u8]) -> Result<Vec<(String, String, Vec<i64>)>> {
    let (prefix, message) = body
        .split_at_checked(PREFIX)
        .context("the answer has no message")?;
    ensure!(prefix[0] == 0, "the answer is compressed, unasked");
    let metadata = ModelMetadataResponse::decode(message)
        .context("the answer is no metadata of the Open Inference Protocol")?;
    let inputs = metadata.inputs.into_iter();
    Ok(inputs
        .map(|input| (input.name, input.datatype, input.shape))
        .collect())
}

/// Asks for an inference, the elements raw.
///
/// # Errors
/// Where a dimension is too large for the protocol.
pub(super) fn infer_request(model: &Model, tensors: &[InputTensor]) -> Result<Vec<u8>> {
    let describe = |tensor: &InputTensor| {
        let shape = tensor.shape.iter().map(|&side| i64::try_from(side));
        Ok(InferInputTensor {
            name: tensor.name.clone(),
            datatype: tensor.datatype.name().to_owned(),
            shape: shape.collect::<Result<_, _>>()?,
            ..InferInputTensor::default()
        })
    };
    let request = ModelInferRequest {
        model_name: model.name.clone(),
        model_version: model.version.clone().unwrap_or_default(),
        inputs: tensors.iter().map(describe).collect::<Result<_>>()?,
        raw_input_contents: tensors.iter().map(|tensor| tensor.data.clone()).collect(),
        ..ModelInferRequest::default()
    };
    Ok(request.encode_to_vec())
}
