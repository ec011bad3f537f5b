//! The requests by which clients manage models.

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};
use wharf_e2e::{Client, Response};

/// Loads a model of the site.
pub(crate) async fn load(client: &mut Client, model: &str) -> Result<Response> {
    load_with(client, model, &[]).await
}

/// Loads a model with files: the names of the parameters, such as `file:1/model.onnx`, and what is in them.
pub(crate) async fn load_with(
    client: &mut Client,
    model: &str,
    files: &[(&str, &[u8])],
) -> Result<Response> {
    // As Triton has it: files come with a configuration.
    let config = (!files.is_empty()).then(|| json!({}));
    load_configured(client, model, config.as_ref(), files).await
}

/// Loads a model with a configuration in the words of Triton, and with files.
pub(crate) async fn load_configured(
    client: &mut Client,
    model: &str,
    config: Option<&Value>,
    files: &[(&str, &[u8])],
) -> Result<Response> {
    let file = |(name, content): &(&str, &[u8])| {
        let text = BASE64_STANDARD.encode(content);
        ((*name).to_owned(), Value::String(text))
    };
    let mut parameters: Map<String, Value> = files.iter().map(file).collect();
    parameters.extend(config.map(|config| ("config".to_owned(), json!(config.to_string()))));
    let path = format!("/v2/repository/models/{model}/load");
    client.post(&path, &json!({"parameters": parameters})).await
}

/// Unloads a model.
pub(crate) async fn unload(client: &mut Client, model: &str) -> Result<Response> {
    let path = format!("/v2/repository/models/{model}/unload");
    client.post(&path, &json!({})).await
}

/// The state of a version in the index of the repository.
pub(crate) async fn state_of(client: &mut Client, model: &str, version: u64) -> Result<String> {
    let index = client
        .post("/v2/repository/index", &json!({}))
        .await?
        .ok()?;
    let entries = index.as_array().context("the index is a list")?;
    let version = version.to_string();
    let entry = entries
        .iter()
        .find(|entry| entry["name"] == model && entry["version"] == version.as_str())
        .with_context(|| format!("no version {version} of {model} in {index}"))?;
    Ok(entry["state"].as_str().unwrap_or_default().to_owned())
}
