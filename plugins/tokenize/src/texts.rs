//! The texts of a request: of a text, of a JSON document, or of a BYTES tensor.

use serde::Deserialize;
use wharf_plugin_sdk::{Body, Datatype, Error, Payload, Result};

use crate::settings::Settings;

/// What stands for the whole body where something is wrong with it.
const BODY: &str = "body";

/// A JSON document with texts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    text: Option<String>,
    texts: Option<Vec<String>>,
}

/// Reads at least one text, and not more than the settings allow.
pub(crate) fn read(settings: &Settings, input: Payload) -> Result<Vec<String>> {
    let (field, texts) = match input {
        Payload::Body(body) => (BODY.to_owned(), of_body(settings, &body)?),
        Payload::Tensors(_) => of_tensor(settings, input)?,
    };
    let most = settings.max_texts as usize;
    if texts.is_empty() || texts.len() > most {
        return Err(Error::invalid_field(
            field,
            format!("send 1 to {most} texts; {} are given", texts.len()),
        ));
    }
    Ok(texts)
}

fn of_body(settings: &Settings, body: &Body) -> Result<Vec<String>> {
    check_size(settings, BODY, body.byte_length())?;
    let media_type = body.media_type();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    if essence == "application/json" || essence.ends_with("+json") {
        let document: Document = body
            .parse_json()
            .map_err(|error| Error::invalid_field(BODY, error.message()))?;
        return match (document.text, document.texts) {
            (Some(text), None) => Ok(vec![text]),
            (None, Some(texts)) => Ok(texts),
            _ => Err(Error::invalid_field(
                BODY,
                r#"send either {"text": "..."} or {"texts": ["...", "..."]}"#,
            )),
        };
    }
    // What an element of BYTES comes as: the Open Inference Protocol says no more of it.
    if essence.starts_with("text/") || essence == "application/octet-stream" {
        return Ok(vec![utf8(BODY, body.bytes())?]);
    }
    Err(Error::invalid_field(
        BODY,
        format!(
            "the media type is `{media_type}`: send a text as `text/plain`, or texts as `application/json`"
        ),
    ))
}

/// The elements of the only tensor, whatever its shape, and its name.
fn of_tensor(settings: &Settings, input: Payload) -> Result<(String, Vec<String>)> {
    let tensor = input.tensor("")?;
    let name = tensor.name();
    if tensor.datatype() != Datatype::Bytes {
        return Err(Error::invalid_field(
            name,
            format!("the datatype is {}, and texts are BYTES", tensor.datatype()),
        ));
    }
    check_size(settings, &name, tensor.byte_length())?;
    let elements = tensor.elements()?.into_iter();
    let texts: Vec<String> = elements
        .map(|element| utf8(&name, element))
        .collect::<Result<_>>()?;
    Ok((name, texts))
}

/// Before anything is copied into the plugin.
fn check_size(settings: &Settings, field: &str, bytes: u64) -> Result<()> {
    let most = settings.max_bytes;
    if bytes > most {
        return Err(Error::invalid_field(
            field,
            format!("has {bytes} bytes, and {most} are the most: send fewer or shorter texts"),
        ));
    }
    Ok(())
}

fn utf8(field: &str, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes)
        .map_err(|error| Error::invalid_field(field, Error::from(error).message()))
}
