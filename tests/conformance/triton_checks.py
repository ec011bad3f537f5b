"""The checks that tritonclient must pass over HTTP and over gRPC alike, against the site of `models.py`.

Both clients have the same calls. What differs is in a `Protocol`: how a document comes back as a dict, how an error's kind
is called, and where a request's compression is asked for.
"""

import asyncio
import json

import ml_dtypes
import numpy as np
import tritonclient.utils.shared_memory as shared_memory
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

import models
from checks import check, expect_equal, expect_error, wait_for

ROW = np.array([[1, 2, 3, 4]], dtype=np.float32)
THREE = np.arange(12, dtype=np.float32).reshape(3, 4)

TYPED = {
    "BOOL": np.array([True, False, True]),
    "UINT8": np.array([0, 7, 255], dtype=np.uint8),
    "UINT16": np.array([0, 7, 65535], dtype=np.uint16),
    "UINT32": np.array([0, 7, 2**32 - 1], dtype=np.uint32),
    "UINT64": np.array([0, 7, 2**64 - 1], dtype=np.uint64),
    "INT8": np.array([-128, 7, 127], dtype=np.int8),
    "INT16": np.array([-32768, 7, 32767], dtype=np.int16),
    "INT32": np.array([-(2**31), 7, 2**31 - 1], dtype=np.int32),
    "INT64": np.array([-(2**63), 7, 2**63 - 1], dtype=np.int64),
    "FP16": np.array([-1.5, 0, 65504], dtype=np.float16),
    "FP32": np.array([-1.5, 1e-45, 3.4028235e38], dtype=np.float32),
    "FP64": np.array([-1.5, 5e-324, 1.7976931348623157e308]),
    "BF16": np.array([-1.5, 0, 2.5], dtype=ml_dtypes.bfloat16),
    # A model's own texts are UTF-8; a route that takes a body takes any bytes.
    "BYTES": np.array([b"", b"plain", "gr\u00fcn".encode()], dtype=object),
}


class Protocol:
    """One of the two clients."""

    # Short, for names that no two of them may share.
    key = ""
    # What makes a document a dict, such as `as_json=True`.
    document = {}
    # How the kinds of errors are called.
    invalid = missing = unprocessable = deadline = unavailable = ""

    def __init__(self, module, client):
        self.module, self.client = module, client

    def inputs(self, arrays, **options):
        """The inputs of a request, by their names."""
        made = []
        for name, array in arrays.items():
            entry = self.module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            made.append(entry.set_data_from_numpy(array, **options))
        return made

    def outputs(self, *names, **options):
        return [self.module.InferRequestedOutput(name, **options) for name in names]

    def infer(self, model, arrays, **options):
        return self.client.infer(model, self.inputs(arrays), **options)

    def asked(self, call, *arguments, **options):
        """What a call that gives a document gives."""
        return call(*arguments, **options, **self.document)

    def start(self, model, arrays):
        """Sends a request, and gives a function that waits for its answer. Each client has its own way."""
        raise NotImplementedError

    def index(self):
        """The state and the reason of each version of each model."""
        listed = self.asked(self.client.get_model_repository_index)
        entries = listed.get("models", []) if isinstance(listed, dict) else listed
        return {(entry["name"], entry.get("version", "")): (entry.get("state", ""), entry.get("reason", "")) for entry in entries}


def output_names(result):
    """The outputs of an answer, in its order."""
    response = result.get_response()
    if isinstance(response, dict):
        return [output["name"] for output in response["outputs"]]
    return [output.name for output in response.outputs]


def answered(result, member):
    """A member of an answer: `id`, `model_name`, `model_version`."""
    response = result.get_response()
    return response.get(member, "") if isinstance(response, dict) else getattr(response, member)


@check
def the_server_is_live_and_ready(protocol):
    assert protocol.client.is_server_live()
    assert protocol.client.is_server_ready()


@check
def a_model_is_ready_or_not(protocol):
    ready = protocol.client.is_model_ready
    assert ready("pair") and ready("pair", "1")
    assert ready("versions", "2") and ready("versions", "stable")
    # What there is not is not ready.
    for name, version in (("pair", "2"), ("nobody", "")):
        assert not ready(name, version)


@check
def the_server_says_what_it_is(protocol):
    document = protocol.asked(protocol.client.get_server_metadata)
    expect_equal(document["name"], "wharf")
    assert document["version"]
    wanted = {"binary_tensor_data", "classification", "logging", "model_configuration", "model_repository", "parameters"}
    wanted |= {"schedule_policy", "sequence", "statistics", "system_shared_memory", "trace"}
    assert wanted <= set(document["extensions"]), document


@check
def a_model_says_what_it_takes_and_gives(protocol):
    document = protocol.asked(protocol.client.get_model_metadata, "pair")
    expect_equal((document["name"], document["versions"], document["platform"]), ("pair", ["1"], "onnxruntime_onnx"))
    ends = [[(end["name"], end["datatype"], [int(size) for size in end["shape"]]) for end in document[key]] for key in ("inputs", "outputs")]
    shape = ("FP32", [-1, 4])
    expect_equal(ends, [[("a", *shape), ("b", *shape)], [("sum", *shape), ("difference", *shape)]])
    document = protocol.asked(protocol.client.get_model_metadata, "types")
    expect_equal({end["name"]: end["datatype"] for end in document["inputs"]}, {f"in_{name}": name for name in TYPED})
    document = protocol.asked(protocol.client.get_model_metadata, "versions", "2")
    # Of a version that is named, Triton tells that one alone.
    expect_equal(document["versions"], ["2"])
    expect_equal(protocol.asked(protocol.client.get_model_metadata, "versions")["versions"], ["1", "2", "3"])
    expect_error(lambda: protocol.client.get_model_metadata("nobody"), protocol.missing, "nobody")
    expect_error(lambda: protocol.client.get_model_metadata("versions", "4"), protocol.missing, "versions")


@check
def a_model_says_how_it_is_configured(protocol):
    def config(*which):
        document = protocol.asked(protocol.client.get_model_config, *which)
        return document.get("config", document)

    ranked = config("ranked")
    expect_equal((ranked["name"], int(ranked["max_batch_size"])), ("ranked", 8))
    # With a batch, no tensor has its dimension.
    expect_equal([[int(size) for size in entry["dims"]] for entry in ranked["input"]], [[4]])
    expect_equal(ranked["input"][0]["data_type"], "TYPE_FP32")
    expect_equal(int(ranked["dynamic_batching"]["priority_levels"]), 2)
    assert "sequence_batching" in config("accumulator")
    # The graph keeps its rows apart, and nobody says anything of batches.
    pair = config("pair", "1")
    expect_equal(int(pair["max_batch_size"]), 64)
    expect_equal([[int(size) for size in entry["dims"]] for entry in pair["output"]], [[4], [4]])
    # This one sums over its rows.
    slow = config("slow", "1")
    expect_equal(int(slow.get("max_batch_size", 0)), 0)
    expect_equal([[int(size) for size in entry["dims"]] for entry in slow["output"]], [[-1, 4]])
    expect_error(lambda: protocol.client.get_model_config("nobody"), protocol.missing)


@check
def every_datatype_comes_back_as_it_went(protocol):
    result = protocol.infer("types", {f"in_{name}": array for name, array in TYPED.items()})
    for name, array in TYPED.items():
        got = result.as_numpy(f"out_{name}")
        expect_equal((name, got.dtype), (name, array.dtype))
        expect_equal((name, got.tolist()), (name, array.tolist()))


@check
def an_empty_tensor_is_no_special_case(protocol):
    result = protocol.infer("types", {f"in_{name}": array[:0] for name, array in TYPED.items()})
    for name in TYPED:
        expect_equal(result.as_numpy(f"out_{name}").shape, (0,))


@check
def inputs_come_in_any_order_and_outputs_as_asked(protocol):
    arrays = {"b": THREE, "a": THREE * 10}
    result = protocol.infer("pair", arrays)
    expect_equal(output_names(result), ["sum", "difference"])
    expect_equal(result.as_numpy("sum").tolist(), (THREE * 11).tolist())
    result = protocol.infer("pair", arrays, outputs=protocol.outputs("difference", "sum"))
    expect_equal(output_names(result), ["difference", "sum"])
    result = protocol.infer("pair", arrays, outputs=protocol.outputs("difference"))
    expect_equal(output_names(result), ["difference"])
    expect_equal(result.as_numpy("difference").tolist(), (THREE * 9).tolist())
    assert result.as_numpy("sum") is None


@check
def an_input_that_has_a_default_may_be_left_out(protocol):
    expect_equal(protocol.infer("optional", {"x": ROW}).as_numpy("y").tolist(), (ROW + 1).tolist())
    bias = np.array([9, 8, 7, 6], dtype=np.float32)
    expect_equal(protocol.infer("optional", {"x": ROW, "bias": bias}).as_numpy("y").tolist(), (ROW + bias).tolist())


@check
def classes_are_told_by_value_index_and_label(protocol):
    scores = np.array([[0.5, 0.25, 0.75], [3, 2, 1]], dtype=np.float32)
    result = protocol.infer("scores", {"x": scores}, outputs=protocol.outputs("scores", class_count=2))
    classes = [[item.decode().split(":") for item in row] for row in result.as_numpy("scores")]
    found = [[(float(value), int(index), label) for value, index, label in row] for row in classes]
    expect_equal(found, [[(0.75, 2, "bird"), (0.5, 0, "cat")], [(3, 0, "cat"), (2, 1, "dog")]])
    result = protocol.infer("pair", {"a": ROW, "b": ROW}, outputs=protocol.outputs("sum", class_count=1))
    value, index = result.as_numpy("sum").ravel()[0].decode().split(":")[:2]
    expect_equal((float(value), int(index)), (8, 3))


@check
def a_request_id_and_the_models_name_come_back(protocol):
    result = protocol.infer("pair", {"a": ROW, "b": ROW}, request_id="request 7")
    expect_equal([answered(result, key) for key in ("id", "model_name", "model_version")], ["request 7", "pair", "1"])


@check
def versions_and_labels_are_asked_for_by_name(protocol):
    for version, ran in (("1", 1), ("2", 2), ("3", 3), ("", 3), ("stable", 1), ("canary", 3)):
        result = protocol.infer("versions", {"x": ROW}, model_version=version)
        expect_equal(result.as_numpy("y").tolist(), (ROW * ran).tolist())
        expect_equal(answered(result, "model_version"), str(ran))
    for version in ("4", "nightly", "0", "-1"):
        call = lambda: protocol.infer("versions", {"x": ROW}, model_version=version)
        expect_error(call, (protocol.missing, protocol.invalid))


@check
def priorities_and_timeouts_are_taken(protocol):
    for priority in (1, 2):
        result = protocol.infer("ranked", {"x": ROW}, priority=priority, timeout=5_000_000)
        expect_equal(result.as_numpy("y").tolist(), (ROW * 2).tolist())
    # A model without levels takes no notice, as clients set one for all of their requests.
    protocol.infer("pair", {"a": ROW, "b": ROW}, priority=1)


@check
def parameters_that_mean_nothing_here_are_let_be(protocol):
    parameters = {"text": "of the client", "number": 7, "flag": True}
    result = protocol.infer("pair", {"a": ROW, "b": ROW}, parameters=parameters)
    expect_equal(result.as_numpy("sum").tolist(), (ROW * 2).tolist())


@check
def a_sequence_keeps_its_state(protocol):
    def ask(sequence, value, **flags):
        array = np.array([[value]], dtype=np.float32)
        return float(protocol.infer("accumulator", {"x": array}, sequence_id=sequence, **flags).as_numpy("total")[0, 0])

    numbered, named = 4_711, f"sequence of {protocol.key}"
    expect_equal(ask(numbered, 1, sequence_start=True), 1)
    expect_equal(ask(named, 10, sequence_start=True), 10)
    expect_equal(ask(numbered, 2), 3)
    expect_equal(ask(named, 20), 30)
    expect_equal(ask(numbered, 3, sequence_end=True), 6)
    # A sequence begins anew where its start is told, and there is none before.
    expect_equal(ask(named, 5, sequence_start=True), 5)
    expect_error(lambda: ask(numbered, 1), (protocol.invalid, protocol.missing), "sequence")


@check
def the_response_cache_answers_the_same(protocol):
    array = np.full((1, 4), float(len(protocol.key)), dtype=np.float32)
    for _ in range(3):
        expect_equal(protocol.infer("cached", {"x": array}).as_numpy("y").tolist(), (array * 2).tolist())
    assert figures(protocol, "cached")["cache_hit"][0] >= 2


def figures(protocol, model, version=""):
    """The counts and nanoseconds of a model's statistics, with the three counts of the whole."""
    document = protocol.asked(protocol.client.get_inference_statistics, model, version)
    found = document["model_stats"]
    assert found and all(entry["name"] == model for entry in found), document
    entry = found[-1]
    numbers = {name: (int(item.get("count", 0)), int(item.get("ns", 0))) for name, item in entry["inference_stats"].items()}
    numbers.update({name: int(entry.get(name, 0)) for name in ("inference_count", "execution_count", "last_inference")})
    return numbers


@check
def statistics_count_what_was_done(protocol):
    before = figures(protocol, "ranked", "1")
    for _ in range(3):
        protocol.infer("ranked", {"x": THREE})
    after = figures(protocol, "ranked", "1")
    expect_equal(after["inference_count"] - before["inference_count"], 9)
    expect_equal(after["execution_count"] - before["execution_count"], 3)
    for name in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        expect_equal((name, after[name][0] - before[name][0]), (name, 3))
    assert after["success"][1] - before["success"][1] > after["compute_infer"][1] - before["compute_infer"][1] > 0
    assert after["last_inference"] > 1_700_000_000_000, "milliseconds since 1970"
    every = protocol.asked(protocol.client.get_inference_statistics)["model_stats"]
    assert {"pair", "types", "versions"} <= {entry["name"] for entry in every}
    expect_error(lambda: protocol.client.get_inference_statistics("nobody"), protocol.missing)


@check
def errors_name_what_is_wrong(protocol):
    ask = protocol.infer
    row = {"a": ROW, "b": ROW}
    expect_error(lambda: ask("nobody", row), protocol.missing, "nobody")
    expect_error(lambda: ask("pair", {"a": ROW}), protocol.invalid, "b")
    expect_error(lambda: ask("pair", row | {"c": ROW}), protocol.invalid, "c")
    expect_error(lambda: ask("pair", row | {"b": ROW.astype(np.int64)}), protocol.invalid, "b")
    expect_error(lambda: ask("pair", row | {"b": np.zeros((1, 5), dtype=np.float32)}), protocol.invalid, "b")
    expect_error(lambda: ask("pair", row | {"b": np.zeros(4, dtype=np.float32)}), protocol.invalid, "b")
    expect_error(lambda: ask("pair", row, outputs=protocol.outputs("product")), protocol.invalid, "product")
    broken = {f"in_{name}": array[:1] for name, array in TYPED.items()} | {"in_BYTES": np.array([b"\xff"], dtype=object)}
    expect_error(lambda: ask("types", broken), protocol.invalid, "in_BYTES")
    for name in ("..", "a/b", "x" * 256, "a\x00b"):
        expect_error(lambda: ask(name, row), (protocol.invalid, protocol.missing))
    assert protocol.client.is_server_live()


@check
def the_index_lists_every_version_with_its_state(protocol):
    index = protocol.index()
    for name in models.SETTINGS.keys() - {"versions"}:
        expect_equal(index[name, "1"], ("READY", ""))
    for version in "123":
        expect_equal(index["versions", version], ("READY", ""))


@check
def a_model_is_unloaded_and_loaded_again(protocol):
    client = protocol.client
    client.unload_model("changing")
    expect_equal(protocol.index()["changing", "1"][0], "UNAVAILABLE")
    expect_error(lambda: protocol.infer("changing", {"x": ROW}), (protocol.missing, protocol.unavailable))
    client.load_model("changing")
    expect_equal(protocol.infer("changing", {"x": ROW}).as_numpy("y").tolist(), (ROW * 2).tolist())
    expect_equal(protocol.index()["changing", "1"][0], "READY")
    expect_error(lambda: client.load_model("nobody"), protocol.missing, "nobody")
    expect_error(lambda: client.unload_model("nobody"), protocol.missing, "nobody")
    client.unload_model("changing", unload_dependents=True)
    client.load_model("changing")


@check
def a_model_is_loaded_with_a_configuration(protocol):
    def levels():
        document = protocol.asked(protocol.client.get_model_config, "changing")
        return int(document.get("config", document).get("max_batch_size", 0))

    protocol.client.load_model("changing", config=json.dumps({"max_batch_size": 4}))
    expect_equal(levels(), 4)
    protocol.client.load_model("changing", config=json.dumps({"max_batch_size": 0}))
    expect_equal(levels(), 0)
    for config in ("{", "[]", json.dumps({"max_batch_size": -1}), json.dumps({"made_up": 1})):
        expect_error(lambda: protocol.client.load_model("changing", config=config), protocol.invalid, "config")
    expect_equal(protocol.infer("changing", {"x": ROW}).as_numpy("y").tolist(), (ROW * 2).tolist())


@check
def a_model_is_loaded_with_files(protocol):
    name, client = f"given-{protocol.key}", protocol.client

    def load(files, **options):
        client.load_model(name, config=json.dumps({"max_batch_size": 0}), files=files, **options)

    load({"file:1/model.onnx": models.scaled(5)})
    expect_equal(protocol.infer(name, {"x": ROW}).as_numpy("y").tolist(), (ROW * 5).tolist())
    load({"file:2/model.onnx": models.scaled(6)})
    expect_equal(answered(protocol.infer(name, {"x": ROW}), "model_version"), "2")
    refused = (protocol.invalid, protocol.unprocessable)
    for files in (
        {"file:3/model.onnx": b"not a model"},
        {"file:../model.onnx": models.scaled(7)},
        {"file:3/../../../stolen.onnx": models.scaled(7)},
        {"file:/3/model.onnx": models.scaled(7)},
        {"file:x/model.onnx": models.scaled(7)},
    ):
        expect_error(lambda: load(files), refused)
        # What was refused has changed nothing.
        expect_equal(protocol.infer(name, {"x": ROW}).as_numpy("y").tolist(), (ROW * 6).tolist())
    client.unload_model(name)
    expect_error(lambda: protocol.infer(name, {"x": ROW}), (protocol.missing, protocol.unavailable))


@check
def the_names_of_classes_come_with_a_load(protocol):
    name, client = f"named-{protocol.key}", protocol.client
    scores = np.array([[0.5, 0.25, 0.75]], dtype=np.float32)

    def load(labels, path="1/labels.txt"):
        config = {"output": [{"name": "scores", "label_filename": path}]}
        files = {"file:1/model.onnx": models.scores(), "file:1/labels.txt": labels}
        client.load_model(name, config=json.dumps(config), files=files)

    def best():
        result = protocol.infer(name, {"x": scores}, outputs=protocol.outputs("scores", class_count=2))
        return [item.decode().split(":")[1:] for item in result.as_numpy("scores").ravel()]

    load(b"red\ngreen\nblue\n")
    expect_equal(best(), [["2", "blue"], ["0", "red"]])
    load(b"uno\ndue\ntre\n")
    expect_equal(best(), [["2", "tre"], ["0", "uno"]])
    # What is refused has changed nothing.
    for labels, path in ((b"", "1/labels.txt"), (b"\xff", "1/labels.txt"), (b"one", "1/missing.txt"), (b"one", "../../wharf.toml")):
        expect_error(lambda: load(labels, path), (protocol.invalid, protocol.unprocessable))
        expect_equal(best(), [["2", "tre"], ["0", "uno"]])
    client.unload_model(name)


@check
def logging_is_read_and_set(protocol):
    def settings(document):
        # gRPC wraps each value in an object that names its type.
        found = document.get("settings", document)
        return {key: next(iter(value.values())) if isinstance(value, dict) else value for key, value in found.items()}

    before = settings(protocol.asked(protocol.client.get_log_settings))
    assert {"log_info", "log_warning", "log_error", "log_verbose_level"} <= set(before), before
    changed = settings(protocol.asked(protocol.client.update_log_settings, {"log_verbose_level": 1}))
    expect_equal(int(changed["log_verbose_level"]), 1)
    expect_equal(int(settings(protocol.asked(protocol.client.get_log_settings))["log_verbose_level"]), 1)
    protocol.client.update_log_settings({"log_verbose_level": int(before["log_verbose_level"])})
    expect_error(lambda: protocol.client.update_log_settings({"log_file": "/tmp/elsewhere.log"}), protocol.invalid, "log_file")


def trace_settings(document):
    """The values of each setting: gRPC has lists in objects, and REST has lists, or texts where one value is enough."""

    def values(entry):
        found = entry.get("value", []) if isinstance(entry, dict) else entry
        return [str(value) for value in found] if isinstance(found, list) else [str(found)]

    return {name: values(entry) for name, entry in document.get("settings", document).items()}


@check
def tracing_is_read_and_set(protocol):
    def get(model=None):
        return trace_settings(protocol.asked(protocol.client.get_trace_settings, model_name=model))

    def update(settings, model=None):
        return trace_settings(protocol.asked(protocol.client.update_trace_settings, model_name=model, settings=settings))

    before = get()
    assert {"trace_level", "trace_rate", "trace_count"} <= set(before), before
    expect_equal(update({"trace_rate": "7"})["trace_rate"], ["7"])
    expect_equal(get()["trace_rate"], ["7"])
    # A model has its own over those of all.
    expect_equal(update({"trace_level": ["OFF"]}, "pair")["trace_level"], ["OFF"])
    expect_equal((get("pair")["trace_level"], get("pair")["trace_rate"], get()["trace_level"]), (["OFF"], ["7"], before["trace_level"]))
    protocol.infer("pair", {"a": ROW, "b": ROW})
    # What is cleared is as it was before anybody set it.
    expect_equal(update({"trace_level": None}, "pair")["trace_level"], before["trace_level"])
    expect_equal(update({"trace_rate": None}), before)
    expect_error(lambda: update({"trace_rate": "often"}), protocol.invalid, "trace_rate")
    expect_error(lambda: update({"trace_level": ["OFF"]}, "nobody"), protocol.missing, "nobody")


async def the_calls_of_an_aio_client(protocol, client):
    """What the client of asyncio has, all of it that the server has."""

    async def asked(call, *arguments, **options):
        return await call(*arguments, **options, **protocol.document)

    assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready("pair")
    expect_equal((await asked(client.get_server_metadata))["name"], "wharf")
    expect_equal((await asked(client.get_model_metadata, "pair"))["name"], "pair")
    config = await asked(client.get_model_config, "pair")
    expect_equal(config.get("config", config)["name"], "pair")

    inputs = protocol.inputs({"a": ROW, "b": ROW})
    for result in await asyncio.gather(*(client.infer("pair", inputs) for _ in range(8))):
        expect_equal(result.as_numpy("sum").tolist(), (ROW * 2).tolist())
    (statistics,) = (await asked(client.get_inference_statistics, "pair"))["model_stats"]
    assert int(statistics["inference_count"]) >= 8, statistics

    await client.unload_model("changing")
    assert not await client.is_model_ready("changing")
    await client.load_model("changing")
    assert await client.is_model_ready("changing")
    assert await asked(client.get_model_repository_index)

    levels = {"log_verbose_level": 1}, {"log_verbose_level": 0}
    for level in levels:
        await asked(client.update_log_settings, level)
    assert await asked(client.get_log_settings)
    rate = await asked(client.update_trace_settings, model_name="pair", settings={"trace_rate": "9"})
    expect_equal(trace_settings(rate)["trace_rate"], ["9"])
    await asked(client.update_trace_settings, model_name="pair", settings={"trace_rate": None})
    assert trace_settings(await asked(client.get_trace_settings, model_name="pair"))["trace_rate"] != ["9"]

    key = f"/wharf-aio-{protocol.key}"
    handle = shared_memory.create_shared_memory_region("aio", key, ROW.nbytes)
    try:
        await client.register_system_shared_memory("aio", key, ROW.nbytes)
        assert "aio" in str(await asked(client.get_system_shared_memory_status))
        await client.unregister_system_shared_memory("aio")
        assert "aio" not in str(await asked(client.get_system_shared_memory_status))
    finally:
        shared_memory.destroy_shared_memory_region(handle)


@check
def tensors_are_read_from_and_written_to_shared_memory(protocol):
    client, key = protocol.client, f"/wharf-{protocol.key}"
    size = ROW.nbytes
    handle = shared_memory.create_shared_memory_region("region", key, 4 * size)
    try:
        shared_memory.set_shared_memory_region(handle, [ROW, ROW * 10])
        client.register_system_shared_memory("inputs", key, 2 * size)
        client.register_system_shared_memory("outputs", key, 2 * size, offset=2 * size)
        expect_equal(set(regions(protocol)), {"inputs", "outputs"})
        expect_equal(set(regions(protocol, "outputs")), {"outputs"})
        given = [protocol.module.InferInput(name, list(ROW.shape), "FP32") for name in ("a", "b")]
        given[0].set_shared_memory("inputs", size)
        given[1].set_shared_memory("inputs", size, offset=size)
        wanted = protocol.outputs("sum", "difference")
        wanted[0].set_shared_memory("outputs", size)
        wanted[1].set_shared_memory("outputs", size, offset=size)
        result = client.infer("pair", given, outputs=wanted)
        expect_equal(output_names(result), ["sum", "difference"])
        for at, factor in ((2, 11), (3, -9)):
            found = shared_memory.get_contents_as_numpy(handle, np.float32, [1, 4], offset=at * size)
            expect_equal(found.tolist(), (ROW * factor).tolist())

        given[0].set_shared_memory("inputs", 2 * size + 16)
        expect_error(lambda: client.infer("pair", given), protocol.invalid, "a")
        given[0].set_shared_memory("inputs", size, offset=2**62)
        expect_error(lambda: client.infer("pair", given), protocol.invalid, "a")
        given[0].set_shared_memory("nowhere", size)
        expect_error(lambda: client.infer("pair", given), (protocol.invalid, protocol.missing), "nowhere")
        register = client.register_system_shared_memory
        expect_error(lambda: register("beyond", key, 2**40), protocol.invalid)
        expect_error(lambda: register("missing", f"{key}-missing", 16), (protocol.invalid, protocol.missing))
        expect_error(lambda: register("outside", "/../../etc/passwd", 16), (protocol.invalid, protocol.missing))
        client.unregister_system_shared_memory("outputs")
        expect_equal(set(regions(protocol)), {"inputs"})
        client.unregister_system_shared_memory()
        expect_equal(set(regions(protocol)), set())
    finally:
        shared_memory.destroy_shared_memory_region(handle)


def regions(protocol, *name):
    """The regions that are registered, by their names."""
    document = protocol.asked(protocol.client.get_system_shared_memory_status, *name)
    found = document.get("regions", {}) if isinstance(document, dict) else document
    return found if isinstance(found, dict) else {region["name"]: region for region in found}


@check
def a_request_that_waits_too_long_is_refused(protocol):
    # The one instance of the model is busy with these for seconds.
    busy = [protocol.start("slow", {"x": ROW}) for _ in range(2)]

    def refused():
        try:
            protocol.infer("slow", {"x": ROW}, timeout=1_000)
        except InferenceServerException as error:
            assert error.status() in (protocol.deadline, protocol.unavailable), error
            return True
        # It came before they did.
        return False

    wait_for("a request to wait in the queue", refused)
    for finish in busy:
        expect_equal(finish().as_numpy("y").tolist(), ROW.tolist())
