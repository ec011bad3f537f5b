//! Models made for a test, as ONNX files. Few fields of the format are needed, so they are written by hand.

use wharf_protobuf::Message;

/// The side of the matrices in [`slow`].
const SLOW_SIDE: i64 = 512;

/// Where an initializer's data lie outside the model file.
#[derive(Clone, Debug)]
pub struct External<'a> {
    /// The path, relative to the model's folder where it is well behaved.
    pub location: &'a str,
    /// The offset in the file.
    pub offset: i64,
    /// The count of bytes.
    pub length: i64,
}

/// Makes `y[batch,4] = x[batch,4] + amount`.
#[must_use]
pub fn adder(amount: f32) -> Vec<u8> {
    let bytes: Vec<u8> = [amount; 4]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    adder_of(&initializer("amount", &[4], &bytes))
}

/// Makes the model of [`adder`] with `ballast` floats of weights that it carries and uses, to weigh something in memory.
#[must_use]
pub fn heavy_adder(amount: f32, ballast: usize) -> Vec<u8> {
    let length = i64::try_from(ballast).unwrap_or(i64::MAX);
    let weights: Vec<u8> = (0..ballast).flat_map(|_| 1_f32.to_le_bytes()).collect();
    // The index depends on the input, so that the weights cannot be folded away.
    let nodes = [
        node("Shape", &["x"], "shape", &[]),
        node("Sub", &["shape", "shape"], "zeros", &[]),
        node(
            "ReduceSum",
            &["zeros"],
            "zero",
            &[attribute_int("keepdims", 0)],
        ),
        node("Gather", &["weights", "zero"], "one", &[]),
        node("Mul", &["amount", "one"], "scaled", &[]),
        node("Add", &["x", "scaled"], "y", &[]),
    ];
    let initializers = [
        initializer("weights", &[length], &weights),
        initializer("amount", &[], &amount.to_le_bytes()),
    ];
    model(&nodes, &initializers)
}

/// Makes the model of [`adder`] whose amount lies in another file.
#[must_use]
pub fn external_adder(external: &External<'_>) -> Vec<u8> {
    let mut tensor = Message::new()
        .packed(1, &[4])
        .int(2, FLOAT)
        .bytes(8, "amount");
    for (key, value) in [
        ("location", external.location.to_owned()),
        ("offset", external.offset.to_string()),
        ("length", external.length.to_string()),
    ] {
        let entry = Message::new().bytes(1, key).bytes(2, &value);
        tensor = tensor.message(13, &entry);
    }
    adder_of(&tensor.int(14, 1)) // data_location: EXTERNAL
}

/// Makes a model with an operator that no runtime knows.
#[must_use]
pub fn unknown_operator() -> Vec<u8> {
    model(&[node("NoSuchOperator", &["x"], "y", &[])], &[])
}

/// An input of [`identity`]: its name, its element type as ONNX numbers them, and its dimensions, numbers or names.
pub type Given<'a> = (&'a str, i64, &'a [&'a str]);

/// Makes a model that gives each input back, under its name with `_out` behind it.
#[must_use]
pub fn identity(inputs: &[Given<'_>]) -> Vec<u8> {
    let output = |name: &str| format!("{name}_out");
    let nodes: Vec<Message> = inputs
        .iter()
        .map(|(name, ..)| node("Identity", &[name], &output(name), &[]))
        .collect();
    let values = |named: &dyn Fn(&str) -> String| -> Vec<Message> {
        inputs
            .iter()
            .map(|(name, element, shape)| value_of(&named(name), *element, shape))
            .collect()
    };
    let graph = Message::new()
        .messages(1, &nodes)
        .bytes(2, "test")
        .messages(11, &values(&str::to_owned))
        .messages(12, &values(&output));
    of_graph(&graph)
}

/// Makes `y = x + 0` that takes `steps` products of large matrices on the way, some milliseconds each.
#[must_use]
pub fn slow(steps: usize) -> Vec<u8> {
    let shape: Vec<u8> = [SLOW_SIDE, SLOW_SIDE]
        .iter()
        .flat_map(|side| side.to_le_bytes())
        .collect();
    let shape_of_matrix = Message::new()
        .packed(1, &[2])
        .int(2, INT64)
        .bytes(8, "side")
        .bytes(9, &shape);
    let nothing = initializer("nothing", &[], &0_f32.to_le_bytes());

    // The matrix depends on the input, so that nothing is computed when the model is loaded.
    let mut nodes = vec![
        node("ReduceSum", &["x"], "sum", &[attribute_int("keepdims", 0)]),
        node("Mul", &["sum", "nothing"], "start", &[]),
        node("Expand", &["start", "side"], "m0", &[]),
    ];
    for step in 0..steps {
        let (from, to) = (format!("m{step}"), format!("m{}", step + 1));
        nodes.push(node("MatMul", &[&from, &from], &to, &[]));
    }
    let last = format!("m{steps}");
    nodes.push(node(
        "ReduceSum",
        &[&last],
        "total",
        &[attribute_int("keepdims", 0)],
    ));
    nodes.push(node("Add", &["x", "total"], "y", &[]));
    model(&nodes, &[shape_of_matrix, nothing])
}

const FLOAT: i64 = 1;
const INT64: i64 = 7;

fn adder_of(amount: &Message) -> Vec<u8> {
    model(
        &[node("Add", &["x", "amount"], "y", &[])],
        std::slice::from_ref(amount),
    )
}

/// `ModelProto`: IR version 8, opset 17, `x[batch,4]` to `y[batch,4]`.
fn model(nodes: &[Message], initializers: &[Message]) -> Vec<u8> {
    let graph = Message::new()
        .messages(1, nodes)
        .bytes(2, "test")
        .messages(5, initializers)
        .message(11, &value_of("x", FLOAT, &["batch", "4"]))
        .message(12, &value_of("y", FLOAT, &["batch", "4"]));
    of_graph(&graph)
}

fn of_graph(graph: &Message) -> Vec<u8> {
    let opset = Message::new().bytes(1, "").int(2, 17);
    Message::new()
        .int(1, 8)
        .bytes(2, "wharf-e2e")
        .message(7, graph)
        .message(8, &opset)
        .into_bytes()
}

/// `NodeProto`.
fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[Message]) -> Message {
    inputs
        .iter()
        .fold(Message::new(), |node, input| node.bytes(1, input))
        .bytes(2, output)
        .bytes(4, operator)
        .messages(5, attributes)
}

/// `AttributeProto` of the type INT.
fn attribute_int(name: &str, number: i64) -> Message {
    Message::new().bytes(1, name).int(3, number).int(20, 2)
}

/// `TensorProto` of floats.
fn initializer(name: &str, dims: &[i64], data: &[u8]) -> Message {
    Message::new()
        .packed(1, dims)
        .int(2, FLOAT)
        .bytes(8, name)
        .bytes(9, data)
}

/// `ValueInfoProto` of a tensor.
fn value_of(name: &str, element: i64, shape: &[&str]) -> Message {
    let dimensions: Vec<Message> = shape
        .iter()
        .map(|size| match size.parse() {
            Ok(size) => Message::new().int(1, size),
            Err(_) => Message::new().bytes(2, size),
        })
        .collect();
    let shape = Message::new().messages(1, &dimensions);
    let tensor = Message::new().int(1, element).message(2, &shape);
    let kind = Message::new().message(1, &tensor);
    Message::new().bytes(1, name).message(2, &kind)
}
