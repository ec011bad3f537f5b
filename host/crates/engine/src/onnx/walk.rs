//! Walks every message of a model that can hold a tensor or a graph.

use super::OnnxError;
use super::tensor::{ExternalTensor, external};
use wharf_protobuf::{Field, Fields, Malformed};

/// The deepest nesting of messages. Protobuf's own parsers stop at the same depth.
pub(super) const MAX_DEPTH: u32 = 100;

/// What a model's file says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Inspection<'a> {
    /// The tensors whose data lie in other files. All are initializers of the main graph.
    pub(crate) external: Vec<ExternalTensor<'a>>,
}

/// Walks a model.
///
/// # Errors
/// Where it is no ONNX, nests too deep, or has something in it that is not served: external data elsewhere than in an
/// initializer of the main graph, an input or output that is no tensor, or a node that names a file.
pub(crate) fn inspect(model: &[u8]) -> Result<Inspection<'_>, OnnxError> {
    // ONNX Runtime tells its own format by these bytes, whatever else a file may look like.
    if model.get(4..8) == Some(b"ORTM") {
        return Err(OnnxError::Refused(
            "this is a model in ORT format; export it as ONNX".to_owned(),
        ));
    }
    let mut walk = Walk::default();
    let mut graphs = 0;
    walk.each(model, 1, |walk, number, bytes| match number {
        7 => {
            graphs += 1;
            walk.graph(bytes, Place::Main, 2)
        }
        20 => walk.each(bytes, 2, |walk, number, bytes| match number {
            1 | 2 => walk.graph(bytes, Place::Training, 3),
            _ => Ok(()),
        }),
        25 => walk.function(bytes),
        _ => Ok(()),
    })?;
    match graphs {
        1 => Ok(Inspection {
            external: walk.external,
        }),
        0 => Err(Malformed("there is no graph").into()),
        _ => Err(OnnxError::Refused("there are two graphs".to_owned())),
    }
}

/// Where a graph or a tensor stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Main,
    Subgraph,
    Sparse,
    Attribute,
    Function,
    Training,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Main => "the main graph",
            Self::Subgraph => "a subgraph",
            Self::Sparse => "a sparse initializer",
            Self::Attribute => "an attribute of a node",
            Self::Function => "a function",
            Self::Training => "training information",
        }
    }
}

#[derive(Default)]
struct Walk<'a> {
    external: Vec<ExternalTensor<'a>>,
}

impl<'a> Walk<'a> {
    /// Visits the fields of a message that are messages or text.
    fn each(
        &mut self,
        message: &'a [u8],
        depth: u32,
        mut visit: impl FnMut(&mut Self, u64, &'a [u8]) -> Result<(), OnnxError>,
    ) -> Result<(), OnnxError> {
        if depth > MAX_DEPTH {
            return Err(OnnxError::TooDeep);
        }
        for field in Fields::of(message) {
            if let (number, Field::Bytes(bytes)) = field? {
                visit(self, number, bytes)?;
            }
        }
        Ok(())
    }

    fn graph(&mut self, graph: &'a [u8], place: Place, depth: u32) -> Result<(), OnnxError> {
        let inner = if place == Place::Main {
            Place::Attribute
        } else {
            place
        };
        self.each(graph, depth, |walk, number, bytes| match number {
            1 => walk.node(bytes, inner, depth + 1),
            5 => walk.tensor(bytes, place),
            11 | 12 if place == Place::Main => walk.outlet(bytes, depth + 1),
            15 => walk.sparse(bytes, Place::Sparse, depth + 1),
            _ => Ok(()),
        })
    }

    fn node(&mut self, node: &'a [u8], place: Place, depth: u32) -> Result<(), OnnxError> {
        self.each(node, depth, |walk, number, bytes| match number {
            // Such a node names a file that an execution provider opens.
            4 if bytes == b"EPContext" => Err(OnnxError::Refused(
                "the model has an EPContext node, which names a file of its own; export it without one".to_owned(),
            )),
            5 => walk.attribute(bytes, place, depth + 1),
            _ => Ok(()),
        })
    }

    fn attribute(
        &mut self,
        attribute: &'a [u8],
        place: Place,
        depth: u32,
    ) -> Result<(), OnnxError> {
        let graphs = if place == Place::Attribute {
            Place::Subgraph
        } else {
            place
        };
        self.each(attribute, depth, |walk, number, bytes| match number {
            5 | 10 => walk.tensor(bytes, place),
            6 | 11 => walk.graph(bytes, graphs, depth + 1),
            22 | 23 => walk.sparse(bytes, place, depth + 1),
            _ => Ok(()),
        })
    }

    fn function(&mut self, function: &'a [u8]) -> Result<(), OnnxError> {
        self.each(function, 2, |walk, number, bytes| match number {
            7 => walk.node(bytes, Place::Function, 3),
            11 => walk.attribute(bytes, Place::Function, 3),
            _ => Ok(()),
        })
    }

    fn sparse(&mut self, sparse: &'a [u8], place: Place, depth: u32) -> Result<(), OnnxError> {
        self.each(sparse, depth, |walk, number, bytes| match number {
            1 | 2 => walk.tensor(bytes, place),
            _ => Ok(()),
        })
    }

    fn tensor(&mut self, tensor: &'a [u8], place: Place) -> Result<(), OnnxError> {
        let Some(external) = external(tensor)? else {
            return Ok(());
        };
        // ONNX Runtime takes bytes in place of files for the initializers of the main graph alone; others it would open.
        if place != Place::Main {
            return Err(OnnxError::Refused(format!(
                "tensor {:?} in {} has external data, which only initializers of the main graph may have; save the model \
                 with that tensor inside",
                external.name,
                place.name()
            )));
        }
        self.external.push(external);
        Ok(())
    }

    /// Checks that an input or output of the model is a tensor.
    fn outlet(&mut self, value_info: &'a [u8], depth: u32) -> Result<(), OnnxError> {
        let mut name = "";
        self.each(value_info, depth, |walk, number, bytes| match number {
            1 => {
                name = Field::Bytes(bytes).text()?;
                Ok(())
            }
            2 => walk.each(bytes, depth + 1, |_, number, _| match number {
                4 | 5 | 7 | 8 | 9 => Err(OnnxError::Refused(
                    "an input or output is a sequence, a map, a sparse tensor or optional; only tensors are served"
                        .to_owned(),
                )),
                _ => Ok(()),
            }),
            _ => Ok(()),
        })
        .map_err(|error| match error {
            OnnxError::Refused(why) if !name.is_empty() => OnnxError::Refused(format!("{name:?}: {why}")),
            error => error,
        })
    }
}
