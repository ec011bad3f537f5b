"""@SUMMARY@

The host calls the classes of this module by their names. The functions and types of `wit_world` are those of wit/world.wit and of
the contract that it includes, which lies in target/wit after the first build.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import lifecycle@MORE@
from wit_world.imports import types

# `[settings]` of @NAME@.toml.
settings = {}


def wrong_setting(field, message):
    return Err(types.Error_InvalidInput(types.InvalidInput(field, message)))


class Lifecycle(exports.Lifecycle):
    def describe(self):
        return lifecycle.Description("0.1.0", "@SUMMARY@", [])

    def init(self, text):
        settings.update(json.loads(text))
        check_settings()

    def self_test(self):
        pass


