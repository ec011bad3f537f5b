//! What a configuration says of the model itself: nothing that could be set, but it must be so.

use serde_json::json;
use wharf_core::{Datatype, Error, LoadError, ModelInfo, Result, TensorSpec};
use wharf_serving::{SettingEdit, SettingValue};

use super::Edits;
use crate::oip::documents::{data_type, dims};
use crate::oip::repository::fields::{Field, Fields};

/// What must be so.
#[derive(Default)]
pub(in crate::oip::repository) struct Claims {
    platform: Option<String>,
    backend: Option<String>,
    tensors: Vec<Claim>,
}

/// What is said of an input or an output.
pub(super) struct Claim {
    pub(super) path: String,
    pub(super) side: Side,
    pub(super) name: String,
    pub(super) data_type: Option<String>,
    pub(super) dims: Option<Vec<i64>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Input,
    Output,
}

impl Claims {
    /// Takes what a configuration says of the model. The names of classes are settings of outputs.
    pub(super) fn take(config: &mut Fields, edits: &mut Edits) -> Result<Self> {
        let mut text = |name: &str| -> Result<Option<String>> {
            let text = config.take(name).map(Field::text).transpose()?;
            Ok(text.filter(|text| !text.is_empty()))
        };
        let mut claims = Self {
            platform: text("platform")?,
            backend: text("backend")?,
            tensors: Vec::new(),
        };
        for (member, side) in [("input", Side::Input), ("output", Side::Output)] {
            let tensors = edits.take(config, member);
            for tensor in tensors.map_or(Ok(Vec::new()), Field::list)? {
                claims.tensors.push(claim(tensor, side, edits)?);
            }
        }
        Ok(claims)
    }

    pub(super) fn add(&mut self, claim: Claim) {
        self.tensors.push(claim);
    }

    /// Whether nothing is said.
    pub(in crate::oip::repository) fn is_empty(&self) -> bool {
        self.platform.is_none() && self.backend.is_none() && self.tensors.is_empty()
    }

    /// Compares with a model.
    ///
    /// # Errors
    /// `InvalidArgument` with the place of the first thing that is not so as the field.
    pub(in crate::oip::repository) fn check(&self, model: &ModelInfo) -> Result<()> {
        let wrong = |place: &str, is: &str| {
            let place = format!("{}.{place}", super::PATH);
            Err(Error::invalid(
                place,
                format!("the model's is {is:?}; leave it out"),
            ))
        };
        if self
            .platform
            .as_ref()
            .is_some_and(|name| name != model.platform)
        {
            return wrong("platform", model.platform);
        }
        // `onnxruntime_onnx` is the platform of the backend `onnxruntime`.
        let backend = model.platform.split('_').next().unwrap_or_default();
        if self.backend.as_ref().is_some_and(|name| name != backend) {
            return wrong("backend", backend);
        }
        self.tensors.iter().try_for_each(|claim| claim.check(model))
    }
}

impl Claim {
    fn check(&self, model: &ModelInfo) -> Result<()> {
        let specs = match self.side {
            Side::Input => &model.inputs,
            Side::Output => &model.outputs,
        };
        let spec = specs.iter().find(|spec| *spec.name == *self.name);
        let Some(spec) = spec else {
            let there: Vec<&str> = specs.iter().map(|spec| &*spec.name).collect();
            let message = format!("the model has no {:?}, but {}", self.name, there.join(", "));
            return Err(Error::invalid(format!("{}.name", self.path), message));
        };
        if self
            .data_type
            .as_ref()
            .is_some_and(|name| name != data_type(spec.datatype))
        {
            let message = format!("{} is {} in the model", self.name, data_type(spec.datatype));
            return Err(Error::invalid(format!("{}.data_type", self.path), message));
        }
        if self.dims.as_ref().is_some_and(|dims| !fits(dims, spec)) {
            let message = format!("{} has {:?} in the model", self.name, dims(&spec.shape));
            return Err(Error::invalid(format!("{}.dims", self.path), message));
        }
        Ok(())
    }
}

/// Whether dimensions are those of the model, with the batch or without. Where the model leaves one free, any will do.
fn fits(claimed: &[i64], spec: &TensorSpec) -> bool {
    let same = |shape: &[i64]| {
        claimed.len() == shape.len()
            && claimed
                .iter()
                .zip(shape)
                .all(|(claimed, real)| *real == -1 || claimed == real)
    };
    let shape = dims(&spec.shape);
    same(&shape) || shape.split_first().is_some_and(|(_, row)| same(row))
}

fn claim(tensor: Field, side: Side, edits: &mut Edits) -> Result<Claim> {
    let path = tensor.path().to_owned();
    let mut tensor = tensor.object()?;
    let Some(name) = tensor.take("name") else {
        return Err(tensor.wrong("has a name"));
    };
    let name = name.text()?;
    if side == Side::Output
        && let Some(file) = tensor.take("label_filename")
    {
        classes(&name, file, edits)?;
    }
    let data_type = tensor.take("data_type").map(known_type).transpose()?;
    let dims = tensor.take("dims").map(sizes).transpose()?;
    let model = "the model alone says it; leave it out";
    tensor.only("format", &[json!("FORMAT_NONE")], model)?;
    for member in [
        "reshape",
        "is_shape_tensor",
        "allow_ragged_batch",
        "is_non_linear_format_io",
    ] {
        tensor.only(member, &[], model)?;
    }
    if side == Side::Input {
        // An input that the model can do without may be left out by requests, whatever is said here.
        tensor.only("optional", &[json!(true)], model)?;
    }
    tensor.finish()?;
    Ok(Claim {
        path,
        side,
        name,
        data_type,
        dims,
    })
}

/// The file with the names of an output's classes.
fn classes(output: &str, file: Field, edits: &mut Edits) -> Result<()> {
    let wrong = file.wrong("outputs with such a name have no classes here; set them in model.toml");
    let place = file.path().to_owned();
    let file = file.text()?;
    if file.is_empty() {
        return Ok(());
    }
    if output.is_empty() || output.contains(|char: char| char == '"' || char.is_control()) {
        return Err(wrong);
    }
    let edit = SettingEdit {
        key: format!("outputs.{}.classes", LoadError::key_part(output)),
        value: SettingValue::Text(file),
    };
    edits.push_from(place, edit);
    Ok(())
}

pub(super) fn known_type(field: Field) -> Result<String> {
    let wrong = field.wrong("is no type, such as TYPE_FP32");
    let name = field.text()?;
    let known = Datatype::ALL
        .into_iter()
        .any(|datatype| data_type(datatype) == name);
    if known { Ok(name) } else { Err(wrong) }
}

/// Dimensions: -1 for one that each request chooses.
fn sizes(field: Field) -> Result<Vec<i64>> {
    let size = |field: &Field| match field.signed()? {
        size if size >= -1 => Ok(size),
        _ => Err(field.wrong("is a dimension, or -1 for one that each request chooses")),
    };
    field.list()?.iter().map(size).collect()
}
