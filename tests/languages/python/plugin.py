"""Does what a test or a measurement asks for, in Python."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import types

kept = "nothing"


class Preprocess(exports.Preprocess):
    def process(self, request: types.Request, input: types.Payload) -> types.Payload:
        global kept
        match request.header("x-behaviour"):
            case "double":
                return types.Payload_Tensors([double(tensor) for tensor in input.value])
            case "raise":
                print("about to fail")
                raise RuntimeError(request.header("x-secret"))
            case "keep":
                before, kept = kept, request.header("x-secret")
                raise Err(types.Error_InvalidInput(types.InvalidInput(before, "kept")))
            case "spin":
                while True:
                    pass
        return input


def double(tensor: types.Tensor) -> types.Tensor:
    values = [value * 2.0 for value in tensor.read_fp32()]
    return types.Tensor.from_fp32(tensor.name(), tensor.shape(), values)
