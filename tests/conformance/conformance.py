"""Serves the networks of the package `onnx` and compares what comes back with the outputs that the package expects.

    conformance.py site SITE [KIND ...]      writes the models of these kinds, all by default, into a site
    conformance.py check --url HOST:PORT [KIND ...]
                                             asks the server for each of them as plain JSON, with binary data and over gRPC

`refused.txt` lists the networks that are not served, and why. One of them that works fails the run like one that should work
and does not, so that the list stays true.
"""

import argparse
import http.client
import json
import locale
import pathlib
import sys

import numpy as np
import onnx
import tritonclient.grpc
import tritonclient.http
from onnx import numpy_helper, version_converter
from tritonclient.utils import np_to_triton_dtype

DATA = pathlib.Path(onnx.__file__).parent / "backend/test/data"
REFUSED = pathlib.Path(__file__).parent / "refused.txt"
KINDS = ["light", "simple", "pytorch-converted", "pytorch-operator"]
SETTINGS = "[instances]\ncount = 1\n[warmup]\nenabled = false\n"

# As in onnx's own runner.
RTOL, ATOL = 1e-3, 1e-7
TIMEOUT_S = 60


class Case:
    """A network, with what goes in and what must come out, or the reason why it is refused."""

    def __init__(self, model, sets, rtol=RTOL, atol=ATOL):
        self.model, self._sets, self.rtol, self.atol = model, sets, rtol, atol
        self.name = model.parent.name if model.name == "model.onnx" else model.stem
        self.refused, self.opset = None, None

    def at_opset(self, opset):
        """The same case, with the network converted."""
        converted = Case(self.model, self._sets, self.rtol, self.atol)
        converted.name, converted.opset = f"{self.name}.opset{opset}", opset
        return converted

    def file(self):
        """The network as it is served."""
        if self.opset is None:
            return self.model.read_bytes()
        return version_converter.convert_version(onnx.load(self.model), self.opset).SerializeToString()

    def data_sets(self):
        """The inputs and outputs as arrays by their names, a pair of these for each set."""
        graph = onnx.load(self.model).graph
        constants = {constant.name for constant in graph.initializer}
        inputs = [value for value in graph.input if value.name not in constants]
        return self._sets(inputs, graph.output)


def selected(kinds):
    """The cases of some kinds, as `refused.txt` has them."""
    listed = refused()
    found = [case for kind in kinds for case in cases(kind)]
    unknown = set(listed) - {case.name for case in found}
    assert not unknown or set(kinds) != set(KINDS), f"refused.txt lists what is no case: {unknown}"
    converted = []
    for case in found:
        done, reason = listed.get(case.name, ("", None))
        what, _, value = done.partition("=")
        if what == "locale" and has_locale(value):
            continue
        case.refused = reason
        if what == "opset":
            converted.append(case.at_opset(int(value)))
    return found + converted


def refused():
    """What is done about each network that is refused, and why it is, by its name."""
    lines = [line.split(None, 2) for line in REFUSED.read_text().splitlines() if line and not line.startswith("#")]
    return {name: (done, reason) for name, done, reason in lines}


def has_locale(name):
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_ALL, "C")
    return True


def cases(kind):
    """The cases of a kind."""
    if kind == "light":
        return [light(model) for model in sorted((DATA / "light").glob("light_*.onnx"))]
    return [stored(folder) for folder in sorted((DATA / kind).iterdir()) if (folder / "model.onnx").is_file()]


def stored(folder):
    """A case whose inputs and outputs are files beside it."""

    def sets(inputs, outputs):
        for place in sorted(folder.glob("test_data_set_*")):
            yield [
                {end.name: tensor(place / f"{kind}_{index}.pb") for index, end in enumerate(ends)}
                for kind, ends in (("input", inputs), ("output", outputs))
            ]

    return Case(folder / "model.onnx", sets, **tolerance(folder / "data.json"))


def light(model):
    """A case without weights. onnx's own runner feeds it a ramp from 0 to 1, and has the output beside it."""

    def sets(inputs, outputs):
        feeds = {}
        for value in inputs:
            shape = [dimension.dim_value or 1 for dimension in value.type.tensor_type.shape.dim]
            count = int(np.prod(shape))
            feeds[value.name] = (np.arange(count).reshape(shape) / count).astype(np.float32)
        stem = str(model.with_suffix(""))
        yield [feeds, {end.name: tensor(pathlib.Path(f"{stem}_output_{n}.pb")) for n, end in enumerate(outputs)}]

    real = DATA / "real" / model.stem.replace("light_", "test_")
    return Case(model, sets, **tolerance(real / "data.json"))


def tolerance(file):
    if not file.is_file():
        return {}
    return {key: value for key, value in json.loads(file.read_text()).items() if key in ("rtol", "atol")}


def tensor(file):
    return numpy_helper.to_array(onnx.load_tensor(str(file)))


class PlainJson:
    """REST with nothing but JSON."""

    def __init__(self, url):
        self.connection = http.client.HTTPConnection(url, timeout=TIMEOUT_S)

    def infer(self, name, feeds):
        inputs = [
            {
                "name": key,
                "shape": list(array.shape),
                "datatype": datatype(array),
                "data": [element.decode() if isinstance(element, bytes) else element for element in array.ravel().tolist()],
            }
            for key, array in feeds.items()
        ]
        self.connection.request("POST", f"/v2/models/{name}/infer", json.dumps({"inputs": inputs}))
        response = self.connection.getresponse()
        body = response.read()
        assert response.status == 200, f"{response.status}: {body[:300]!r}"
        outputs = json.loads(body)["outputs"]
        return {
            output["name"]: np.array(output["data"], dtype=numpy_type(output["datatype"])).reshape(output["shape"])
            for output in outputs
        }


class Triton:
    """tritonclient with its defaults: over HTTP these are binary data in both directions."""

    def __init__(self, module, client):
        self.module, self.client = module, client

    def infer(self, name, feeds):
        inputs = []
        for key, array in feeds.items():
            entry = self.module.InferInput(key, list(array.shape), datatype(array))
            inputs.append(entry.set_data_from_numpy(array))
        result = self.client.infer(name, inputs)
        response = result.get_response()
        outputs = response["outputs"] if isinstance(response, dict) else response.outputs
        names = [output["name"] if isinstance(output, dict) else output.name for output in outputs]
        return {output: result.as_numpy(output) for output in names}


def datatype(array):
    return np_to_triton_dtype(array.dtype)


def numpy_type(name):
    special = {"BYTES": object, "BOOL": bool}
    return special.get(name) or np.dtype(name.lower().replace("fp", "float"))


def clients(url):
    """A client of each protocol, by what it is called here."""
    http_client = tritonclient.http.InferenceServerClient(url, network_timeout=TIMEOUT_S)
    return {
        "REST JSON": PlainJson(url),
        "REST binary": Triton(tritonclient.http, http_client),
        "gRPC": Triton(tritonclient.grpc, tritonclient.grpc.InferenceServerClient(url)),
    }


def compare(case, served, expected):
    """Says how the outputs differ; None where they do not."""
    if set(served) != set(expected):
        return f"the outputs {sorted(served)}, not {sorted(expected)}"
    for name, wanted in expected.items():
        got = served[name]
        if got.shape != wanted.shape:
            return f"{name} has the shape {got.shape}, not {wanted.shape}"
        if wanted.dtype == object:
            texts = [[item.decode() if isinstance(item, bytes) else item for item in array.ravel()] for array in (got, wanted)]
            if texts[0] != texts[1]:
                return f"{name} is {texts[0]}, not {texts[1]}"
            continue
        if got.dtype != wanted.dtype:
            return f"{name} is {got.dtype}, not {wanted.dtype}"
        if not np.allclose(got, wanted, rtol=case.rtol, atol=case.atol, equal_nan=True):
            return f"{name} differs by up to {np.max(np.abs(got - wanted))}"
    return None


def problem_of(case, client):
    """Says why a case does not hold; None where it does."""
    try:
        for feeds, expected in case.data_sets():
            problem = compare(case, client.infer(case.name, feeds), expected)
            if problem:
                return problem
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def check(url, kinds):
    """Checks every case over every protocol; gives the count of those that came out otherwise than they must."""
    found, asked, wrong = selected(kinds), clients(url), 0
    for case in found:
        # One that is refused is asked for all the same: each protocol must say so.
        for protocol, client in asked.items():
            problem = problem_of(case, client)
            if problem and not case.refused:
                wrong += 1
                print(f"{case.name}: {protocol}: {problem}")
            elif case.refused and not problem:
                wrong += 1
                print(f"{case.name}: {protocol}: works, although refused.txt says: {case.refused}")
    print(f"{len(found)} networks over {len(asked)} protocols, {wrong} wrong")
    return wrong if found else 1


def write_site(site, kinds):
    """Writes the models, with one instance each: there are many."""
    for case in selected(kinds):
        place = site / "models" / case.name
        (place / "1").mkdir(parents=True)
        (place / "1/model.onnx").write_bytes(case.file())
        (place / "model.toml").write_text(SETTINGS)


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    site = commands.add_parser("site")
    site.add_argument("site", type=pathlib.Path)
    checked = commands.add_parser("check")
    checked.add_argument("--url", required=True)
    for command in (site, checked):
        command.add_argument("kinds", nargs="*", default=KINDS)
    arguments = parser.parse_args()
    if arguments.command == "site":
        write_site(arguments.site, arguments.kinds)
    else:
        sys.exit(1 if check(arguments.url, arguments.kinds) else 0)


if __name__ == "__main__":
    main()
