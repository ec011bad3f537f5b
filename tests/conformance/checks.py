"""Named checks against a running server, and what they share.

A check is a function marked with `check`. `run` calls all of them, prints a line for each, and ends the process with status
1 where one failed.
"""

import argparse
import sys
import time
import traceback

from tritonclient.utils import InferenceServerException

_CHECKS = []

# What no answer to a client may name.
_INSIDE = ["/tmp/", "/root/", "/home/", ".rs:", "wasm backtrace", "wasmtime", "onnxruntime/"]

PATIENCE_S = 30


def check(function):
    """Adds a function to those that `run` calls with the arguments given there."""
    _CHECKS.append(function)
    return function


def run(*arguments):
    """Calls every check, and ends the process."""
    failed = 0
    for function in _CHECKS:
        begun = time.monotonic()
        try:
            function(*arguments)
            outcome = "ok"
        except Exception:
            failed += 1
            outcome = "FAILED\n" + traceback.format_exc()
        print(f"{function.__name__}: {outcome} ({time.monotonic() - begun:.2f} s)", flush=True)
    print(f"{len(_CHECKS)} checks, {failed} failed")
    sys.exit(1 if failed or not _CHECKS else 0)


def address():
    """The HOST:PORT of the server, from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True, help="HOST:PORT of the server")
    return parser.parse_args().url


def expect_error(call, status, *mentions):
    """Checks that a call is refused with one of the statuses (a text, or a tuple of them), and that the message mentions
    some texts and nothing of the server's inside."""
    try:
        answer = call()
    except InferenceServerException as error:
        statuses = (status,) if isinstance(status, str) else status
        assert error.status() in statuses, f"{error.status()}, not {status}: {error.message()}"
        text = str(error.message())
        for mention in mentions:
            assert mention in text, f"{mention!r} is not mentioned: {text}"
        for inside in _INSIDE:
            assert inside not in text, f"the answer tells of the server's inside: {text}"
        return error
    raise AssertionError(f"not refused, but answered: {answer}")


def wait_for(what, probe):
    """Waits until `probe` gives something that is true, and gives that."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = probe()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {PATIENCE_S} s in vain for {what}")


def expect_equal(left, right):
    """Checks that two things are equal, and shows both where they are not."""
    assert left == right, f"{left!r} is not {right!r}"
