"""Writes the committed corpora: `python seeds.py`, with the packages of `tests/conformance/requirements.txt`.

Seeds are small and varied: each has a form of input that no other has. A fuzzer, and the test in `tests/`, go on from them.
What a fuzzer found is committed beside them, under the name that says what it was. `plugin_seeds.py` writes those of plugins.
"""

import json
import struct

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import service_pb2

from seed_files import write


def tensor(datatype, shape, name=None, **members):
    """The targets know an input of one dimension for each datatype, under its name, and `pair`."""
    return {"name": name or datatype, "datatype": datatype, "shape": shape, **members}


def oip_json():
    """Requests for inference, as JSON."""
    x = tensor("FP32", [4], data=[1, 2.5, -3e2, 0])
    documents = {
        "plain": {"inputs": [x]},
        "id_and_parameters": {"id": "7", "parameters": {"priority": 1, "timeout": 1000, "flag": True, "of": 0.5}, "inputs": [x]},
        "nested_data": {"inputs": [tensor("FP32", [2, 2], name="pair", data=[[1, 2], [3, 4]])]},
        "bytes": {"inputs": [tensor("BYTES", [3], data=["", "gr\u00fcn", 'a"\\\n'])]},
        "bool": {"inputs": [tensor("BOOL", [2], data=[True, False])]},
        "int64": {"inputs": [tensor("INT64", [2], data=[-(2**63), 2**63 - 1])]},
        "uint64": {"inputs": [tensor("UINT64", [1], data=[2**64 - 1])]},
        "uint8": {"inputs": [tensor("UINT8", [2], data=[0, 255])]},
        "fp16_and_bf16": {"inputs": [tensor(kind, [2], data=[1.5, -65504]) for kind in ("FP16", "BF16")]},
        "fp64": {"inputs": [tensor("FP64", [2], data=[5e-324, 1.7976931348623157e308])]},
        "empty": {"inputs": [tensor("FP32", [0, 4], data=[])]},
        "scalar": {"inputs": [tensor("FP32", [], data=[1])]},
        "binary": {"inputs": [tensor("FP32", [4], parameters={"binary_data_size": 16})]},
        "shared_memory": {
            "inputs": [tensor("FP32", [4], parameters={"shared_memory_region": "r", "shared_memory_byte_size": 16, "shared_memory_offset": 8})]
        },
        "outputs": {
            "inputs": [x],
            "outputs": [{"name": "y", "parameters": {"binary_data": True, "classification": 3}}, {"name": "z"}],
            "parameters": {"binary_data_output": True},
        },
        "sequence": {"parameters": {"sequence_id": "s", "sequence_start": True, "sequence_end": False}, "inputs": [x]},
        "huge_shape": {"inputs": [tensor("FP32", [2**62, 2**62], data=[1])]},
        "negative_shape": {"inputs": [tensor("FP32", [-1, 4], data=[1])]},
        "body": {"inputs": [tensor("BYTES", [1], name="body", parameters={"content_type": "image/png"}, data=["x"])]},
    }
    seeds = {name: json.dumps(document) for name, document in documents.items()}
    seeds["data_first"] = '{"inputs":[{"data":[1,2,3,4],"shape":[4],"datatype":"FP32","name":"FP32"}]}'
    seeds["escapes"] = '{"inputs":[{"name":"\\u0042YTES","datatype":"BYTES","shape":[2],"data":["\\ud83d\\ude00","\\u0000"]}]}'
    seeds["lone_surrogate"] = '{"inputs":[{"name":"BYTES","datatype":"BYTES","shape":[1],"data":["\\ud83d"]}]}'
    seeds["twice"] = '{"inputs":[],"inputs":[],"id":"a","id":"b"}'
    seeds["brackets"] = '{"inputs":[{"name":"FP32","datatype":"FP32","shape":[1],"data":' + "[" * 200
    seeds["numbers"] = '{"inputs":[{"name":"FP32","datatype":"FP32","shape":[6],"data":[1e400,-0,0.1e-999,01,+1,1.]}]}'
    seeds["not_finite"] = '{"inputs":[{"data":[NaN,Infinity,-Infinity,null],"name":"FP32","datatype":"FP32","shape":[4]}]}'
    seeds["not_finite_integers"] = '{"inputs":[{"name":"INT8","datatype":"INT8","shape":[2],"data":[NaN,-Infinity]}]}'
    seeds["spaces"] = ' \t\r\n{ "inputs" : [ ] , "unknown" : { "a" : [ { } , null ] } } '
    seeds["not_utf8"] = b'{"inputs":[{"name":"\xff"}]}'
    return seeds


def native_json():
    """Documents of the native endpoint."""
    inputs = {
        "row": [1, 2.5, -3e2, 0],
        "rows": [[1, 2], [3, 4]],
        "texts": ["a", "gr\u00fcn"],
        "named": {"FP32": [1], "BYTES": ["a"], "BOOL": [True]},
        "pair": {"pair": [[1, 2], [3, 4]]},
        "batch": {"pair": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]},
        "empty": [],
        "number": 7,
        "nothing": None,
        "ragged": [[1, 2], [3]],
    }
    seeds = {name: json.dumps({"input": value}) for name, value in inputs.items()}
    seeds["brackets"] = '{"input":' + "[" * 200
    seeds["trailing"] = '{"input": [1]} x'
    seeds["not_finite"] = '{"input": [[NaN, null], [Infinity, -Infinity]]}'
    return seeds


def binary_split():
    """Bodies with binary data: the length of the JSON in two bytes, little-endian, then the body."""

    def body(document, blobs=b"", length=None):
        head = document if isinstance(document, bytes) else json.dumps(document).encode()
        return struct.pack("<H", len(head) if length is None else length) + head + blobs

    row = np.array([1, 2, 3, 4], dtype=np.float32).tobytes()
    x = tensor("FP32", [4], parameters={"binary_data_size": 16})
    texts = b"".join(struct.pack("<I", len(text)) + text for text in (b"", b"a", b"gr\xc3\xbcn"))
    sized = lambda size, **members: {"inputs": [tensor(members.get("datatype", "FP32"), members.get("shape", [4]), parameters={"binary_data_size": size})]}
    return {
        "one": body({"inputs": [x]}, row),
        "two": body({"inputs": [x, tensor("FP32", [2, 2], name="pair", parameters={"binary_data_size": 16})]}, row + row),
        "mixed": body({"inputs": [x, tensor("INT8", [1], data=[1])]}, row),
        "bytes": body(sized(len(texts), datatype="BYTES", shape=[3]), texts),
        "bytes_cut_off": body(sized(len(texts) - 1, datatype="BYTES", shape=[3]), texts[:-1]),
        "bytes_too_long": body(sized(8, datatype="BYTES", shape=[1]), struct.pack("<I", 2**32 - 1) + b"abcd"),
        "bool": body(sized(2, datatype="BOOL", shape=[2]), b"\x01\x02"),
        "fp16": body(sized(4, datatype="FP16", shape=[2]), b"\0\x3c\0\x40"),
        "too_short": body(sized(16), row[:-1]),
        "too_long": body(sized(16), row + b"x"),
        "size_overflows": body(sized(2**64 - 1), row),
        "size_negative": body(sized(-1), row),
        "header_too_long": body({"inputs": [x]}, row, length=10_000),
        "header_zero": body(b"", row),
        "json_alone": body({"inputs": [tensor("FP32", [1], data=[1])]}),
        "odd_alignment": body(json.dumps(sized(16)).encode() + b" ", row),
    }


def grpc_contents():
    """Messages of ModelInfer."""

    def request(*inputs, raw=(), **members):
        message = service_pb2.ModelInferRequest(model_name="model", **members)
        for datatype, shape, contents in inputs:
            entry = message.inputs.add(name=f"x-{datatype.lower()}", datatype=datatype, shape=shape)
            for field, values in contents.items():
                getattr(entry.contents, field).extend(values)
        message.raw_input_contents.extend(raw)
        return message

    row = np.array([1, 2, 3, 4], dtype=np.float32).tobytes()
    typed = {
        "BOOL": ("bool_contents", [True, False]),
        "INT8": ("int_contents", [-128, 127]),
        "INT16": ("int_contents", [-32768, 32767]),
        "INT32": ("int_contents", [-(2**31), 2**31 - 1]),
        "INT64": ("int64_contents", [-(2**63), 2**63 - 1]),
        "UINT8": ("uint_contents", [0, 255]),
        "UINT16": ("uint_contents", [0, 65535]),
        "UINT32": ("uint_contents", [0, 2**32 - 1]),
        "UINT64": ("uint64_contents", [0, 2**64 - 1]),
        "FP32": ("fp32_contents", [1.5, -0.0]),
        "FP64": ("fp64_contents", [1.5, float("inf")]),
        "BYTES": ("bytes_contents", [b"", b"text"]),
    }
    messages = {f"typed_{name.lower()}": request((name, [2], {field: values})) for name, (field, values) in typed.items()}
    messages["raw"] = request(("FP32", [4], {}), raw=[row], model_version="1", id="7")
    messages["raw_two"] = request(("FP32", [4], {}), ("FP16", [2], {}), raw=[row, row[:4]])
    messages["raw_bytes"] = request(("BYTES", [2], {}), raw=[b"\0\0\0\0\x01\0\0\0a"])
    messages["raw_and_typed"] = request(("FP32", [2], {"fp32_contents": [1, 2]}), raw=[row])
    messages["fp16_typed"] = request(("FP16", [2], {"fp32_contents": [1, 2]}))
    messages["out_of_range"] = request(("INT8", [1], {"int_contents": [300]}))
    messages["wrong_field"] = request(("FP32", [1], {"int_contents": [1]}))
    messages["too_few"] = request(("FP32", [3], {"fp32_contents": [1]}))
    messages["huge_shape"] = request(("FP32", [2**62, 2**62], {}), raw=[row])
    messages["negative_shape"] = request(("FP32", [-1], {}), raw=[row])
    whole = request(("FP32", [4], {}), raw=[row])
    whole.parameters["sequence_id"].string_param = "s"
    whole.parameters["priority"].uint64_param = 1
    whole.parameters["factor"].double_param = 0.5
    whole.inputs[0].parameters["shared_memory_region"].string_param = "r"
    whole.inputs[0].parameters["shared_memory_byte_size"].int64_param = 16
    whole.outputs.add(name="y").parameters["classification"].int64_param = 2
    messages["parameters"] = whole
    seeds = {name: message.SerializeToString() for name, message in messages.items()}
    seeds["cut_off"] = seeds["raw"][:-3]
    seeds["unknown_fields"] = seeds["raw"] + b"\xf8\x07\x01\xfa\x07\x03abc"
    seeds["group"] = seeds["raw"] + b"\xfb\x07\xfc\x07"
    return seeds


def onnx_walk():
    """ONNX files, above all those with data elsewhere."""

    def external(name, **entries):
        made = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
        for key, value in entries.items():
            made.external_data.add(key=key, value=str(value))
        return made

    def value(name):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4])

    def model(nodes, initializers=(), **members):
        graph = helper.make_graph(nodes, "g", [value("x")], [value("y")], initializer=list(initializers))
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, **members)

    add = helper.make_node("Add", ["x", "w"], ["y"])
    seeds = {
        "plain": model([add], [numpy_helper.from_array(np.ones(4, dtype=np.float32), "w")]),
        "external": model([add], [external("w", location="w.bin", offset=0, length=16)]),
        "external_without_length": model([add], [external("w", location="w.bin")]),
        "external_outside": model([add], [external("w", location="../../w.bin", offset=0, length=16)]),
        "external_absolute": model([add], [external("w", location="/etc/passwd")]),
        "external_negative": model([add], [external("w", location="w.bin", offset=-1, length=-16)]),
        "external_huge": model([add], [external("w", location="w.bin", offset=2**63 - 1, length=2**63 - 1)]),
        "external_no_number": model([add], [external("w", location="w.bin", offset="x")]),
        "external_nowhere": model([add], [external("w")]),
    }
    constant = helper.make_node("Constant", [], ["w"], value=external("w", location="c.bin", length=16))
    seeds["attribute"] = model([constant, add])
    branch = helper.make_graph([add], "b", [], [value("y")], initializer=[external("w", location="b.bin")])
    seeds["subgraph"] = model([helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)])
    function = helper.make_function("d", "F", ["x"], ["y"], [constant, add], [helper.make_opsetid("", 17)])
    seeds["function"] = model([helper.make_node("F", ["x"], ["y"], domain="d")], functions=[function])
    sparse = model([add])
    entry = sparse.graph.sparse_initializer.add(dims=[4])
    entry.values.CopyFrom(external("w", location="v.bin"))
    entry.indices.CopyFrom(external("i", location="i.bin"))
    seeds["sparse"] = sparse
    huge = model([add], [external("w", location="w.bin")])
    huge.graph.initializer[0].dims[:] = [2**62, 2**62]
    seeds["huge_dims"] = huge
    negative = model([add], [external("w", location="w.bin")])
    negative.graph.initializer[0].dims[:] = [-1]
    seeds["negative_dims"] = negative
    files = {name: made.SerializeToString() for name, made in seeds.items()}
    files["cut_off"] = files["external"][:-20]
    files["garbage"] = b"not a model"
    files["group"] = files["plain"] + b"\xfb\x07\xfc\x07"
    nested = b""
    for _ in range(100):
        nested = b"\x0a" + bytes([min(len(nested), 127)]) + nested[:127]
    files["nested"] = nested
    return files


if __name__ == "__main__":
    for seeds in (oip_json, native_json, binary_split, grpc_contents, onnx_walk):
        write(seeds.__name__, seeds())
