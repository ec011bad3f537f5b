//! `TensorProto`: where a tensor's data lie.

use wharf_protobuf::{Field, Fields, varint};

use super::OnnxError;

/// A tensor whose data lie in another file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExternalTensor<'a> {
    /// The tensor's name.
    pub(crate) name: &'a str,
    /// The other file, relative to the model's.
    pub(crate) location: &'a str,
    /// Where the data begin in it, in bytes.
    pub(crate) offset: u64,
    /// How many bytes the shape and the element type take.
    pub(crate) bytes: u64,
}

/// Reads a `TensorProto`; none where its data are in the model's file.
pub(super) fn external(tensor: &[u8]) -> Result<Option<ExternalTensor<'_>>, OnnxError> {
    let mut facts = Facts::default();
    for field in Fields::of(tensor) {
        match field? {
            (1, Field::Varint(dimension)) => facts.multiply(dimension)?,
            (1, Field::Bytes(packed)) => facts.multiply_packed(packed)?,
            (2, Field::Varint(data_type)) => facts.data_type = data_type,
            (8, name @ Field::Bytes(_)) => facts.name = name.text()?,
            (13, Field::Bytes(entry)) => facts.entry(entry)?,
            (14, Field::Varint(location)) => facts.external |= location != 0,
            _ => {}
        }
    }
    // Either sign makes a tensor external: whatever ONNX Runtime makes of one alone, nothing is read for it.
    if facts.external {
        facts.into_external().map(Some)
    } else {
        Ok(None)
    }
}

struct Facts<'a> {
    name: &'a str,
    elements: u64,
    data_type: u64,
    external: bool,
    location: Option<&'a str>,
    offset: Option<&'a str>,
    length: Option<&'a str>,
}

impl Default for Facts<'_> {
    fn default() -> Self {
        Self {
            name: "",
            elements: 1,
            data_type: 0,
            external: false,
            location: None,
            offset: None,
            length: None,
        }
    }
}

impl<'a> Facts<'a> {
    fn multiply(&mut self, dimension: u64) -> Result<(), OnnxError> {
        // A negative dimension is a varint above `i64::MAX`.
        self.elements = i64::try_from(dimension)
            .ok()
            .and_then(|_| self.elements.checked_mul(dimension))
            .ok_or_else(|| {
                OnnxError::Refused("a tensor has a negative or overflowing shape".to_owned())
            })?;
        Ok(())
    }

    fn multiply_packed(&mut self, mut packed: &[u8]) -> Result<(), OnnxError> {
        while !packed.is_empty() {
            self.multiply(varint(&mut packed)?)?;
        }
        Ok(())
    }

    /// Reads a `StringStringEntryProto` of `external_data`.
    fn entry(&mut self, entry: &'a [u8]) -> Result<(), OnnxError> {
        self.external = true;
        let (mut key, mut value) = ("", "");
        for field in Fields::of(entry) {
            match field? {
                (1, text @ Field::Bytes(_)) => key = text.text()?,
                (2, text @ Field::Bytes(_)) => value = text.text()?,
                _ => {}
            }
        }
        let place = match key {
            "location" => &mut self.location,
            "offset" => &mut self.offset,
            "length" => &mut self.length,
            // `checksum` and what later versions add say nothing of where data lie.
            _ => return Ok(()),
        };
        // With two of a key, this walk and ONNX Runtime could go by different ones.
        if place.replace(value).is_some() {
            return Err(OnnxError::Refused(format!(
                "external data of a tensor has two entries of {key:?}"
            )));
        }
        Ok(())
    }

    fn into_external(self) -> Result<ExternalTensor<'a>, OnnxError> {
        let refused = |why: &str| {
            OnnxError::Refused(format!("external data of tensor {:?}: {why}", self.name))
        };
        let location = self
            .location
            .ok_or_else(|| refused("no location is given"))?;
        let number = |text: Option<&str>| text.map(str::parse::<u64>).transpose();
        let offset = number(self.offset)
            .map_err(|_| refused("the offset is no number of bytes"))?
            .unwrap_or(0);
        let length =
            number(self.length).map_err(|_| refused("the length is no number of bytes"))?;
        let bytes = element_bits(self.data_type)
            .and_then(|bits| self.elements.checked_mul(bits))
            .map(|bits| bits.div_ceil(8))
            .ok_or_else(|| {
                refused("the element type cannot lie in another file, or the shape overflows")
            })?;
        if length.is_some_and(|length| length != bytes) {
            return Err(refused(
                "the length is not what the shape and the element type take",
            ));
        }
        if offset
            .checked_add(bytes)
            .is_none_or(|end| i64::try_from(end).is_err())
        {
            return Err(refused("the offset is beyond any file"));
        }
        Ok(ExternalTensor {
            name: self.name,
            location,
            offset,
            bytes,
        })
    }
}

/// The bits of an element of a `TensorProto.DataType`; none for strings and what is unknown.
fn element_bits(data_type: u64) -> Option<u64> {
    Some(match data_type {
        2 | 3 | 9 | 17..=20 | 24 => 8,
        4 | 5 | 10 | 16 => 16,
        1 | 6 | 12 => 32,
        7 | 11 | 13 | 14 => 64,
        15 => 128,
        21..=23 => 4,
        25 | 26 => 2,
        _ => return None,
    })
}
