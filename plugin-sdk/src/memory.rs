//! Tensors, bodies and requests in memory: what the host offers, for native tests. It checks what the host checks.

use std::sync::Arc;

use crate::{Datatype, Error, Result};

pub(crate) fn lift(datatype: Datatype) -> Datatype {
    datatype
}

pub(crate) fn lower(datatype: Datatype) -> Datatype {
    datatype
}

#[derive(Clone, Debug)]
pub struct Tensor {
    name: String,
    datatype: Datatype,
    shape: Vec<u64>,
    data: Arc<[u8]>,
}

impl Tensor {
    pub(crate) fn from_bytes(
        name: &str,
        datatype: Datatype,
        shape: &[u64],
        data: &[u8],
    ) -> Result<Self> {
        let count = element_count(name, shape)?;
        match datatype.width() {
            Some(width) if count.checked_mul(width as u64) != Some(data.len() as u64) => {
                return Err(Error::invalid_field(
                    name,
                    format!(
                        "shape {shape:?} of {datatype} needs {count} x {width} bytes, and {} are given",
                        data.len()
                    ),
                ));
            }
            None if split_elements(data).map(|elements| elements.len() as u64) != Some(count) => {
                return Err(Error::invalid_field(
                    name,
                    format!("the bytes are not the {count} elements of shape {shape:?}"),
                ));
            }
            _ => {}
        }
        Ok(Self {
            name: name.to_owned(),
            datatype,
            shape: shape.to_vec(),
            data: data.into(),
        })
    }

    pub(crate) fn from_fp32(name: &str, shape: &[u64], data: &[f32]) -> Result<Self> {
        Self::from_bytes(name, Datatype::Fp32, shape, bytemuck::cast_slice(data))
    }

    pub(crate) fn from_fp64(name: &str, shape: &[u64], data: &[f64]) -> Result<Self> {
        Self::from_bytes(name, Datatype::Fp64, shape, bytemuck::cast_slice(data))
    }

    pub(crate) fn from_int32(name: &str, shape: &[u64], data: &[i32]) -> Result<Self> {
        Self::from_bytes(name, Datatype::Int32, shape, bytemuck::cast_slice(data))
    }

    pub(crate) fn from_int64(name: &str, shape: &[u64], data: &[i64]) -> Result<Self> {
        Self::from_bytes(name, Datatype::Int64, shape, bytemuck::cast_slice(data))
    }

    pub(crate) fn from_elements(name: &str, shape: &[u64], elements: &[Vec<u8>]) -> Result<Self> {
        let mut data = Vec::new();
        for element in elements {
            let length = u32::try_from(element.len())
                .map_err(|_| Error::invalid_field(name, "an element is longer than 4 GiB"))?;
            data.extend_from_slice(&length.to_le_bytes());
            data.extend_from_slice(element);
        }
        Self::from_bytes(name, Datatype::Bytes, shape, &data)
    }

    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }

    pub(crate) fn datatype(&self) -> Datatype {
        self.datatype
    }

    pub(crate) fn shape(&self) -> Vec<u64> {
        self.shape.clone()
    }

    pub(crate) fn byte_length(&self) -> u64 {
        self.data.len() as u64
    }

    pub(crate) fn read(&self) -> Vec<u8> {
        self.data.to_vec()
    }

    pub(crate) fn read_range(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        range(&self.data, offset, length)
            .map_err(|message| Error::invalid_field(&self.name, message))
    }

    pub(crate) fn read_fp32(&self) -> Result<Vec<f32>> {
        self.typed(Datatype::Fp32)
    }

    pub(crate) fn read_fp64(&self) -> Result<Vec<f64>> {
        self.typed(Datatype::Fp64)
    }

    pub(crate) fn read_int32(&self) -> Result<Vec<i32>> {
        self.typed(Datatype::Int32)
    }

    pub(crate) fn read_int64(&self) -> Result<Vec<i64>> {
        self.typed(Datatype::Int64)
    }

    pub(crate) fn read_elements(&self) -> Result<Vec<Vec<u8>>> {
        self.check(Datatype::Bytes)?;
        Ok(split_elements(&self.data).expect("the constructor split them"))
    }

    pub(crate) fn with_name(&self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self.clone()
        }
    }

    pub(crate) fn with_shape(&self, shape: &[u64]) -> Result<Self> {
        let (old, new) = (
            element_count(&self.name, &self.shape)?,
            element_count(&self.name, shape)?,
        );
        if old != new {
            return Err(Error::invalid_field(
                &self.name,
                format!(
                    "shape {shape:?} has {new} elements, and {:?} has {old}",
                    self.shape
                ),
            ));
        }
        Ok(Self {
            shape: shape.to_vec(),
            ..self.clone()
        })
    }

    fn typed<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(
        &self,
        datatype: Datatype,
    ) -> Result<Vec<T>> {
        self.check(datatype)?;
        Ok(bytemuck::allocation::pod_collect_to_vec(&self.data))
    }

    fn check(&self, datatype: Datatype) -> Result<()> {
        if self.datatype == datatype {
            return Ok(());
        }
        let message = format!(
            "the datatype is {}, and {datatype} is needed",
            self.datatype
        );
        Err(Error::invalid_field(&self.name, message))
    }
}

#[derive(Debug)]
pub(crate) struct Body {
    media_type: String,
    data: Arc<[u8]>,
}

impl Body {
    pub(crate) fn new(media_type: &str, data: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            data: data.into(),
        }
    }

    pub(crate) fn media_type(&self) -> String {
        self.media_type.clone()
    }

    pub(crate) fn byte_length(&self) -> u64 {
        self.data.len() as u64
    }

    pub(crate) fn read(&self) -> Vec<u8> {
        self.data.to_vec()
    }

    pub(crate) fn read_range(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        range(&self.data, offset, length).map_err(Error::invalid)
    }

    pub(crate) fn with_media_type(&self, media_type: &str) -> Self {
        Self {
            media_type: media_type.to_owned(),
            data: Arc::clone(&self.data),
        }
    }
}

fn element_count(name: &str, shape: &[u64]) -> Result<u64> {
    shape
        .iter()
        .try_fold(1u64, |count, dimension| count.checked_mul(*dimension))
        .ok_or_else(|| {
            Error::invalid_field(
                name,
                format!("shape {shape:?} has more elements than can be counted"),
            )
        })
}

fn range(data: &[u8], offset: u64, length: u64) -> Result<Vec<u8>, String> {
    let end = offset
        .checked_add(length)
        .filter(|end| *end <= data.len() as u64);
    match end {
        Some(end) => Ok(data[offset as usize..end as usize].to_vec()),
        None => Err(format!(
            "{length} bytes from {offset} on are not all inside the {} bytes",
            data.len()
        )),
    }
}

fn split_elements(mut data: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut elements = Vec::new();
    while !data.is_empty() {
        let (length, rest) = data.split_first_chunk::<4>()?;
        let (element, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        elements.push(element.to_vec());
        data = rest;
    }
    Some(elements)
}

#[cfg(test)]
mod tests;
