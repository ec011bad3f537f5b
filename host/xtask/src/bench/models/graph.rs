//! A graph of ONNX with random weights, the same in every run.

use fastrand::Rng;
use wharf_protobuf::Message;

const FLOAT: i64 = 1;
const INTS: i64 = 7;
/// What opset 17 came with: old runtimes load it too.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

/// A graph that grows node by node. Its input is `x`, its output `y`, and the first dimension of both is free.
pub(super) struct Graph {
    nodes: Vec<Message>,
    weights: Vec<Message>,
    random: Rng,
    made: usize,
}

/// A convolution with padding that keeps the size, but for the stride.
#[derive(Clone, Copy)]
pub(super) struct Filter {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) side: i64,
    pub(super) stride: i64,
    /// Of the weights: below 1, a sum of many stays bounded.
    pub(super) gain: f32,
}

impl Graph {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            nodes: Vec::new(),
            weights: Vec::new(),
            random: Rng::with_seed(seed),
            made: 0,
        }
    }

    /// Adds an operator, and gives the name of its output.
    pub(super) fn operator(
        &mut self,
        name: &str,
        inputs: &[&str],
        attributes: &[Message],
    ) -> String {
        let output = self.name("t");
        let mut node = Message::new();
        for input in inputs {
            node = node.bytes(1, input);
        }
        node = node.bytes(2, &output).bytes(4, name);
        for attribute in attributes {
            node = node.message(5, attribute);
        }
        self.nodes.push(node);
        output
    }

    pub(super) fn relu(&mut self, input: &str) -> String {
        self.operator("Relu", &[input], &[])
    }

    /// A dense layer.
    pub(super) fn gemm(&mut self, input: &str, from: i64, to: i64) -> String {
        let layer = self.layer(from, to);
        self.apply(&layer, input)
    }

    /// The weights of a dense layer, which may be applied more than once.
    pub(super) fn layer(&mut self, from: i64, to: i64) -> [String; 2] {
        let weights = self.weights(&[from, to], (2.0 / from as f32).sqrt());
        [weights, self.weights(&[to], 0.01)]
    }

    /// A dense layer with weights that are there.
    pub(super) fn apply(&mut self, [weights, bias]: &[String; 2], input: &str) -> String {
        self.operator("Gemm", &[input, weights, bias], &[])
    }

    pub(super) fn conv(&mut self, input: &str, filter: Filter) -> String {
        let Filter {
            from,
            to,
            side,
            stride,
            gain,
        } = filter;
        let fan_in = (from * side * side) as f32;
        let weights = self.weights(&[to, from, side, side], (2.0 * gain / fan_in).sqrt());
        let bias = self.weights(&[to], 0.01);
        let attributes = window(side, stride);
        self.operator("Conv", &[input, &weights, &bias], &attributes)
    }

    /// Ends the graph with the name of what is its output, and gives the bytes of the model.
    pub(super) fn finish(mut self, last: &str, input: &[i64], output: &[i64]) -> Vec<u8> {
        let identity = Message::new()
            .bytes(1, last)
            .bytes(2, "y")
            .bytes(4, "Identity");
        self.nodes.push(identity);
        let mut graph = Message::new();
        for node in &self.nodes {
            graph = graph.message(1, node);
        }
        graph = graph.bytes(2, "bench");
        for weights in &self.weights {
            graph = graph.message(5, weights);
        }
        graph = graph
            .message(11, &value("x", input))
            .message(12, &value("y", output));
        let opset = Message::new().bytes(1, "").int(2, OPSET);
        let model = Message::new()
            .int(1, IR_VERSION)
            .bytes(2, "wharf-bench")
            .message(7, &graph)
            .message(8, &opset);
        model.into_bytes()
    }

    fn weights(&mut self, shape: &[i64], scale: f32) -> String {
        let name = self.name("w");
        let count = shape.iter().product();
        let mut data = Vec::new();
        for _ in 0..count {
            data.extend((normal(&mut self.random) * scale).to_le_bytes());
        }
        let tensor = Message::new()
            .packed(1, shape)
            .int(2, FLOAT)
            .bytes(8, &name)
            .bytes(9, &data);
        self.weights.push(tensor);
        name
    }

    fn name(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}{}", self.made)
    }
}

/// The attributes of an operator that slides a square window.
pub(super) fn window(side: i64, stride: i64) -> [Message; 3] {
    let pad = side / 2;
    [
        ints("kernel_shape", &[side, side]),
        ints("strides", &[stride, stride]),
        ints("pads", &[pad, pad, pad, pad]),
    ]
}

fn ints(name: &str, numbers: &[i64]) -> Message {
    let mut attribute = Message::new().bytes(1, name);
    for &number in numbers {
        attribute = attribute.int(8, number);
    }
    attribute.int(20, INTS)
}

/// An input or output of floats with a free first dimension.
fn value(name: &str, sides: &[i64]) -> Message {
    let mut shape = Message::new().message(1, &Message::new().bytes(2, "batch"));
    for &side in sides {
        shape = shape.message(1, &Message::new().int(1, side));
    }
    let tensor = Message::new().int(1, FLOAT).message(2, &shape);
    let kind = Message::new().message(1, &tensor);
    Message::new().bytes(1, name).message(2, &kind)
}

/// Close to normal: a sum of four even ones, with the variance 1.
fn normal(random: &mut Rng) -> f32 {
    let sum: f32 = (0..4).map(|_| random.f32()).sum();
    (sum - 2.0) * 3_f32.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_random_and_always_the_same() {
        let (mut one, mut other) = (Rng::with_seed(7), Rng::with_seed(7));
        let values: Vec<f32> = (0..10_000).map(|_| normal(&mut one)).collect();
        assert!(values.iter().all(|value| *value == normal(&mut other)));
        let mean = values.iter().sum::<f32>() / 1e4;
        let variance = values.iter().map(|value| value * value).sum::<f32>() / 1e4;
        assert!(
            mean.abs() < 0.05 && (variance - 1.0).abs() < 0.1,
            "{mean} {variance}"
        );
    }
}
