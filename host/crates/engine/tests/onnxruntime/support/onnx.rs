//! Makes ONNX files of the messages that they are made of.

pub(crate) use wharf_protobuf::Message;

/// `TensorProto.DataType`.
pub(crate) const FLOAT: u64 = 1;
pub(crate) const INT64: u64 = 7;
pub(crate) const STRING: u64 = 8;
pub(crate) const BOOL: u64 = 9;

/// A `ValueInfoProto`: a tensor whose dimensions are free where negative.
pub(crate) fn value(name: &str, element: u64, shape: &[i64]) -> Message {
    let dimensions: Vec<Message> = shape
        .iter()
        .enumerate()
        .map(|(index, dimension)| match u64::try_from(*dimension) {
            Ok(dimension) => Message::new().varint(1, dimension),
            Err(_) => Message::new().bytes(2, format!("free{index}")),
        })
        .collect();
    let shape = Message::new().messages(1, &dimensions);
    let tensor = Message::new().varint(1, element).message(2, &shape);
    Message::new()
        .bytes(1, name)
        .message(2, &Message::new().message(1, &tensor))
}

/// A `NodeProto`.
pub(crate) fn node(
    operator: &str,
    inputs: &[&str],
    outputs: &[&str],
    attributes: &[Message],
) -> Message {
    let message = inputs
        .iter()
        .fold(Message::new(), |message, name| message.bytes(1, name));
    let message = outputs
        .iter()
        .fold(message, |message, name| message.bytes(2, name));
    message.bytes(4, operator).messages(5, attributes)
}

/// A `TensorProto` with its data inside.
pub(crate) fn tensor(name: &str, element: u64, shape: &[u64], data: &[u8]) -> Message {
    let message = shape.iter().fold(Message::new(), |message, dimension| {
        message.varint(1, *dimension)
    });
    message.varint(2, element).bytes(8, name).bytes(9, data)
}

pub(crate) fn tensor_f32(name: &str, shape: &[u64], data: &[f32]) -> Message {
    let bytes: Vec<u8> = data
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    tensor(name, FLOAT, shape, &bytes)
}

/// A `TensorProto` of floats with its data in another file.
pub(crate) fn external(name: &str, shape: &[u64], entries: &[(&str, &str)]) -> Message {
    let message = shape.iter().fold(Message::new(), |message, dimension| {
        message.varint(1, *dimension)
    });
    let message = message.varint(2, FLOAT).bytes(8, name);
    entries
        .iter()
        .fold(message, |message, (key, value)| {
            message.message(13, &Message::new().bytes(1, key).bytes(2, value))
        })
        .varint(14, 1)
}

/// A `GraphProto`.
pub(crate) fn graph(
    nodes: &[Message],
    inputs: &[Message],
    outputs: &[Message],
    initializers: &[Message],
) -> Message {
    Message::new()
        .messages(1, nodes)
        .bytes(2, "g")
        .messages(5, initializers)
        .messages(11, inputs)
        .messages(12, outputs)
}

/// A `ModelProto` of a graph.
pub(crate) fn model(graph: &Message) -> Message {
    let opset = Message::new().bytes(1, "").varint(2, 17);
    Message::new()
        .varint(1, 8)
        .message(7, graph)
        .message(8, &opset)
}

/// `y = x`, of any element type and shape.
pub(crate) fn identity(element: u64, shape: &[i64]) -> Vec<u8> {
    model(&graph(
        &[node("Identity", &["x"], &["y"], &[])],
        &[value("x", element, shape)],
        &[value("y", element, shape)],
        &[],
    ))
    .into_bytes()
}

/// `y = x + step`, rows of two floats.
pub(crate) fn add(step: f32) -> Vec<u8> {
    model(&graph(
        &[node("Add", &["x", "step"], &["y"], &[])],
        &[value("x", FLOAT, &[-1, 2])],
        &[value("y", FLOAT, &[-1, 2])],
        &[tensor_f32("step", &[1], &[step])],
    ))
    .into_bytes()
}

/// `y = x` after as many turns of a loop as the input `turns` says: a model that takes as long as a test wants. Each
/// turn multiplies matrices, so that it can be stopped between them.
pub(crate) fn slow() -> Vec<u8> {
    let body = graph(
        &[
            node("Identity", &["go"], &["go_on"], &[]),
            node("MatMul", &["a", "weights"], &["b"], &[]),
        ],
        &[
            value("turn", INT64, &[]),
            value("go", BOOL, &[]),
            value("a", FLOAT, &[-1, 64]),
        ],
        &[value("go_on", BOOL, &[]), value("b", FLOAT, &[-1, 64])],
        &[],
    );
    let mut weights = vec![0_f32; 64 * 64];
    for index in 0..64 {
        weights[index * 64 + index] = 1.0;
    }
    let body = Message::new()
        .bytes(1, "body")
        .message(6, &body)
        .varint(20, 5);
    model(&graph(
        &[
            node("Squeeze", &["turns"], &["count"], &[]),
            node("Loop", &["count", "", "x"], &["y"], &[body]),
        ],
        &[value("x", FLOAT, &[-1, 64]), value("turns", INT64, &[1])],
        &[value("y", FLOAT, &[-1, 64])],
        &[tensor_f32("weights", &[64, 64], &weights)],
    ))
    .into_bytes()
}

/// The same, a fixed number of turns for a batch of rows, so that requests can be joined.
pub(crate) fn slow_rows(turns: i64) -> Vec<u8> {
    turning_rows(&[], &tensor("turns", INT64, &[], &turns.to_le_bytes()))
}

/// The same, as many turns as the rows are wide, to the power of five: narrow ones are done at once, and of rows of a hundred
/// no test sees the end.
pub(crate) fn slow_by_width() -> Vec<u8> {
    let turns = [
        node("Shape", &["x"], &["shape"], &[]),
        node("Gather", &["shape", "last"], &["width"], &[]),
        node("Mul", &["width", "width"], &["square"], &[]),
        node("Mul", &["square", "square"], &["fourth"], &[]),
        node("Mul", &["fourth", "width"], &["turns"], &[]),
    ];
    turning_rows(&turns, &tensor("last", INT64, &[], &1_i64.to_le_bytes()))
}

/// `y = x` after `turns` turns of a loop, which is the initializer or what the nodes make of it.
fn turning_rows(nodes: &[Message], initializer: &Message) -> Vec<u8> {
    let body = graph(
        &[
            node("Identity", &["go"], &["go_on"], &[]),
            node("Abs", &["a"], &["b"], &[]),
        ],
        &[
            value("turn", INT64, &[]),
            value("go", BOOL, &[]),
            value("a", FLOAT, &[-1, -1]),
        ],
        &[value("go_on", BOOL, &[]), value("b", FLOAT, &[-1, -1])],
        &[],
    );
    let body = Message::new()
        .bytes(1, "body")
        .message(6, &body)
        .varint(20, 5);
    let mut nodes = nodes.to_vec();
    nodes.push(node("Loop", &["turns", "", "x"], &["y"], &[body]));
    model(&graph(
        &nodes,
        &[value("x", FLOAT, &[-1, -1])],
        &[value("y", FLOAT, &[-1, -1])],
        std::slice::from_ref(initializer),
    ))
    .into_bytes()
}
