//! How many rows a batch of a model may have: as its settings say, or as its graph allows.

use wharf_core::TensorSpec;

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
    let mut all = required.iter().copied().chain(outputs);
    let can_join = !required.is_empty()
        && !outputs.is_empty()
        && all.all(|spec| spec.shape.first() == Some(&None));
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

    use super::*;
    use crate::sample::{FLOAT, identity, slow};

    #[test]
    fn small_rows_are_joined_where_the_graph_keeps_them_apart() {
        let spec = |dimensions: &[Option<u64>]| {
            let shape = [&[None], dimensions].concat();
            TensorSpec::new("x", Datatype::Fp32, shape)
        };
        let of = |dimensions: &[Option<u64>], model: &[u8]| {
            by_default(model, &[&spec(dimensions)], &[spec(&[Some(1)])])
        };
        let apart = identity(FLOAT, &[-1, 4]);
        assert_eq!(of(&[Some(4)], &apart), 64);
        assert_eq!(of(&[], &apart), 64);
        assert_eq!(of(&[Some(4096)], &apart), 16);
        assert_eq!(of(&[Some(3), Some(224), Some(224)], &apart), 1);
        assert_eq!(
            of(&[None], &apart),
            1,
            "requests have rows of other lengths"
        );
        assert_eq!(of(&[Some(4)], &slow()), 1, "nothing is known of a loop");
        for size in [u64::MAX, 1 << 61] {
            assert_eq!(of(&[Some(size)], &apart), 1);
        }
        let of = |output: &[Option<u64>]| by_default(&apart, &[&spec(&[])], &[spec(output)]);
        assert_eq!(of(&[Some(1024), Some(1024)]), 1, "its outputs are large");
        assert_eq!(of(&[None]), 64);
    }
}
