//! How many rows a batch of a model may have: as its settings say, or as its graph allows.

use wharf_core::TensorSpec;

use crate::batching::is_joinable;
use crate::onnx;
use crate::site::Source;

/// The most rows of a batch that nobody asked for.
const ROWS: u64 = 64;
/// The most bytes of its inputs, and of its outputs as far as they are known. Where rows are larger, what a run costs beside is little:
/// a batch gains nothing then, takes memory, and all in it wait for the last.
const BYTES: u64 = 256 << 10;
/// What a text is taken for.
const TEXT: u64 = 16;

/// The most rows of a batch.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) max: u64,
    /// Whether the settings leave them open.
    pub(super) unasked: bool,
}

/// The rows of a batch; none where the settings want some joined that cannot be.
pub(super) fn rows(source: &Source, inputs: &[TensorSpec], outputs: &[TensorSpec]) -> Option<Rows> {
    // What a request may leave out is not joined.
    let required: Vec<&TensorSpec> = inputs.iter().filter(|spec| !spec.optional).collect();
    let can_join = is_joinable(required.iter().copied()) && is_joinable(outputs);
    let asked = source
        .settings
        .batching
        .max_rows
        .map(|rows| u64::from(rows.get()));
    let max = match asked {
        Some(rows) if rows > 1 && !can_join => return None,
        Some(rows) => rows,
        None if can_join => by_default(&source.model, &required, outputs),
        None => 1,
    };
    Some(Rows {
        max,
        unasked: asked.is_none(),
    })
}

fn by_default(model: &[u8], inputs: &[&TensorSpec], outputs: &[TensorSpec]) -> u64 {
    let Some(input) = inputs
        .iter()
        .try_fold(0_u64, |sum, spec| sum.checked_add(row_bytes(spec)?))
    else {
        return 1;
    };
    let output = outputs.iter().filter_map(row_bytes);
    let row = output.fold(0, u64::saturating_add).max(input).max(1);
    // The cheaper question first.
    if row <= BYTES / 2 && onnx::rows::are_apart(model) {
        (BYTES / row).min(ROWS)
    } else {
        1
    }
}

/// The bytes of a row; none where a request may choose its length.
fn row_bytes(spec: &TensorSpec) -> Option<u64> {
    let element = spec.datatype.size().map_or(TEXT, |size| size as u64);
    let dimensions = spec.shape.get(1..)?;
    dimensions
        .iter()
        .try_fold(element, |bytes, size| bytes.checked_mul((*size)?))
}

#[cfg(test)]
mod tests {
    use wharf_core::Datatype;
    use wharf_protobuf::Message;

    use super::*;

    /// A model of one operator.
    fn model(operator: &str) -> Vec<u8> {
        let value = |name: &str| {
            let batch = Message::new().bytes(2, "batch");
            let shape = Message::new().messages(1, &[batch, Message::new().varint(1, 4)]);
            let tensor = Message::new().varint(1, 1).message(2, &shape);
            let kind = Message::new().message(1, &tensor);
            Message::new().bytes(1, name).message(2, &kind)
        };
        let node = Message::new()
            .bytes(1, "x")
            .bytes(2, "y")
            .bytes(4, operator);
        let graph = Message::new()
            .message(1, &node)
            .message(11, &value("x"))
            .message(12, &value("y"));
        let opset = Message::new().varint(2, 17);
        let model = Message::new().varint(1, 8).message(7, &graph);
        model.message(8, &opset).into_bytes()
    }

    #[test]
    fn small_rows_are_joined_where_the_graph_keeps_them_apart() {
        let spec = |dimensions: &[Option<u64>]| {
            let shape = [&[None], dimensions].concat();
            TensorSpec::new("x", Datatype::Fp32, shape)
        };
        let of = |dimensions: &[Option<u64>], model: &[u8]| {
            by_default(model, &[&spec(dimensions)], &[spec(&[Some(1)])])
        };
        let relu = model("Relu");
        assert_eq!(of(&[Some(4)], &relu), 64);
        assert_eq!(of(&[], &relu), 64);
        assert_eq!(of(&[Some(4096)], &relu), 16);
        assert_eq!(of(&[Some(3), Some(224), Some(224)], &relu), 1);
        assert_eq!(of(&[None], &relu), 1, "requests have rows of other lengths");
        assert_eq!(of(&[Some(4)], &model("Det")), 1, "nothing is known of it");
        for size in [u64::MAX, 1 << 61] {
            assert_eq!(of(&[Some(size)], &relu), 1);
        }
        let of = |output: &[Option<u64>]| by_default(&relu, &[&spec(&[])], &[spec(output)]);
        assert_eq!(of(&[Some(1024), Some(1024)]), 1, "its outputs are large");
        assert_eq!(of(&[None]), 64);
    }
}
