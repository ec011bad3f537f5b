//! What fuzzers call; there only with the feature `fuzzing`.

use crate::onnx;

/// Walks arbitrary bytes as an ONNX file. It must neither panic nor take long, and what it lets through must be sound.
///
/// # Panics
/// Where the walk lets a tensor through whose data would end beyond any file.
pub fn onnx_walk(model: &[u8]) {
    let Ok(inspection) = onnx::inspect(model) else {
        return;
    };
    onnx::rows::are_apart(model);
    for tensor in inspection.external {
        let end = tensor.offset.checked_add(tensor.bytes);
        assert!(
            end.is_some_and(|end| i64::try_from(end).is_ok()),
            "a tensor ends beyond any file"
        );
    }
}
