"""Does what a test or a measurement asks for, in Python."""

# What looks names up reads it when it is needed, and then no module can be read any more.
import encodings.idna
import os
import socket
import time
from collections.abc import Callable

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
            case "sleep":
                time.sleep(3600)
            case "reach":
                report = reach(request.header("x-address"))
                raise Err(types.Error_InvalidInput(types.InvalidInput("reached", report)))
        return input


def reach(address: str) -> str:
    """Tries to get hold of what is outside of the plugin, and says what came of each try."""
    host, port = address.rsplit(":", 1)
    tries: dict[str, Callable[[], object]] = {
        "folder": lambda: os.listdir("/"),
        "file": lambda: open("/etc/passwd").read(),
        "write": lambda: open("here", "w"),
        "connect": lambda: socket.create_connection((host, int(port)), timeout=1),
        "listen": lambda: socket.create_server(("127.0.0.1", 0)),
        "datagram": lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", (host, int(port))),
        "lookup": lambda: socket.getaddrinfo("localhost", int(port)),
    }
    return "; ".join(f"{name}: {came_of(what)}" for name, what in tries.items()) + f"; environment: {os.environ}"


def came_of(what: Callable[[], object]) -> str:
    try:
        return f"got {what()!r}"
    except OSError as error:
        return f"refused, {type(error).__name__}"


def double(tensor: types.Tensor) -> types.Tensor:
    values = [value * 2.0 for value in tensor.read_fp32()]
    return types.Tensor.from_fp32(tensor.name(), tensor.shape(), values)
