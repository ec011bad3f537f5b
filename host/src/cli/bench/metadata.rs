//! What the server says of a model.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::call::Call;
use super::connection::{Answer, Connection};
use super::drive::message;
use super::grpc;
use super::inputs::InputMetadata;
use super::target::{Target, segment};

/// The most bytes of a description that are read.
const MOST: usize = 16 << 20;

/// A model, as `--model` and `--version` name it.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) version: Option<String>,
}

impl Model {
    /// The path under which REST has it.
    pub(super) fn path(&self) -> String {
        let name = segment(&self.name);
        match &self.version {
            None => format!("/v2/models/{name}"),
            Some(version) => format!("/v2/models/{name}/versions/{}", segment(version)),
        }
    }
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    inputs: Vec<TensorDocument>,
}

#[derive(Deserialize)]
struct TensorDocument {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

/// Asks over REST for the inputs of a model.
///
/// # Errors
/// Where the server refuses, with its message, or its answer makes no sense.
pub(super) async fn over_rest(
    connection: &mut Connection,
    target: &Target,
    model: &Model,
) -> Result<Vec<InputMetadata>> {
    let call = Call::get(target, &model.path())?;
    let answer = ask(connection, &call).await?;
    if !answer.status.is_success() {
        let message = message(&answer.kept);
        bail!("the server answers {}: {message}", answer.status);
    }
    let document: Document = serde_json::from_slice(&answer.kept)
        .context("the answer is no metadata of the Open Inference Protocol")?;
    document
        .inputs
        .into_iter()
        .map(|input| described(input.name, &input.datatype, input.shape))
        .collect()
}

/// Asks over gRPC for the inputs of a model.
///
/// # Errors
/// As [`over_rest`].
pub(super) async fn over_grpc(
    connection: &mut Connection,
    target: &Target,
    model: &Model,
) -> Result<Vec<InputMetadata>> {
    let call = Call::grpc(target, "ModelMetadata", &grpc::metadata_request(model))?;
    let answer = ask(connection, &call).await?;
    match answer.grpc {
        Some((0, _)) => {}
        Some((code, message)) => bail!("the server answers grpc-status {code}: {message}"),
        None => bail!("the server answers {}, which is no gRPC", answer.status),
    }
    grpc::metadata_inputs(&answer.kept)?
        .into_iter()
        .map(|(name, datatype, shape)| described(name, &datatype, shape))
        .collect()
}

async fn ask(connection: &mut Connection, call: &Call) -> Result<Answer> {
    connection
        .exchange(call.request(), |_| MOST)
        .await
        .ok()
        .context("the server closed the connection")
}

fn described(name: String, datatype: &str, shape: Vec<i64>) -> Result<InputMetadata> {
    let datatype = datatype
        .parse()
        .map_err(|error: String| anyhow::anyhow!("the input `{name}`: {error}"))?;
    Ok(InputMetadata {
        name,
        datatype,
        shape,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_the_version_where_one_is_given() {
        let mut model = Model {
            name: "a b".to_owned(),
            version: None,
        };
        assert_eq!(model.path(), "/v2/models/a%20b");
        model.version = Some("3".to_owned());
        assert_eq!(model.path(), "/v2/models/a%20b/versions/3");
    }
}
