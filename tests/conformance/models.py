"""Makes the site of small models that the checks of tritonclient use: `models.py SITE`.

`SITE/models/NAME/VERSION/model.onnx` and `SITE/models/NAME/model.toml`, one model for each thing that a client can ask of one.
"""

import pathlib
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper

# Each datatype of the protocol with that of ONNX.
DATATYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
}

LABELS = ["cat", "dog", "bird"]


def model(nodes, inputs, outputs, constants=()):
    """An ONNX file. A constant that is among the inputs too is one that a request may override."""
    graph = helper.make_graph(nodes, "test", inputs, outputs, initializer=list(constants))
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def value(name, shape, datatype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, datatype, shape)


def constant(name, values):
    return numpy_helper.from_array(np.asarray(values, dtype=np.float32), name)


def scaled(factor):
    """`y[batch,4] = factor * x[batch,4]`."""
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
    return model(nodes, [value("x", ["batch", 4])], [value("y", ["batch", 4])], [constant("factor", factor)])


def types():
    """An input and an output of every datatype, named after it: each output is its input."""
    nodes = [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in DATATYPES]
    ends = [[value(f"{end}_{name}", [f"{name}_n"], kind) for name, kind in DATATYPES.items()] for end in ("in", "out")]
    return model(nodes, *ends)


def pair():
    """The sum and the difference of two inputs."""
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["difference"])]
    shape = ["batch", 4]
    return model(
        nodes,
        [value("a", shape), value("b", shape)],
        [value("sum", shape), value("difference", shape)],
    )


def optional():
    """`y = x + bias`, where `bias` is 1 unless the request has it."""
    nodes = [helper.make_node("Add", ["x", "bias"], ["y"])]
    return model(
        nodes,
        [value("x", ["batch", 4]), value("bias", [4])],
        [value("y", ["batch", 4])],
        [constant("bias", [1, 1, 1, 1])],
    )


def scores():
    """An output whose elements are classes."""
    nodes = [helper.make_node("Identity", ["x"], ["scores"])]
    return model(nodes, [value("x", ["batch", 3])], [value("scores", ["batch", 3])])


def accumulator():
    """`total = x + state`, which is the state of the sequence's next request."""
    nodes = [helper.make_node("Add", ["x", "state_in"], [output]) for output in ("total", "state_out")]
    ends = [[value(name, [1, 1]) for name in names] for names in (("x", "state_in"), ("total", "state_out"))]
    return model(nodes, *ends)


def slow(steps):
    """`y = x` after so many products of large matrices, some milliseconds each."""
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "nothing"], ["start"]),
        helper.make_node("Expand", ["start", "side"], ["m0"]),
    ]
    nodes += [helper.make_node("MatMul", [f"m{step}"] * 2, [f"m{step + 1}"]) for step in range(steps)]
    nodes += [
        helper.make_node("ReduceSum", [f"m{steps}"], ["total"], keepdims=0),
        helper.make_node("Add", ["x", "total"], ["y"]),
    ]
    side = numpy_helper.from_array(np.array([512, 512], dtype=np.int64), "side")
    return model(nodes, [value("x", ["batch", 4])], [value("y", ["batch", 4])], [constant("nothing", 0), side])


SETTINGS = {
    "versions": '[versions]\npolicy = "all"\nlabels.stable = 1\nlabels.canary = 3\n',
    "scores": '[outputs.scores]\nclasses = "labels.txt"\n',
    "ranked": "[batching]\nmax_rows = 8\npriority_levels = 2\n",
    "cached": "[cache]\nenabled = true\n",
    "accumulator": '[sequences]\nstates = [{ input = "state_in", output = "state_out" }]\n',
    "slow": "[warmup]\nenabled = false\n[instances]\ncount = 1\n[batching]\nqueue_wait_ms = 60000\n",
}


def write(site):
    """Writes the models and their settings."""
    files = {
        "types/1": types(),
        "pair/1": pair(),
        "optional/1": optional(),
        "scores/1": scores(),
        "accumulator/1": accumulator(),
        "slow/1": slow(400),
        "ranked/1": scaled(2),
        "cached/1": scaled(2),
        "changing/1": scaled(2),
        "versions/1": scaled(1),
        "versions/2": scaled(2),
        "versions/3": scaled(3),
    }
    for folder, content in files.items():
        place = site / "models" / folder
        place.mkdir(parents=True)
        (place / "model.onnx").write_bytes(content)
    for name, settings in SETTINGS.items():
        (site / "models" / name / "model.toml").write_text(settings)
    (site / "models/scores/labels.txt").write_text("\n".join(LABELS) + "\n")


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))
