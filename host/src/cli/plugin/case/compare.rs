//! Compares what came of a case with what is expected.

use std::path::Path;

use anyhow::{Context, Result, bail};
use half::{bf16, f16};
use serde_json::Value;
use wharf_core::{Body, Datatype, Payload, Tensor};

use super::Outcome;
use crate::cli::plugin::tensors;

/// The most differences that are told; the rest is counted.
const MOST: usize = 10;

const KEYS: [&str; 7] = [
    "outputs",
    "body",
    "error",
    "chosen",
    "verdicts",
    "rest",
    "tolerance",
];

/// The differences, a line each.
///
/// # Errors
/// Where the document of what is expected makes no sense.
pub(super) fn differences(
    expected: &Value,
    outcome: &Outcome,
    folder: &Path,
) -> Result<Vec<String>> {
    let object = expected.as_object().context("must be an object")?;
    if let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
        bail!("has no key {key:?}: use one of {}", KEYS.join(", "));
    }
    let tolerance = match object.get("tolerance") {
        None => 0.0,
        Some(value) => value
            .as_f64()
            .filter(|value| *value >= 0.0)
            .context("\"tolerance\" must be a number, 0 or more")?,
    };
    let mut found = Found {
        lines: Vec::new(),
        count: 0,
        tolerance,
    };
    match (outcome, object.get("outputs"), object.get("body")) {
        (Outcome::Payload(Payload::Tensors(given)), Some(wanted), _) => {
            found.tensors(
                &tensors::read(wanted, folder).context("\"outputs\"")?,
                given,
            );
        }
        (Outcome::Payload(Payload::Body(given)), _, Some(wanted)) => {
            found.body(wanted, given, folder)?;
        }
        _ => {
            let mut wanted = object.clone();
            wanted.remove("tolerance");
            let given = outcome.document("given", &mut Vec::new());
            found.outcome(&Value::Object(wanted), &given);
        }
    }
    if found.count > MOST {
        found.lines.push(format!("and {} more", found.count - MOST));
    }
    Ok(found.lines)
}

struct Found {
    lines: Vec<String>,
    count: usize,
    tolerance: f64,
}

impl Found {
    fn add(&mut self, line: impl FnOnce() -> String) {
        self.count += 1;
        if self.count <= MOST {
            self.lines.push(line());
        }
    }

    /// Outcomes of other kinds have no member in common: one line says it.
    fn outcome(&mut self, wanted: &Value, given: &Value) {
        let keys = |value: &Value| -> Vec<String> {
            value
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, _)| key.clone())
                .collect()
        };
        let (wanted_keys, given_keys) = (keys(wanted), keys(given));
        if !wanted_keys.iter().any(|key| given_keys.contains(key)) {
            return self.add(|| format!("expected {wanted}, got {given}"));
        }
        self.value("", wanted, given);
    }

    /// Compares values by their members. An error is compared by those members alone that are expected.
    fn value(&mut self, path: &str, wanted: &Value, given: &Value) {
        match (wanted, given) {
            (Value::Object(wanted), Value::Object(given)) => {
                let at = |key: &str| {
                    if path.is_empty() {
                        key.to_owned()
                    } else {
                        format!("{path}.{key}")
                    }
                };
                for (key, wanted) in wanted {
                    match given.get(key) {
                        Some(given) => self.value(&at(key), wanted, given),
                        None => self.add(|| format!("{}: expected {wanted}, got nothing", at(key))),
                    }
                }
                for (key, given) in given {
                    if path != "error" && !wanted.contains_key(key) {
                        self.add(|| format!("{}: expected nothing, got {given}", at(key)));
                    }
                }
            }
            (Value::Array(wanted), Value::Array(given)) => {
                if wanted.len() != given.len() {
                    let (wanted, given) = (wanted.len(), given.len());
                    self.add(|| format!("{path}: expected {wanted} items, got {given}"));
                }
                for (index, (wanted, given)) in wanted.iter().zip(given).enumerate() {
                    self.value(&format!("{path}[{index}]"), wanted, given);
                }
            }
            _ => {
                let near = match (wanted.as_f64(), given.as_f64()) {
                    (Some(wanted), Some(given)) => self.near(wanted, given),
                    _ => false,
                };
                if !near && wanted != given {
                    self.add(|| format!("{path}: expected {wanted}, got {given}"));
                }
            }
        }
    }

    fn near(&self, wanted: f64, given: f64) -> bool {
        wanted == given
            || (wanted.is_nan() && given.is_nan())
            || (wanted - given).abs() <= self.tolerance
    }

    fn body(&mut self, wanted: &Value, given: &Body, folder: &Path) -> Result<()> {
        if let Some(media_type) = wanted.get("media_type") {
            self.value("body.media_type", media_type, &(&*given.media_type).into());
        }
        if let Some(json) = wanted.get("json") {
            match serde_json::from_slice::<Value>(&given.data) {
                Ok(given) => self.value("body.json", json, &given),
                Err(error) => {
                    self.add(|| format!("body: expected JSON, got what is none: {error}"));
                }
            }
        } else if let Some(text) = wanted.get("text") {
            let given = String::from_utf8_lossy(&given.data);
            self.value("body.text", text, &given.into());
        } else if let Some(file) = wanted.get("file") {
            let bytes = tensors::read_file(folder, file)?;
            if bytes != given.data {
                let at = bytes
                    .iter()
                    .zip(&given.data)
                    .position(|(wanted, given)| wanted != given);
                let at = at.unwrap_or(bytes.len().min(given.data.len()));
                let (wanted, given) = (bytes.len(), given.data.len());
                self.add(|| format!("body: expected {wanted} bytes, got {given}; the first difference is at {at}"));
            }
        } else {
            bail!("\"body\" needs one of json, text, file");
        }
        Ok(())
    }

    fn tensors(&mut self, wanted: &[Tensor], given: &[Tensor]) {
        if wanted.len() != given.len() {
            self.add(|| {
                format!(
                    "outputs: expected {} tensors, got {}",
                    wanted.len(),
                    given.len()
                )
            });
        }
        for (index, (wanted, given)) in wanted.iter().zip(given).enumerate() {
            let path = format!("outputs[{index}]");
            let texts = |tensor: &Tensor| {
                let shape = tensor.shape().to_string();
                [
                    tensor.name().to_owned(),
                    tensor.datatype().to_string(),
                    shape,
                ]
            };
            let mut same = true;
            for ((what, wanted), given) in ["name", "datatype", "shape"]
                .iter()
                .zip(texts(wanted))
                .zip(texts(given))
            {
                if wanted != given {
                    same = false;
                    self.add(|| format!("{path}.{what}: expected {wanted}, got {given}"));
                }
            }
            if same {
                self.elements(&path, &Elements::of(wanted), &Elements::of(given));
            }
        }
    }

    fn elements(&mut self, path: &str, wanted: &Elements<'_>, given: &Elements<'_>) {
        match (wanted, given) {
            (Elements::Floats(wanted), Elements::Floats(given)) => {
                for (index, (wanted, given)) in wanted.iter().zip(given).enumerate() {
                    if !self.near(*wanted, *given) {
                        self.add(|| {
                            format!("{path}.data[{index}]: expected {wanted}, got {given}")
                        });
                    }
                }
            }
            (Elements::Whole(wanted), Elements::Whole(given)) => {
                for (index, (wanted, given)) in wanted.iter().zip(given).enumerate() {
                    if wanted != given {
                        self.add(|| {
                            let (wanted, given) = (shown(wanted), shown(given));
                            format!("{path}.data[{index}]: expected {wanted}, got {given}")
                        });
                    }
                }
            }
            // The datatypes are the same, or this is not reached.
            _ => self.add(|| format!("{path}: other elements")),
        }
    }
}

/// The elements of a tensor: floats, which may be near each other, or what is the same or is not.
enum Elements<'a> {
    Floats(Vec<f64>),
    Whole(Vec<&'a [u8]>),
}

impl<'a> Elements<'a> {
    fn of(tensor: &'a Tensor) -> Self {
        let data = tensor.data();
        macro_rules! floats {
            ($type:ty) => {
                Self::Floats(
                    data.chunks_exact(size_of::<$type>())
                        .filter_map(|bytes| Some(<$type>::from_le_bytes(bytes.try_into().ok()?)))
                        .map(f64::from)
                        .collect(),
                )
            };
        }
        match (tensor.datatype(), tensor.datatype().size()) {
            (Datatype::Fp16, _) => floats!(f16),
            (Datatype::Bf16, _) => floats!(bf16),
            (Datatype::Fp32, _) => floats!(f32),
            (Datatype::Fp64, _) => floats!(f64),
            (_, Some(size)) => Self::Whole(data.chunks_exact(size).collect()),
            (_, None) => Self::Whole(tensor.elements().into_iter().flatten().collect()),
        }
    }
}

/// An element that is no float: text, or a number by its bytes.
fn shown(element: &[u8]) -> String {
    match *element {
        [a] => a.to_string(),
        [a, b] => u16::from_le_bytes([a, b]).to_string(),
        _ => match std::str::from_utf8(element) {
            Ok(text) if element.iter().all(|byte| *byte >= b' ') => format!("{text:?}"),
            _ => {
                let bytes: Vec<String> = element
                    .iter()
                    .take(16)
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                format!("the bytes {}", bytes.join(" "))
            }
        },
    }
}
