//! A node of the graph, read in place.

use wharf_protobuf::{Field, Fields};

use super::value::{Constant, integers};
use crate::onnx::OnnxError;

/// A graph whose nodes have more inputs, outputs or attributes is not looked through.
const MAX_ARGUMENTS: usize = 256;
/// One whose attributes are longer lists is not looked through.
const MAX_INTEGERS: usize = 32;
/// `AttributeProto.AttributeType` of a tensor.
const TENSOR: u64 = 4;

/// A node of the graph.
pub(super) struct Node<'a> {
    /// The operator, with its domain where that is not ONNX's own.
    pub(super) domain: &'a str,
    pub(super) operator: &'a str,
    /// The names of the inputs; empty where one is left out.
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    attributes: Vec<Attribute<'a>>,
    /// Whether it has graphs of its own, which read values of this one by name.
    pub(super) has_graphs: bool,
}

#[derive(Default)]
struct Attribute<'a> {
    name: &'a str,
    kind: u64,
    /// Writers leave a 0 out: an attribute that is there without a number has this one, and not its default.
    integer: i64,
    integers: Vec<i64>,
    text: &'a [u8],
    tensor: Option<&'a [u8]>,
    has_graphs: bool,
}

impl<'a> Node<'a> {
    /// Reads a `NodeProto`.
    pub(super) fn read(node: &'a [u8]) -> Result<Self, OnnxError> {
        let mut read = Self {
            domain: "",
            operator: "",
            inputs: Vec::new(),
            outputs: Vec::new(),
            attributes: Vec::new(),
            has_graphs: false,
        };
        for field in Fields::of(node) {
            match field? {
                (1, name @ Field::Bytes(_)) => read.inputs.push(name.text()?),
                (2, name @ Field::Bytes(_)) => read.outputs.push(name.text()?),
                (4, text @ Field::Bytes(_)) => read.operator = text.text()?,
                (5, Field::Bytes(attribute)) => {
                    let attribute = Attribute::read(attribute)?;
                    read.has_graphs |= attribute.has_graphs;
                    if read.attribute(attribute.name).is_some() {
                        return Err(OnnxError::Refused(
                            "a node has two attributes of one name".to_owned(),
                        ));
                    }
                    read.attributes.push(attribute);
                }
                (7, text @ Field::Bytes(_)) => read.domain = text.text()?,
                _ => {}
            }
            let lists = [read.inputs.len(), read.outputs.len(), read.attributes.len()];
            if lists.into_iter().any(|length| length > MAX_ARGUMENTS) {
                return Err(OnnxError::Refused(format!(
                    "a node has more than {MAX_ARGUMENTS} inputs, outputs or attributes"
                )));
            }
        }
        Ok(read)
    }

    /// A number; none where the node leaves it to its default.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        Some(self.attribute(name)?.integer)
    }

    /// A list of numbers; none where the node has none of this name.
    pub(super) fn integers(&self, name: &str) -> Option<&[i64]> {
        Some(&self.attribute(name)?.integers)
    }

    /// Whether an attribute has this text.
    pub(super) fn says(&self, name: &str, text: &str) -> bool {
        self.attribute(name)
            .is_some_and(|attribute| attribute.text == text.as_bytes())
    }

    /// The tensor that a node is, which has nothing else.
    pub(super) fn value(&self) -> Option<Constant> {
        match &*self.attributes {
            [
                Attribute {
                    name: "value",
                    kind: TENSOR,
                    tensor: Some(tensor),
                    ..
                },
            ] => Some(Constant::read(tensor).ok()?.1),
            _ => None,
        }
    }

    fn attribute(&self, name: &str) -> Option<&Attribute<'a>> {
        self.attributes
            .iter()
            .find(|attribute| attribute.name == name)
    }
}

impl<'a> Attribute<'a> {
    /// Reads an `AttributeProto`.
    fn read(attribute: &'a [u8]) -> Result<Self, OnnxError> {
        let mut read = Self::default();
        for field in Fields::of(attribute) {
            match field? {
                (1, name @ Field::Bytes(_)) => read.name = name.text()?,
                (3, Field::Varint(number)) => read.integer = number.cast_signed(),
                (4, Field::Bytes(text)) => read.text = text,
                // Two would be merged.
                (5, _) if read.tensor.is_some() => {
                    let message = "an attribute has two tensors".to_owned();
                    return Err(OnnxError::Refused(message));
                }
                (5, Field::Bytes(tensor)) => read.tensor = Some(tensor),
                (6 | 11, _) => read.has_graphs = true,
                (8, field) => integers(field, MAX_INTEGERS, &mut read.integers)?,
                (20, Field::Varint(kind)) => read.kind = kind,
                _ => {}
            }
        }
        if read.integers.len() > MAX_INTEGERS {
            return Err(OnnxError::Refused(format!(
                "an attribute has more than {MAX_INTEGERS} numbers"
            )));
        }
        Ok(read)
    }
}

/// Says whether a domain is that of ONNX's own operators.
pub(super) fn is_onnx(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}
