"""Turns a JSON document with texts into the tensor of numbers that a small classifier takes.

    {"text": "Buy now!!!"}  or  {"texts": ["Buy now!!!", "See you at 5"]}

becomes an FP32 tensor `[texts, 4]`: characters, words, and the shares of capitals and of punctuation.
"""

import json
import re

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.lifecycle import Description
from wit_world.imports import types

FEATURES = 4

# A string, whose brackets count for nothing, or a bracket.
TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
MAX_DEPTH = 16


class Settings:
    """`[settings]` of the plugin's settings file."""

    def __init__(self, text: str):
        table = json.loads(text)
        self.name = table.pop("name", "input")
        self.max_texts = table.pop("max_texts", 64)
        if not isinstance(self.name, str) or not self.name:
            raise invalid("name", "give the name of the model's input")
        if type(self.max_texts) is not int or not 1 <= self.max_texts <= 4096:
            raise invalid("max_texts", "give a whole number from 1 to 4096")
        for unknown in table:
            raise invalid(unknown, "there is no such setting: use name or max_texts")


# An instance keeps it from its start to its end. With isolation by request that is one request.
settings = Settings("{}")


class Lifecycle(exports.Lifecycle):
    def describe(self) -> Description:
        return Description("1.0.0", "Turns texts into numbers about their characters and words.", [])

    def init(self, text: str) -> None:
        global settings
        settings = Settings(text)

    def self_test(self) -> None:
        if features("Aa1! ") != [5.0, 1.0, 0.2, 0.2]:
            raise Err(types.Error_Failed("the features of a known text are wrong"))


class Preprocess(exports.Preprocess):
    def process(self, request: types.Request, input: types.Payload) -> types.Payload:
        rows = [features(text) for text in texts(input)]
        values = [value for row in rows for value in row]
        tensor = types.Tensor.from_fp32(settings.name, [len(rows), FEATURES], values)
        return types.Payload_Tensors([tensor])


def texts(input: types.Payload) -> list[str]:
    """The texts of a request. What is wrong with it the client is told, by the member of the document."""
    if not isinstance(input, types.Payload_Body):
        raise invalid(None, "send a JSON document, not tensors")
    data = input.value.read()
    if is_deep(data):
        raise invalid(None, f"the body has more than {MAX_DEPTH} levels")
    try:
        document = json.loads(data)
    except ValueError as error:
        raise invalid(None, "the body is not JSON") from error
    match document:
        case {"text": str(text)}:
            return [text]
        case {"text": _}:
            raise invalid("text", "give a string")
        case {"texts": [*texts]} if texts and all(isinstance(text, str) for text in texts):
            if len(texts) > settings.max_texts:
                raise invalid("texts", f"give at most {settings.max_texts} texts")
            return texts
        case {"texts": _}:
            raise invalid("texts", "give a list of strings with at least one")
        case _:
            raise invalid("text", "give an object with the member text or texts")


def is_deep(data: bytes) -> bool:
    """Whether a parser would recurse deeply. Here the stack of WebAssembly ends before Python's own limit, and that is a fault."""
    depth = 0
    for token in TOKEN.finditer(data):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token[0], 0)
        if depth > MAX_DEPTH:
            return True
    return False


def features(text: str) -> list[float]:
    characters = max(len(text), 1)

    def share(holds) -> float:
        return sum(map(holds, text)) / characters

    def is_punctuation(character: str) -> bool:
        return not (character.isalnum() or character.isspace())

    return [float(len(text)), float(len(text.split())), share(str.isupper), share(is_punctuation)]


def invalid(field: str | None, message: str) -> Err:
    """The client's mistake: HTTP 400. Any other exception is a fault of the plugin: HTTP 502, and its text is in the log alone."""
    return Err(types.Error_InvalidInput(types.InvalidInput(field, message)))
