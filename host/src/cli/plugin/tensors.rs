//! Tensors as JSON, in the words of the Open Inference Protocol: `name`, `datatype`, `shape`, `data`.
//!
//! `data` may be nested, as clients write it. In its place `file` names a file beside the document with the elements as binary,
//! little-endian. Numbers that JSON has no form for are the texts `NaN`, `inf` and `-inf`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use half::{bf16, f16};
use serde_json::{Map, Value, json};
use wharf_core::{Datatype, Tensor};

/// Above this many elements a tensor that is written goes into a file of its own.
const ELEMENTS_IN_JSON: usize = 4096;

/// Reads a list of tensors. `folder` holds the files that they name.
pub(super) fn read(list: &Value, folder: &Path) -> Result<Vec<Tensor>> {
    list.as_array()
        .context("must be a list of tensors")?
        .iter()
        .enumerate()
        .map(|(index, tensor)| read_one(tensor, folder).with_context(|| format!("tensor {index}")))
        .collect()
}

fn read_one(tensor: &Value, folder: &Path) -> Result<Tensor> {
    let object = tensor.as_object().context("must be an object")?;
    for key in object.keys() {
        let known = ["name", "datatype", "shape", "data", "file", "parameters"];
        if !known.contains(&key.as_str()) {
            bail!("has no key {key:?}: use name, datatype, shape, data, file");
        }
    }
    let text = |key: &str| {
        object
            .get(key)
            .and_then(Value::as_str)
            .with_context(|| format!("needs the text {key:?}"))
    };
    let name = text("name")?;
    let datatype: Datatype = text("datatype")?.parse().map_err(anyhow::Error::msg)?;
    let shape: Vec<u64> = object
        .get("shape")
        .and_then(Value::as_array)
        .and_then(|shape| shape.iter().map(Value::as_u64).collect())
        .context("needs a \"shape\", a list of whole numbers")?;
    let data = match (object.get("data"), object.get("file")) {
        (Some(data), None) => {
            let mut bytes = Vec::new();
            flatten(data, datatype, &mut bytes)?;
            bytes
        }
        (None, Some(file)) => read_file(folder, file)?,
        _ => bail!("needs either \"data\" or \"file\""),
    };
    Ok(Tensor::new(name, datatype, shape, Bytes::from(data))?)
}

/// Reads a file that a document names. A case may come from somebody else, so the file lies beside the document.
pub(super) fn read_file(folder: &Path, name: &Value) -> Result<Vec<u8>> {
    let name = name.as_str().context("\"file\" must be a text")?;
    if name.contains(['/', '\\']) || name == ".." {
        bail!("{name:?} is no file beside the document: give a name without folders");
    }
    std::fs::read(folder.join(name)).with_context(|| format!("{name} cannot be read"))
}

/// Appends the elements of `data`, whatever its nesting.
fn flatten(data: &Value, datatype: Datatype, bytes: &mut Vec<u8>) -> Result<()> {
    if let Value::Array(items) = data {
        return items
            .iter()
            .try_for_each(|item| flatten(item, datatype, bytes));
    }
    let wrong = || format!("{data} is no element of {datatype}");
    let float = || -> Result<f64> {
        let special = match data.as_str() {
            Some("NaN") => Some(f64::NAN),
            Some("inf") => Some(f64::INFINITY),
            Some("-inf") => Some(f64::NEG_INFINITY),
            _ => None,
        };
        special.or_else(|| data.as_f64()).with_context(wrong)
    };
    macro_rules! integer {
        ($type:ty) => {{
            let number = data
                .as_i64()
                .map(i128::from)
                .or_else(|| data.as_u64().map(i128::from));
            let number = number.and_then(|number| <$type>::try_from(number).ok());
            bytes.extend(number.with_context(wrong)?.to_le_bytes());
        }};
    }
    match datatype {
        Datatype::Bool => {
            let flag = data.as_bool().or_else(|| Some(data.as_u64()? == 1));
            bytes.push(flag.with_context(wrong)?.into());
        }
        Datatype::Uint8 => integer!(u8),
        Datatype::Uint16 => integer!(u16),
        Datatype::Uint32 => integer!(u32),
        Datatype::Uint64 => integer!(u64),
        Datatype::Int8 => integer!(i8),
        Datatype::Int16 => integer!(i16),
        Datatype::Int32 => integer!(i32),
        Datatype::Int64 => integer!(i64),
        Datatype::Fp16 => bytes.extend(f16::from_f64(float()?).to_le_bytes()),
        Datatype::Bf16 => bytes.extend(bf16::from_f64(float()?).to_le_bytes()),
        Datatype::Fp32 => bytes.extend((float()? as f32).to_le_bytes()),
        Datatype::Fp64 => bytes.extend(float()?.to_le_bytes()),
        Datatype::Bytes => {
            let text = data.as_str().with_context(wrong)?;
            bytes.extend(u32::try_from(text.len())?.to_le_bytes());
            bytes.extend(text.as_bytes());
        }
    }
    Ok(())
}

/// Writes a list of tensors. Large ones, and bytes that are no text, become files: `files` gets their names and bytes, and the
/// names begin with `prefix`.
pub(super) fn write(tensors: &[Tensor], prefix: &str, files: &mut Vec<(String, Bytes)>) -> Value {
    tensors
        .iter()
        .enumerate()
        .map(|(index, tensor)| {
            let mut object = Map::new();
            object.insert("name".to_owned(), tensor.name().into());
            object.insert("datatype".to_owned(), tensor.datatype().name().into());
            object.insert("shape".to_owned(), json!(&**tensor.shape()));
            match elements(tensor) {
                Some(data) => object.insert("data".to_owned(), data.into()),
                None => {
                    let name = format!("{prefix}-{index}.bin");
                    files.push((name.clone(), tensor.data().clone()));
                    object.insert("file".to_owned(), name.into())
                }
            };
            Value::Object(object)
        })
        .collect()
}

/// The elements as JSON; none where they are too many, or bytes that are no text.
fn elements(tensor: &Tensor) -> Option<Vec<Value>> {
    if tensor.shape().elements()? > ELEMENTS_IN_JSON as u64 {
        return None;
    }
    let data = tensor.data();
    macro_rules! each {
        ($type:ty, $value:expr) => {
            data.chunks_exact(size_of::<$type>())
                .filter_map(|bytes| Some(<$type>::from_le_bytes(bytes.try_into().ok()?)))
                .map($value)
                .collect()
        };
    }
    Some(match tensor.datatype() {
        Datatype::Bool => data.iter().map(|byte| (*byte == 1).into()).collect(),
        Datatype::Uint8 => each!(u8, Value::from),
        Datatype::Uint16 => each!(u16, Value::from),
        Datatype::Uint32 => each!(u32, Value::from),
        Datatype::Uint64 => each!(u64, Value::from),
        Datatype::Int8 => each!(i8, Value::from),
        Datatype::Int16 => each!(i16, Value::from),
        Datatype::Int32 => each!(i32, Value::from),
        Datatype::Int64 => each!(i64, Value::from),
        Datatype::Fp16 => each!(f16, number),
        Datatype::Bf16 => each!(bf16, number),
        Datatype::Fp32 => each!(f32, number),
        Datatype::Fp64 => each!(f64, number),
        Datatype::Bytes => tensor
            .elements()
            .ok()?
            .map(|element| std::str::from_utf8(element).ok().map(Value::from))
            .collect::<Option<_>>()?,
    })
}

/// A number by its shortest decimal form in its own precision: `0.1` for the binary32 nearest to it.
fn number(value: impl std::fmt::Display) -> Value {
    let text = value.to_string();
    let number = text.parse().ok().and_then(serde_json::Number::from_f64);
    number.map_or(Value::String(text), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(tensor: &Value) -> Value {
        let tensors = read(&json!([tensor]), Path::new("nowhere")).unwrap();
        let mut files = Vec::new();
        let written = write(&tensors, "out", &mut files);
        assert!(files.is_empty());
        written[0].clone()
    }

    #[test]
    fn every_datatype_comes_back_as_it_was_written() {
        for (datatype, data) in [
            ("BOOL", json!([true, false])),
            ("UINT8", json!([0, 255])),
            ("INT64", json!([i64::MIN, i64::MAX])),
            ("UINT64", json!([0, u64::MAX])),
            ("FP16", json!([0.5, "-inf"])),
            ("BF16", json!([1.5, 2.0])),
            ("FP32", json!([0.1, "NaN"])),
            ("FP64", json!([0.1, 1e300])),
            ("BYTES", json!(["", "naïve"])),
        ] {
            let tensor = json!({"name": "x", "datatype": datatype, "shape": [2], "data": data});
            assert_eq!(round_trip(&tensor), tensor);
        }
    }

    #[test]
    fn nested_data_is_laid_out_flat() {
        let nested =
            json!({"name": "x", "datatype": "INT8", "shape": [2, 2], "data": [[1, 2], [3, 4]]});
        assert_eq!(round_trip(&nested)["data"], json!([1, 2, 3, 4]));
    }

    #[test]
    fn what_is_no_tensor_is_refused_in_words() {
        for (tensor, words) in [
            (
                json!({"name": "x", "datatype": "FP32", "shape": [1], "data": ["a"]}),
                "no element of FP32",
            ),
            (
                json!({"name": "x", "datatype": "UINT8", "shape": [1], "data": [256]}),
                "no element of UINT8",
            ),
            (
                json!({"name": "x", "datatype": "FP32", "shape": [2], "data": [1]}),
                "takes 8 bytes",
            ),
            (
                json!({"name": "x", "datatype": "FLOAT", "shape": [2], "data": [1]}),
                "unknown datatype",
            ),
            (
                json!({"name": "x", "datatype": "FP32", "shape": [1]}),
                "either",
            ),
            (
                json!({"name": "x", "datatype": "FP32", "shape": [1], "file": "../x"}),
                "without folders",
            ),
            (
                json!({"name": "x", "datatype": "FP32", "shape": [-1], "data": []}),
                "shape",
            ),
            (
                json!({"name": "x", "datatype": "FP32", "shap": [1], "data": []}),
                "shap",
            ),
        ] {
            let error = read(&json!([tensor]), Path::new("nowhere")).unwrap_err();
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
    }

    #[test]
    fn large_tensors_become_files() {
        let folder = tempfile::tempdir().unwrap();
        let large = Tensor::from_vec("x", [5000], vec![7_u8; 5000]).unwrap();
        let mut files = Vec::new();
        let document = write(&[large], "out", &mut files);
        std::fs::write(folder.path().join(&files[0].0), &files[0].1).unwrap();
        let read = read(&document, folder.path()).unwrap();
        assert_eq!(read[0].data().len(), 5000);
    }
}
