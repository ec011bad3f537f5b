use super::are_apart;
use crate::sample::{FLOAT, INT64, Message, graph, node, tensor, value};

/// A graph: `x` is its input, of rows with these further dimensions; `y` its output.
struct Graph {
    input: Vec<Option<u64>>,
    nodes: Vec<Message>,
    constants: Vec<Message>,
    opset: u64,
}

impl Graph {
    fn of(input: &[Option<u64>]) -> Self {
        Self {
            input: input.to_vec(),
            nodes: Vec::new(),
            constants: Vec::new(),
            opset: 17,
        }
    }

    /// Adds a node that makes `outputs` of `inputs`, names with spaces between.
    fn node(self, operator: &str, inputs: &str, outputs: &str) -> Self {
        self.with(operator, inputs, outputs, &[])
    }

    /// Adds a node with attributes.
    fn with(
        mut self,
        operator: &str,
        inputs: &str,
        outputs: &str,
        attributes: Attributes<'_>,
    ) -> Self {
        let (domain, operator) = operator.split_once("::").unwrap_or(("", operator));
        let inputs: Vec<&str> = inputs
            .split(' ')
            .map(|name| name.trim_matches('-'))
            .collect();
        let outputs: Vec<&str> = outputs.split(' ').collect();
        let attribute = |(name, numbers): &(&str, &[i64])| {
            let attribute = Message::new().bytes(1, name);
            match numbers {
                [number] if !LISTS.contains(name) => attribute.int(3, *number),
                numbers => attribute.packed(8, numbers),
            }
        };
        let attributes: Vec<Message> = attributes.iter().map(attribute).collect();
        self.nodes
            .push(node(operator, &inputs, &outputs, &attributes).bytes(7, domain));
        self
    }

    /// Adds a constant of floats, whose data are not looked at.
    fn floats(mut self, name: &str, shape: &[u64]) -> Self {
        self.constants.push(tensor(name, FLOAT, shape, &[]));
        self
    }

    /// Adds a constant list.
    fn numbers(mut self, name: &str, numbers: &[i64]) -> Self {
        let data: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        let shape = [numbers.len() as u64];
        self.constants.push(tensor(name, INT64, &shape, &data));
        self
    }

    fn opset(mut self, version: u64) -> Self {
        self.opset = version;
        self
    }

    fn model(&self) -> Message {
        let size = |size: &Option<u64>| size.map_or(-1, |size| i64::try_from(size).unwrap());
        let shape: Vec<i64> = std::iter::once(-1)
            .chain(self.input.iter().map(size))
            .collect();
        let inputs = [value("x", FLOAT, &shape)];
        self.model_of(&inputs, &[value("y", FLOAT, &[-1])])
    }

    /// The model with other inputs and outputs.
    fn model_of(&self, inputs: &[Message], outputs: &[Message]) -> Message {
        let graph = graph(&self.nodes, inputs, outputs, &self.constants);
        let opset = Message::new().varint(2, self.opset);
        let model = Message::new().varint(1, 8).message(7, &graph);
        model.message(8, &opset)
    }

    fn is_apart(&self) -> bool {
        are_apart(&self.model().into_bytes())
    }
}

/// Attributes: a number each, or a list.
type Attributes<'a> = &'a [(&'a str, &'a [i64])];

const LISTS: [&str; 3] = ["axes", "perm", "shape"];

/// Checks graphs of one node that makes `y` of `x` and constants.
fn check(input: &[Option<u64>], cases: &[(&str, &str, Attributes<'_>, bool)]) {
    for (operator, inputs, attributes, expected) in cases {
        let graph = Graph::of(input)
            .floats("scalar", &[])
            .floats("four", &[4])
            .floats("row", &[1, 4])
            .floats("table", &[4, 5])
            .floats("filter", &[8, 3, 3, 3])
            .numbers("first", &[0])
            .numbers("second", &[1])
            .numbers("last", &[-1])
            .with(operator, inputs, "y", attributes);
        assert_eq!(
            graph.is_apart(),
            *expected,
            "{operator} {inputs} {attributes:?}"
        );
    }
}

#[test]
fn rules_for_tables() {
    check(
        &[Some(4)],
        &[
            ("Relu", "x", &[], true),
            ("Add", "x four", &[], true),
            ("Add", "row x", &[], true),
            ("Mul", "x x", &[], true),
            ("Add", "x table", &[], false),
            ("Clip", "x - scalar", &[], true),
            ("Clip", "x x", &[], false),
            ("Softmax", "x", &[], true),
            ("Softmax", "x", &[("axis", &[-1])], true),
            ("Softmax", "x", &[("axis", &[0])], false),
            ("Softmax", "x", &[("axis", &[-2])], false),
            ("LayerNormalization", "x four four", &[], true),
            ("LayerNormalization", "x table", &[], false),
            ("BatchNormalization", "x four four four four", &[], true),
            (
                "BatchNormalization",
                "x four four four four",
                &[("training_mode", &[1])],
                false,
            ),
            ("Gemm", "x table", &[], true),
            ("Gemm", "x table", &[("transA", &[1])], false),
            ("Gemm", "table x", &[], false),
            ("Gemm", "x table table", &[], false),
            ("MatMul", "x table", &[], true),
            ("MatMul", "x four", &[], true),
            ("MatMul", "x x", &[], false),
            ("MatMul", "table x", &[], false),
            ("ReduceMean", "x", &[("axes", &[1])], true),
            ("ReduceMean", "x", &[("axes", &[0])], false),
            ("ReduceMean", "x", &[], false),
            ("ReduceSum", "x last", &[], true),
            ("ReduceSum", "x last", &[("keepdims", &[2])], false),
            ("ReduceSum", "x first", &[("keepdims", &[0])], false),
            ("ArgMax", "x", &[("axis", &[1])], true),
            ("ArgMax", "x", &[], false),
            ("TopK", "x second", &[], true),
            ("Gather", "x second", &[("axis", &[1])], true),
            ("Gather", "x first", &[], false),
            ("Gather", "table x", &[], true),
            ("Gather", "table x", &[("axis", &[1])], false),
            ("Concat", "x x", &[("axis", &[1])], true),
            ("Concat", "x x", &[("axis", &[0])], false),
            ("Concat", "x row", &[("axis", &[1])], false),
            ("Transpose", "x", &[("perm", &[0, 1])], true),
            ("Transpose", "x", &[("perm", &[1, 0])], false),
            ("Transpose", "x", &[], false),
            ("Unsqueeze", "x second", &[], true),
            ("Unsqueeze", "x first", &[], false),
            ("Squeeze", "x second", &[], true),
            ("Squeeze", "x", &[], false),
            ("CumSum", "x first", &[], false),
            ("DynamicQuantizeLinear", "x", &[], false),
            ("QuantizeLinear", "x scalar", &[], true),
            ("QuantizeLinear", "x four", &[("axis", &[0])], false),
            ("com.acme::Relu", "x", &[], false),
            ("ai.onnx::Relu", "x", &[], true),
            ("ai.onnx.ml::Scaler", "x", &[], true),
            ("ai.onnx.ml::TreeEnsembleRegressor", "x", &[], true),
            ("ai.onnx.ml::LinearClassifier", "x", &[], true),
            ("ai.onnx.ml::ZipMap", "x", &[], false),
        ],
    );
}

#[test]
fn rules_for_images() {
    check(
        &[Some(3), Some(8), Some(8)],
        &[
            ("Conv", "x filter", &[], true),
            ("Conv", "x filter four", &[], true),
            ("Conv", "filter x", &[], false),
            ("MaxPool", "x", &[], true),
            ("GlobalAveragePool", "x", &[], true),
            ("InstanceNormalization", "x four four", &[], true),
            ("Flatten", "x", &[], true),
            ("Flatten", "x", &[("axis", &[2])], false),
            ("Flatten", "x", &[("axis", &[0])], false),
            ("ai.onnx.ml::TreeEnsembleRegressor", "x", &[], false),
            ("Add", "x four", &[], true),
            ("MatMul", "x x", &[], true),
            ("Split", "x", &[("axis", &[1])], true),
            ("Split", "x", &[], false),
        ],
    );
}

#[test]
fn a_shape_keeps_rows_where_each_keeps_its_elements() {
    let of = |input: &[Option<u64>], shape: &[i64]| {
        let graph = Graph::of(input).numbers("shape", shape);
        graph.node("Reshape", "x shape", "y").is_apart()
    };
    let image = [Some(2), Some(3)];
    assert!(of(&image, &[-1, 6]));
    assert!(of(&image, &[0, -1]));
    assert!(of(&image, &[0, 0, 3, 1]));
    assert!(!of(&image, &[-1, 3]), "two rows of each");
    assert!(!of(&image, &[-1, 12]), "one of two rows");
    assert!(!of(&image, &[6, -1]));
    assert!(!of(&image, &[1, -1]));
    assert!(!of(&image, &[]));
    assert!(!of(&[None], &[-1, 6]), "how long a row is, is not known");
    assert!(of(&[None], &[0, 2, -1]));
    // A shape that comes from the input.
    let graph = Graph::of(&image).node("Shape", "x", "shape");
    assert!(!graph.node("Reshape", "x shape", "y").is_apart());
}

#[test]
fn the_sizes_of_a_row_are_followed() {
    let filtered = || {
        Graph::of(&[Some(3), Some(8), Some(8)])
            .floats("filter", &[8, 3, 3, 3])
            .node("Conv", "x filter", "conv")
            .node("GlobalAveragePool", "conv", "pool")
    };
    let shaped = |width| {
        let graph = filtered().numbers("shape", &[-1, width]);
        graph.node("Reshape", "pool shape", "y").is_apart()
    };
    assert!(shaped(8) && !shaped(4));
    let folded = filtered().with("ReduceMax", "conv", "max", &[("axes", &[2, 3])]);
    let graph = folded.numbers("shape", &[-1, 2, 4]);
    assert!(graph.node("Reshape", "max shape", "y").is_apart());
}

#[test]
fn one_mixed_value_is_enough_where_it_reaches_an_output() {
    let graph = || Graph::of(&[Some(4)]).node("CumSum", "x x", "mixed");
    assert!(graph().node("Relu", "x", "y").is_apart());
    assert!(!graph().node("Add", "x mixed", "y").is_apart());
    assert!(!graph().node("Relu", "mixed", "y").is_apart());
}

#[test]
fn what_was_made_of_constants_is_one() {
    let graph = Graph::of(&[Some(4)]).floats("w", &[4, 5]);
    // Its shape is not followed, so that nothing is known of what it meets.
    let turned = graph.with("Transpose", "w", "turned", &[("perm", &[1, 0])]);
    assert!(!turned.node("Add", "x turned", "y").is_apart());
    let graph = Graph::of(&[Some(4)]).floats("w", &[4, 5]);
    let cast = graph.node("Cast", "w", "cast");
    assert!(cast.node("Gemm", "x cast", "y").is_apart());
}

#[test]
fn what_is_not_understood_is_not_apart() {
    let relu = || Graph::of(&[Some(4)]).node("Relu", "x", "y");
    assert!(relu().is_apart());
    assert!(!relu().opset(6).is_apart(), "other rules of broadcasting");
    assert!(!Graph::of(&[Some(4)]).node("Relu", "later", "y").is_apart());
    assert!(!relu().node("Relu", "x", "y").is_apart(), "two of a name");
    // A function could have the name of any operator.
    let function = Message::new().bytes(1, "Relu");
    assert!(!are_apart(
        &relu().model().message(25, &function).into_bytes()
    ));
    // A graph of its own reads `x` by name.
    let inner = Message::new().bytes(1, "body").message(6, &Message::new());
    let hiding = Message::new()
        .bytes(2, "c")
        .bytes(4, "If")
        .message(5, &inner);
    let mut graph = Graph::of(&[Some(4)]).floats("go", &[]);
    graph.nodes.push(hiding.bytes(1, "go"));
    assert!(!graph.node("Gemm", "x c", "y").is_apart());
    assert!(!are_apart(b"\x08\x08\x3a\xff"));
    assert!(!are_apart(b""));
}

#[test]
fn softmax_of_old_goes_over_all_from_its_axis_on() {
    let of = |axis: &[i64]| {
        let graph = Graph::of(&[Some(2), Some(3)]).opset(11);
        graph
            .with("Softmax", "x", "y", &[("axis", axis)])
            .is_apart()
    };
    assert!(of(&[1]) && of(&[2]) && !of(&[0]));
    assert!(
        Graph::of(&[Some(3)])
            .opset(11)
            .node("Softmax", "x", "y")
            .is_apart()
    );
    assert!(
        !Graph::of(&[]).node("Softmax", "x", "y").is_apart(),
        "along the rows"
    );
}

#[test]
fn an_attribute_without_its_number_is_zero() {
    // Writers leave a 0 out: this is no axis that was not given.
    let named = |name: &str| Message::new().bytes(1, name).varint(20, 2);
    let of = |node: Message, input: &[Option<u64>]| {
        let mut graph = Graph::of(input);
        graph.nodes.push(node.bytes(1, "x").bytes(2, "made"));
        graph
    };
    let axis = || Message::new().message(5, &named("axis"));
    for operator in ["Softmax", "LpNormalization", "Flatten", "TopK"] {
        let graph = of(axis().bytes(4, operator), &[Some(4)]);
        assert!(!graph.node("Relu", "made", "y").is_apart(), "{operator}");
    }
    let reduce = Message::new().bytes(4, "ReduceMean");
    let axes = Message::new().bytes(1, "axes").packed(8, &[1]);
    let reduce = reduce.message(5, &axes).message(5, &named("keepdims"));
    let graph = of(reduce, &[Some(3), Some(4)]);
    let across = graph.with("Softmax", "made", "y", &[("axis", &[-2])]);
    assert!(!across.is_apart(), "it has lost a dimension");
}

#[test]
fn what_could_be_read_in_two_ways_is_not_apart() {
    let all = [[1; 33].as_slice(), &[0]].concat();
    let graph = Graph::of(&[Some(4)]).with("ReduceMean", "x", "mean", &[("axes", &all)]);
    assert!(!graph.node("Sub", "x mean", "y").is_apart(), "a long list");

    // The other form of a list: not as bytes.
    let list = |numbers: &[i64]| {
        let tensor = Message::new().varint(1, numbers.len() as u64);
        tensor.varint(2, INT64).packed(7, numbers)
    };
    let constant = |attributes: &[Message]| {
        let mut graph = Graph::of(&[Some(4)]);
        let node = Message::new().bytes(4, "Constant").bytes(2, "shape");
        graph.nodes.push(node.messages(5, attributes));
        graph.node("Reshape", "x shape", "y").is_apart()
    };
    let value = || Message::new().bytes(1, "value").varint(20, 4);
    let tensor = value().message(5, &list(&[-1, 4]));
    assert!(constant(std::slice::from_ref(&tensor)));
    let numbers = Message::new()
        .bytes(1, "value_ints")
        .varint(20, 7)
        .packed(8, &[1, -1]);
    assert!(!constant(&[numbers, tensor.clone()]));
    assert!(!constant(&[tensor.clone(), tensor.clone()]));
    let twice = tensor.message(5, &list(&[1, -1]));
    assert!(!constant(&[twice]), "two tensors are merged");
    let as_list = value().varint(20, 7).message(5, &list(&[-1, 4]));
    assert!(!constant(&[as_list]), "its kind is another");

    let far = Graph::of(&[Some(4)]).node("Relu", "x", "y");
    assert!(!far.opset((1 << 32) + 7).is_apart());
    let relu = Graph::of(&[Some(4)]).node("Relu", "x", "y").model();
    let older = Message::new().bytes(1, "ai.onnx").varint(2, 6);
    assert!(!are_apart(&relu.message(8, &older).into_bytes()));
}

#[test]
fn the_last_name_of_an_output_is_its_name() {
    let is_apart = |first: &str, last: &str| {
        let nodes = Graph::of(&[])
            .node("Relu", "x", "z")
            .node("CumSum", "x x", "y");
        let output = value(first, FLOAT, &[-1, 4]).bytes(1, last);
        let model = nodes.model_of(&[value("x", FLOAT, &[-1, 4])], &[output]);
        are_apart(&model.into_bytes())
    };
    assert!(is_apart("y", "z"));
    assert!(!is_apart("z", "y"));
}

#[test]
fn scores_that_are_written_to_other_rows_are_not_apart() {
    let text = Message::new().bytes(1, "post_transform").bytes(4, "PROBIT");
    let node = Message::new()
        .bytes(4, "LinearClassifier")
        .bytes(7, "ai.onnx.ml");
    let mut graph = Graph::of(&[Some(4)]);
    graph
        .nodes
        .push(node.bytes(1, "x").bytes(2, "y").message(5, &text));
    assert!(!graph.is_apart());
}

#[test]
fn what_is_drawn_is_no_constant() {
    let graph = Graph::of(&[Some(4)]).with("RandomNormal", "-", "w", &[("shape", &[4, 3])]);
    assert!(!graph.node("Gemm", "x w", "y").is_apart());
}

#[test]
fn an_input_that_may_be_left_out_is_a_constant() {
    let is_apart = |graph: Graph| {
        let inputs = [value("x", FLOAT, &[-1]), value("step", FLOAT, &[1])];
        let graph = graph.node("Add", "x step", "y");
        let model = graph.model_of(&inputs, &[value("y", FLOAT, &[-1])]);
        are_apart(&model.into_bytes())
    };
    assert!(is_apart(Graph::of(&[]).floats("step", &[])));
    assert!(!is_apart(Graph::of(&[])), "one of a fixed size is no row");
}
