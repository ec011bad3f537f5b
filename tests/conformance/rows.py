"""Serves the single operators of the package `onnx` with a free first dimension, and checks those whose rows the server joins
without being asked: a row of the answer must be the same whatever stands in the other rows.

    rows.py site SITE                   writes the models into a site
    rows.py check --url HOST:PORT       asks the server for each that it joins: some rows, others, and both together
"""

import argparse
import itertools
import pathlib
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import tritonclient.http
from onnx import helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from tritonclient.utils import InferenceServerException

from conformance import SETTINGS, TIMEOUT_S, Triton

# So many models must be joined: below, rules were lost, or this check looks at nothing.
JOINED_AT_LEAST = 400
RTOL, ATOL = 1e-4, 1e-6


class Case:
    """An operator as the package tests it, whose first input is rows, or all of whose inputs are."""

    def __init__(self, case, takes_all):
        self.model, self.takes_all = case.model, takes_all
        self.name = f"{case.name}.{'all' if takes_all else 'first'}"
        self.values = dict(zip([value.name for value in self.model.graph.input], case.data_sets[0][0]))

    def rows(self):
        """The inputs that are rows, by name."""
        names = list(self.values) if self.takes_all else list(self.values)[:1]
        return {name: self.values[name] for name in names}

    def is_plain(self):
        """Whether the rows are numbers, as many in each input, and not those of the other form."""
        rows = list(self.rows().values())
        plain = all(isinstance(array, np.ndarray) and array.size > 0 and array.dtype.kind in "fiub" for array in rows)
        even = plain and len({array.shape[:1] for array in rows}) == 1 and rows[0].ndim > 0
        return even and not (self.takes_all and len(rows) == 1)

    def file(self):
        """The model as it is served; None where an input or output cannot have rows."""
        model, rows = onnx.ModelProto(), self.rows()
        model.CopyFrom(self.model)
        del model.graph.value_info[:]
        for name, value in self.values.items():
            if name not in rows:
                if not isinstance(value, np.ndarray):
                    return None
                model.graph.initializer.append(numpy_helper.from_array(value, name))
        inputs = [value for value in model.graph.input if value.name in rows]
        del model.graph.input[:]
        model.graph.input.extend(inputs)
        for value in itertools.chain(model.graph.input, model.graph.output):
            shape = value.type.tensor_type.shape
            if not value.type.HasField("tensor_type") or not shape.dim:
                return None
            shape.dim[0].dim_param = "batch"
        return model.SerializeToString()

    def problem(self, client):
        """Says how a row of the answer depends on others; None where it does not."""
        some = self.rows()
        others = {name: changed(array) for name, array in some.items()}
        both = {name: np.concatenate([some[name], others[name]]) for name in some}
        try:
            *alone, joined = [client.infer(self.name, feeds) for feeds in (some, others, both)]
        except InferenceServerException as error:
            return str(error)
        for name, together in joined.items():
            apart = np.concatenate([outputs[name] for outputs in alone])
            if together.shape != apart.shape:
                return f"{name} has the shape {together.shape}, and one after the other {apart.shape}"
            if not np.allclose(together, apart, rtol=RTOL, atol=ATOL, equal_nan=True):
                return f"{name} is another with other rows"
        return None


def changed(array):
    """Other rows of the same range, in which at least one element differs."""
    if array.dtype.kind == "f":
        return (array[::-1] * 0.75).astype(array.dtype)
    if array.dtype.kind == "b":
        return ~array
    other = array[::-1].copy()
    if np.array_equal(other, array):
        # The lowest element is in the range for sure.
        other.ravel()[np.argmax(other)] = other.min()
    return other


def tables():
    """Operators of classical models, of which the package tests few: a table of four features goes in."""
    weights, classes = [0.5, -1.0, 2.0, 0.25, 1.5, 0.75, -0.5, 1.0], [3, 5]
    tree = {"nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [1, 0, 0], "nodes_values": [0.5, 0.0, 0.0]}
    tree |= {"nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"], "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0]}
    leaves = {"treeids": [0, 0], "nodeids": [1, 2], "ids": [0, 1], "weights": [1.0, 2.0]}
    support = {"kernel_type": "RBF", "kernel_params": [0.3, 0.0, 3.0], "support_vectors": weights, "coefficients": [1.0, -1.0], "rho": [0.1]}
    floats, integers = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    label, scores = ("label", integers, ["batch"]), ("scores", floats, ["batch", 2])
    known = [
        ("Scaler", [("y", floats, ["batch", 4])], {"offset": [1.0] * 4, "scale": [2.0] * 4}),
        ("Imputer", [("y", floats, ["batch", 4])], {"imputed_value_floats": [1.0] * 4, "replaced_value_float": 0.0}),
        ("Normalizer", [("y", floats, ["batch", 4])], {"norm": "L2"}),
        ("OneHotEncoder", [("y", floats, ["batch", 4, 2])], {"cats_int64s": [0, 1], "zeros": 1}),
        ("LinearRegressor", [("y", floats, ["batch", 2])], {"coefficients": weights, "intercepts": [0.1, 0.2], "targets": 2}),
        ("LinearClassifier", [label, scores], {"coefficients": weights, "intercepts": [0.1, 0.2], "classlabels_ints": classes}),
        ("SVMRegressor", [("y", floats, ["batch", 1])], support | {"n_supports": 2}),
        (
            "SVMClassifier",
            [label, scores],
            support | {"vectors_per_class": [1, 1], "classlabels_ints": classes},
        ),
        (
            "TreeEnsembleRegressor",
            [("y", floats, ["batch", 2])],
            tree | {f"target_{key}": value for key, value in leaves.items()} | {"n_targets": 2},
        ),
        (
            "TreeEnsembleClassifier",
            [label, scores],
            tree | {f"class_{key}": value for key, value in leaves.items()} | {"classlabels_int64s": classes},
        ),
    ]
    rows = np.array([[0.1, 0.2, 0.3, 0.4], [1.0, 0.9, 0.0, 0.7], [-1.0, 2.0, 1.0, 0.0]], dtype=np.float32)
    for operator, outputs, attributes in known:
        node = helper.make_node(operator, ["x"], [name for name, _, _ in outputs], domain="ai.onnx.ml", **attributes)
        ends = [helper.make_tensor_value_info(*end) for end in outputs]
        graph = helper.make_graph([node], "table", [helper.make_tensor_value_info("x", floats, ["batch", 4])], ends)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        yield SimpleNamespace(name=f"table_{operator}", model=model, data_sets=[([rows], None)])


def cases():
    """The operators of the package, in both forms."""
    collected = (case for case in collect_testcases(None) if case.model and case.data_sets)
    made = (Case(case, takes_all) for case in itertools.chain(tables(), collected) for takes_all in (False, True))
    return [case for case in made if case.is_plain()]


def write_site(site):
    """Writes the models, with one instance each: there are many."""
    for case in cases():
        content = case.file()
        if content is None:
            continue
        place = site / "models" / case.name
        (place / "1").mkdir(parents=True)
        (place / "1/model.onnx").write_bytes(content)
        (place / "model.toml").write_text(SETTINGS)


def check(url):
    """Checks every operator that the server joins; says whether all of them hold."""
    server = tritonclient.http.InferenceServerClient(url, network_timeout=TIMEOUT_S)
    client = Triton(tritonclient.http, server)
    served = {model["name"] for model in server.get_model_repository_index() if model.get("state") == "READY"}
    joined, wrong = [], 0
    for case in cases():
        if case.name not in served or server.get_model_config(case.name).get("max_batch_size", 0) <= 1:
            continue
        joined.append(case.name)
        problem = case.problem(client)
        if problem:
            wrong += 1
            print(f"{case.name}: {problem}")
    alone = {Case(table, takes_all=False).name for table in tables()}.difference(joined)
    print(f"{len(served)} models, {len(joined)} of them joined by rows, {wrong} wrong")
    for name in sorted(alone):
        print(f"{name} is not joined")
    return wrong == 0 and not alone and len(joined) >= JOINED_AT_LEAST


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("site").add_argument("site", type=pathlib.Path)
    commands.add_parser("check").add_argument("--url", required=True)
    arguments = parser.parse_args()
    if arguments.command == "site":
        write_site(arguments.site)
    elif not check(arguments.url):
        sys.exit(1)


if __name__ == "__main__":
    main()
