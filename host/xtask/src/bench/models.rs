//! The models that are served under load, made here without Python and kept in the target folder.

mod graph;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::paths::Paths;
use graph::{Filter, Graph, window};

/// Goes up with every change of a model, so that no old file is measured.
const GENERATION: u32 = 3;

/// So many that ten times the sustainable load costs the generator little beside the model.
const DENSE_LAYERS: usize = 180;

/// Its input is `x`, its output `y`, both of FP32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BenchModel {
    /// `[batch,4]` to `[batch,3]`: costs less than a request around it.
    Tiny,
    /// `[batch,784]` to `[batch,10]`, with two hidden layers of 512: gains by batches.
    Mlp,
    /// `[batch,3,224,224]` to `[batch,1000]`, of the shape of `ResNet-18`: 45 MB, and all the processor it can get.
    Cnn,
    /// `[batch,4]` to `[batch,4]`, with the same layer of 1024 many times between: a small request that costs milliseconds.
    Dense,
}

impl BenchModel {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Mlp => "mlp",
            Self::Cnn => "cnn",
            Self::Dense => "dense",
        }
    }

    /// The ONNX file, made where it is missing.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn file(self, paths: &Paths) -> Result<PathBuf> {
        let folder = paths.target().join("bench-models");
        let file = folder.join(format!("{}-{GENERATION}.onnx", self.name()));
        if !file.is_file() {
            fs::create_dir_all(&folder)?;
            let part = folder.join(format!("{}.{}.part", self.name(), std::process::id()));
            fs::write(&part, self.onnx())
                .and_then(|()| fs::rename(&part, &file))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(file)
    }

    fn onnx(self) -> Vec<u8> {
        match self {
            Self::Tiny => {
                let mut graph = Graph::new(1);
                let scores = graph.gemm("x", 4, 3);
                let shares = graph.operator("Softmax", &[&scores], &[]);
                graph.finish(&shares, &[4], &[3])
            }
            Self::Mlp => {
                let mut graph = Graph::new(2);
                let last = layers(&mut graph, &[784, 512, 512, 10]);
                graph.finish(&last, &[784], &[10])
            }
            Self::Cnn => cnn(),
            Self::Dense => {
                let mut graph = Graph::new(4);
                let mut last = graph.gemm("x", 4, 1024);
                let layer = graph.layer(1024, 1024);
                for _ in 0..DENSE_LAYERS {
                    let rectified = graph.relu(&last);
                    last = graph.apply(&layer, &rectified);
                }
                let last = graph.gemm(&last, 1024, 4);
                graph.finish(&last, &[4], &[4])
            }
        }
    }
}

/// Dense layers of these widths, with a rectifier between two.
fn layers(graph: &mut Graph, widths: &[i64]) -> String {
    let mut last = "x".to_owned();
    for (index, pair) in widths.windows(2).enumerate() {
        if index > 0 {
            last = graph.relu(&last);
        }
        last = graph.gemm(&last, pair[0], pair[1]);
    }
    last
}

/// Four stages of two residual blocks each. Without normalisation: exporters fold it into the weights.
fn cnn() -> Vec<u8> {
    let mut graph = Graph::new(3);
    let filter = |from, to, side, stride| Filter {
        from,
        to,
        side,
        stride,
        gain: 1.0,
    };
    let stem = graph.conv("x", filter(3, 64, 7, 2));
    let stem = graph.relu(&stem);
    let mut last = graph.operator("MaxPool", &[&stem], &window(3, 2));
    let mut from = 64;
    for (stage, width) in [64, 128, 256, 512].into_iter().enumerate() {
        for block in 0..2 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let skip = if from == width && stride == 1 {
                last.clone()
            } else {
                graph.conv(&last, filter(from, width, 1, stride))
            };
            let inner = graph.conv(&last, filter(from, width, 3, stride));
            let inner = graph.relu(&inner);
            let quiet = Filter {
                gain: 0.1,
                ..filter(width, width, 3, 1)
            };
            let inner = graph.conv(&inner, quiet);
            let sum = graph.operator("Add", &[&inner, &skip], &[]);
            last = graph.relu(&sum);
            from = width;
        }
    }
    let pooled = graph.operator("GlobalAveragePool", &[&last], &[]);
    let flat = graph.operator("Flatten", &[&pooled], &[]);
    let scores = graph.gemm(&flat, 512, 1000);
    graph.finish(&scores, &[3, 224, 224], &[1000])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_have_the_size_of_their_weights() {
        for (model, weights, nodes) in [
            (BenchModel::Tiny, 4 * 3 + 3, 2),
            (
                BenchModel::Mlp,
                784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10,
                5,
            ),
            (
                BenchModel::Dense,
                2 * 4 * 1024 + 1024 * 1024 + 2 * 1024 + 4,
                2 + 2 * DENSE_LAYERS,
            ),
        ] {
            let onnx = model.onnx();
            let excess = onnx.len() - 4 * weights;
            assert!(
                excess < 200 + 32 * nodes,
                "{}: {excess} bytes beside the weights",
                model.name()
            );
            assert_eq!(onnx, model.onnx());
        }
    }
}
