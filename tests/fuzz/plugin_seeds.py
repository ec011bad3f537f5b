"""Writes the committed corpora of what concerns plugins: `python plugin_seeds.py`, with the package `wasmtime`.

A program of `imports` is written in the calls of the guest `puppet`: their numbers, and the texts, numbers and floats that have one, are
read out of its source.
"""

import ast
import pathlib
import re
import struct

from wasmtime import wat2wasm

from seed_files import write

PUPPET = pathlib.Path(__file__).parent.parent / "guests" / "puppet" / "src"


def table(file, begin):
    """The text of an array in the guest's source, from the line that begins it."""
    text = (PUPPET / file).read_text()
    return text[text.index(begin) :].split("];\n", 1)[0].split("= [", 1)[1]


CALLS = re.findall(r'\(\s*"([^"]+)",', table("calls.rs", "pub(crate) const CALLS"))
TEXTS = [
    ast.literal_eval(re.sub(r"\\u\{(\w+)\}", lambda code: f"\\u{int(code[1], 16):04x}", text))
    for text in re.findall(r'"(?:[^"\\]|\\.)*"', table("program.rs", "const TEXTS"))
]
# The places of what stands in the arrays of numbers and floats.
NUMBERS = {2**20: 7, 2**31: 9, 2**32 - 1: 10, 2**32: 11, 2**63: 14, 2**64 - 1: 15}
FLOATS = {"0": 0, "1": 2, "1/255": 3, "nan": 5, "inf": 6, "1e39": 10}


def byte(value):
    return bytes([value])


def number(value):
    if value < 128:
        return byte(value)
    if value in NUMBERS:
        return b"\x80" + byte(NUMBERS[value])
    return b"\xff" + struct.pack("<Q", value)


def real(name):
    return b"\0" + byte(FLOATS[name])


def data(content):
    assert len(content) < 192
    return byte(len(content)) + content


def many(content, count):
    """One byte many times, up to a MiB."""
    return b"\xc0\x01" + content + number(count)


def text(content):
    return b"\0" + byte(TEXTS.index(content)) if content in TEXTS else b"\xc0" + data(content.encode())


def several(*items):
    return byte(len(items)) + b"".join(items)


def shape(*dimensions):
    return several(*(number(dimension) for dimension in dimensions))


def fitting(*items):
    return b"\0" + b"".join(items)


def maybe(item=None):
    return b"\0" if item is None else b"\x01" + item


def program(*calls):
    """Each call is a name, and the bytes of its arguments."""
    return b"".join(byte(CALLS.index(name)) + b"".join(arguments) for name, *arguments in calls)


def tensors():
    """Programs about tensors."""
    kinds = {"fp32": real("1"), "fp64": real("nan"), "int32": number(2**31), "int64": number(2**63)}
    programs = {}
    for kind, element in kinds.items():
        make = (f"types.[static]tensor.from-{kind}", text("x"), shape(2, 3), fitting(*[element] * 6))
        reads = [(f"types.[method]tensor.read-{other}", byte(0)) for other in kinds]
        programs[f"tensor_{kind}"] = program(make, *reads, ("types.[method]tensor.read", byte(0)))
    of_bytes = "types.[static]tensor.from-bytes"
    programs["tensor_bytes"] = program(
        (of_bytes, text("x"), byte(13), shape(2), data(b"\1\0\0\0a\0\0\0\0")),
        ("types.[method]tensor.read-elements", byte(0)),
        (of_bytes, text("x"), byte(0), shape(2), data(b"\0\2")),
        (of_bytes, text("x"), byte(13), shape(1), data(b"\xff\xff\xff\xff")),
        (of_bytes, text("\0\r\n\ufeff"), byte(11), shape(2**32, 2**32), data(b"")),
        ("types.[static]tensor.from-elements", text("x"), shape(2), fitting(data(b"a"), many(b"b", 1000))),
        ("types.[method]tensor.read-elements", byte(1)),
    )
    programs["tensor_shapes"] = program(
        ("types.[static]tensor.from-fp32", text("x"), shape(), fitting(real("0"))),
        ("types.[static]tensor.from-fp32", text(""), shape(0, 2**64 - 1), fitting()),
        ("types.[static]tensor.from-int64", text("y"), shape(2**63, 2), b"\0", several(number(1))),
        ("types.[method]tensor.with-shape", shape(1, 1, 1, 1, 1), byte(0)),
        ("types.[method]tensor.with-shape", shape(2**64 - 1, 2**64 - 1), byte(0)),
        *((f"types.[method]tensor.{name}", byte(1)) for name in ("name", "datatype", "shape", "byte-length")),
        ("types.[method]tensor.with-name", text("token"), byte(0)),
    )
    programs["tensor_ranges"] = program(
        ("types.[static]tensor.from-bytes", text("x"), byte(1), shape(2**20), many(b"a", 2**20)),
        *(
            ("types.[method]tensor.read-range", number(offset), number(length), byte(0))
            for offset, length in ((0, 4), (2**20, 0), (2**20, 1), (2**64 - 1, 1), (1, 2**64 - 1))
        ),
    )
    programs["tensor_too_much"] = program(*[("types.[static]tensor.from-bytes", text("x"), byte(1), shape(2**20), many(b"a", 2**20))] * 60)
    return programs


def small():
    """Programs about bodies, the request, and what every plugin may use."""
    return {
        "bodies": program(
            ("types.[constructor]body", text("GET"), data(b"0123456789")),
            *((f"types.[method]body.{name}", byte(0)) for name in ("media-type", "byte-length", "read")),
            ("types.[method]body.read-range", number(9), number(1), byte(0)),
            ("types.[method]body.read-range", number(2**64 - 1), number(2**64 - 1), byte(0)),
            ("types.[method]body.with-media-type", text("image/png"), byte(0)),
            ("drop a body", byte(0)),
        ),
        "request": program(
            *((f"types.[method]request.{name}",) for name in ("id", "route", "tenant", "headers", "remaining-ms")),
            ("types.[method]request.header", text("x")),
            ("types.[method]request.header", text("\0\r\n\ufeff")),
            ("types.[method]request.header", text("host")),
        ),
        "lines": program(
            ("log.write", byte(3), text("a line\nand another"), several(text("key") + text("token"), text("plugin") + text("x"))),
            ("log.write", byte(0), b"\xc0", many(b"\n", 2**20), several()),
            ("settings.read",),
        ),
        "numbers": program(
            ("metrics.add", text("puppet_calls_total"), number(2**64 - 1)),
            ("metrics.add", text("puppet_level"), number(1)),
            ("metrics.set", text("puppet_level"), real("nan")),
            ("metrics.observe", text("puppet_sizes"), real("inf")),
            ("metrics.observe", text("no such metric {}"), real("1")),
        ),
    }


def abilities():
    """Programs about what needs a grant."""
    call = lambda target, version=None, body=False: text(target) + maybe(version) + (b"\x01\0\0" if body else b"\0\x01" + text("y") + byte(0))
    request = lambda method, url, *headers, timeout=None, body=b"\0": text(method) + text(url) + several(*headers) + maybe(timeout) + body
    return {
        "state": program(
            ("state.set", text("key"), data(b"5"), maybe()),
            ("state.get", text("key")),
            ("state.increment", text("key"), number(2**63 - 1), maybe(number(2**64 - 1))),
            ("state.increment", text("token"), number(2**63), maybe(number(0))),
            ("state.compare-and-swap", text("key"), data(b"6"), maybe(), b"\0"),
            ("state.compare-and-swap", text("key"), data(b"7"), maybe(number(1)), b"\x01", number(2**64 - 1)),
            ("state.keys", text(""), number(2**32 - 1)),
            ("state.keys", text("prefix/"), number(0)),
            ("state.delete", text("key")),
        ),
        "state_full": program(
            *(("state.set", text(f"{key}"), many(b"a", 2**20 // 9), maybe(number(2**64 - 1))) for key in range(20)),
            ("state.set", b"\xc0", many(b"k", 2000), data(b""), maybe()),
        ),
        "models": program(
            ("model.infer", call("echo", text("stable"))),
            ("model.infer", call("refuse")),
            ("model.infer", call("gone", body=True)),
            ("model.infer", call("not granted")),
            ("model.infer-all", several(call("echo"), call("x", body=True), call("refuse"))),
            ("model.infer-all", several()),
            ("model.mirror", call("echo")),
            ("model.mirror", call("not granted", body=True)),
        ),
        "http": program(
            ("http.send", request("GET", "http://127.0.0.1:9/", text("x") + text("y"), text("host") + text("y"))),
            ("http.send", request("CONNECT", "https://example.com/", timeout=number(0))),
            ("http.send", request("G T", "no address")),
            ("http.send-all", several(request("POST", "http://127.0.0.1:9/", timeout=number(2**32 - 1), body=b"\x01\0\0"), request("GET", "file:///etc/passwd"))),
        ),
        "secrets": program(("secret.read", text("token")), ("secret.read", text("../token")), ("log.write", byte(1), text("a secret of no worth"), several())),
    }


def codec():
    """Programs about images and tokenizers."""

    def decode(width, height, datatype=11, scale="1/255", mean=(), deviation=(), kinds=b"\0\x01\0\0"):
        reals = lambda names: several(*(real(name) for name in names))
        return text("pixels") + number(width) + number(height) + kinds + byte(datatype) + real(scale) + reals(mean) + reals(deviation) + byte(0)

    image = lambda kind, *changes, cut=None: byte(kind) + several(*changes) + (b"\0" if cut is None else b"\x01" + byte(cut))
    name = "codec.decode-image"
    return {
        "images": program(
            *(step for kind in range(3) for step in (("image", image(kind)), ("codec.inspect-image", byte(kind)))),
            (name, decode(2, 2)),
            (name, decode(3, 1, datatype=1, scale="1", kinds=b"\x02\x03\x02\x01")),
        ),
        "images_hostile": program(
            ("image", image(0, b"\x12\xff", b"\x13\xff", cut=40)),
            ("image", image(2, b"\x12\xff", b"\x16\xff")),
            ("codec.inspect-image", byte(1)),
            (name, decode(2**32 - 1, 2**32 - 1)),
            (name, decode(0, 0)),
            (name, decode(2, 2, scale="nan", mean=("nan", "inf", "0"), deviation=("0", "0", "1e39"))),
            (name, decode(2, 2, datatype=9, mean=("1",), deviation=("0",))),
            (name, decode(2, 2, datatype=13)),
        ),
        "tokenizers": program(
            ("codec.[static]tokenizer.open", text("words")),
            ("codec.[static]tokenizer.open", text("../words")),
            ("codec.[method]tokenizer.encode", several(text("a ship sails"), text("")), maybe(), maybe(), b"\x01"),
            ("codec.[method]tokenizer.encode", several(text("a ship sails")), maybe(number(0)), maybe(number(2**32 - 1)), b"\0"),
            ("codec.[method]tokenizer.encode", several(), maybe(number(2**32 - 1)), maybe(number(0)), b"\0"),
            ("codec.[method]tokenizer.decode", several(number(2), number(3), number(2**32 - 1)), b"\x01"),
            ("codec.[method]tokenizer.token-id", text("[UNK]")),
            ("codec.[method]tokenizer.vocabulary-size",),
        ),
    }


def misuse():
    """Programs that do with handles what they should not."""
    made = ("types.[static]tensor.from-fp32", text("x"), shape(1), fitting(real("1")))
    return {
        "handle_forged": program(made, ("read a handle that is none", number(2**32 - 1))),
        "handle_guessed": program(made, ("read a handle that is none", number(2))),
        "handle_dropped_forged": program(made, ("drop a handle that is none", number(7))),
        "handle_dropped_twice": program(made, ("drop a handle twice", byte(0))),
        "handle_of_another_kind": program(made, ("take a handle of another kind", byte(0))),
        "handle_left": program(made, ("leave a handle behind", byte(0)), ("drop a tensor", byte(0))),
        "handles_too_many": program(*[("leave a handle behind", byte(0))] * 64),
    }


def imports():
    """Programs of host calls, which call every function of the contract together."""
    return tensors() | small() | abilities() | codec() | misuse()


def plugin_settings():
    """Texts of `plugins/NAME.toml`."""
    return {
        "empty": "",
        "limits": 'isolation = "tenant"\n[limits]\nmemory_mb = 1\ncall_ms = 600000\nhandles = 16\n',
        "limits_wrong": "[limits]\nmemory_mb = -1\n",
        "pin": 'sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"\n',
        "pin_not_ascii": 'sha256 = "' + "\u00fc" * 32 + '"\n',
        "grants": "[grants]\nstate = true\ncodec = false\nmodel = { targets = ['a', 'b'], calls = 3 }\n",
        "grants_http": "[grants.http]\norigins = ['https://*.example.org', 'http://127.0.0.1:9000', 'http://[::1]']\nredirects = 0\nca_file = '/etc/ca.pem'\n",
        "grants_http_wrong": "[grants.http]\norigins = ['ftp://x', 'https://*', 'https://a@b', 'https://a:0', '']\n",
        "grants_files": "[grants.codec.tokenizers]\na = 'models/../../x'\nb = '/etc/passwd'\nc = 'models/a/tokenizer.json'\n",
        "grants_state": "[grants.state]\nscope = 'plugin'\nentries = 1\nkb = 1048576\nkey_bytes = 1\ntenants = 1\n",
        "grants_secret": "[grants.secret]\nnames = ['a', '../b', '']\n",
        "settings": "[settings]\nk = 3\nwhen = 2026-11-22T00:00:00Z\nnested = { scale = 0.5, list = [1, ['a', {}]] }\n",
        "settings_no_number": "[settings]\nx = nan\ny = [inf]\n",
        "twice": "isolation = 'shared'\nisolation = 'shared'\n",
        "deep": "[settings]\nx = " + "[" * 100 + "]" * 100 + "\n",
        "not_utf8": b"[settings]\nx = '\xff'\n",
    }


def plugin_signature():
    """A key and a signature by their lengths, and a component."""
    key = b"MCowBQYDK2VwAyEAaehGWA2XJNi2kntdOCrLh/FmV8GMuGPt9eF17tJOpos="
    weak = b"MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    other = b"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"
    return {
        "good": b"\xff\xffa component\n",
        "another_component": b"\xff\xffanother component\n",
        "own_signature": b"\xff\x40" + bytes(range(64)) + b"a component\n",
        "zero_signature": b"\xff\x40" + bytes(64) + b"a component\n",
        "short_signature": b"\xff\x3f" + bytes(63),
        "no_signature": b"\xff\x00a component\n",
        "own_key": byte(len(key)) + b"\xff" + key + b"a component\n",
        "weak_key": byte(len(weak)) + b"\x40" + weak + bytes(64) + b"a component\n",
        "other_kind_of_key": byte(len(other)) + b"\xff" + other,
        "no_base64": b"\x04\xff****a component\n",
        "empty": b"",
    }


def plugin_contract():
    """Choices of names and types."""
    # The grants; the imports: kind, functions, name; the exports.
    seeds = {f"choices_{at}": bytes((at * 31 + place * 7) % 256 for place in range(64)) for at in range(10)}
    stage = b"\1\1\0\0\1\1\0\x09\1"
    seeds["an_import_and_a_stage"] = b"\0\1\1\0\1\0\2\1\1" + stage
    seeds["imports_of_the_newest"] = b"\1\3" + b"\1\6\2\1\1\1\1\1\5\1" * 3 + stage
    return seeds


def plugin_component():
    """Components, and what is none."""
    module = '(core module $m (memory (export "memory") 1) (func (export "f") (result i32) (i32.const 0)))'
    start = "(core module $s (func $f (loop (br 0))) (start $f)) (core instance (instantiate $s))"
    stage = lambda version="1.0.0", name="preprocess": (
        f'(component {module} (core instance $m (instantiate $m)) (func $f (result u32) (canon lift (core func $m "f")))'
        f' (instance $i (export "process" (func $f))) (export "wharf:plugin/{name}@{version}" (instance $i)))'
    )
    texts = {
        "empty_component": "(component)",
        "core_module": '(module (func (export "process")))',
        "other_types": stage(),
        "newer": stage("1.9.0"),
        "unknown_stage": stage(name="toaster"),
        "imports_a_file": '(component (import "wasi:filesystem/types@0.2.0" (instance (export "open" (func)))))',
        "imports_nothing_of_ours": '(component (import "other:package/x" (func)))',
        "never_starts": f"(component {start})",
        "nested": "(component " * 20 + ")" * 20,
        "many_functions": "(component (core module " + "(func) " * 2100 + "))",
        "large_memory": "(component (core module $m (memory 65536)) (core instance (instantiate $m)))",
        "aliases": f'(component {module} (core instance $m (instantiate $m)) (alias core export $m "memory" (core memory)))',
    }
    seeds = {name: bytes(wat2wasm(text)) for name, text in texts.items()}
    seeds["cut_off"] = seeds["other_types"][:-7]
    seeds["elf"] = b"\x7fELF\x02\x01\x01" + bytes(57)
    seeds["empty"] = b""
    seeds["a_later_layer"] = b"\0asm\x0e\0\x02\0"
    return seeds


if __name__ == "__main__":
    for seeds in (imports, plugin_settings, plugin_signature, plugin_contract, plugin_component):
        write(seeds.__name__, seeds())
