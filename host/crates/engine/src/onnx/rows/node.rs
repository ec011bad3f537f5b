//! A node of the graph, read in place.

use wharf_protobuf::{Field, Fields};

use super::value::{Constant, integers};
use crate::onnx::OnnxError;

/// Nodes with more inputs, outputs or attributes have no rule.
const MAX_ARGUMENTS: usize = 256;
/// Lists of more numbers are cut: no rule takes them.
const MAX_INTEGERS: usize = 32;

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
    integer: Option<i64>,
    integers: Vec<i64>,
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
        self.attribute(name)?.integer
    }

    /// A list of numbers; none where the node has none of this name.
    pub(super) fn integers(&self, name: &str) -> Option<&[i64]> {
        Some(&self.attribute(name)?.integers)
    }

    /// A tensor.
    pub(super) fn tensor(&self, name: &str) -> Option<Constant> {
        let tensor = self.attribute(name)?.tensor?;
        Some(Constant::read(tensor).ok()?.1)
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
                (3, Field::Varint(number)) => read.integer = Some(number.cast_signed()),
                (5, Field::Bytes(tensor)) => read.tensor = Some(tensor),
                (6 | 11, _) => read.has_graphs = true,
                (8, field) => integers(field, MAX_INTEGERS, &mut read.integers)?,
                _ => {}
            }
        }
        Ok(read)
    }
}

/// Says whether a domain is that of ONNX's own operators.
pub(super) fn is_onnx(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}
