"""What tritonclient can do over HTTP: `tritonclient_http.py --url HOST:PORT`, the site of `models.py` behind it."""

import asyncio
import http.client
import json
import zlib

import numpy as np
import tritonclient.http
import tritonclient.http.aio

import triton_checks
from checks import address, check, expect_equal, expect_error, run
from triton_checks import ROW, THREE, TYPED


class Http(triton_checks.Protocol):
    key = "http"
    invalid, missing, unprocessable, deadline, unavailable = "400", "404", "422", "504", "503"

    def start(self, model, arrays):
        return self.client.async_infer(model, self.inputs(arrays)).get_result


@check
def json_in_and_out_is_as_good_as_binary_data(protocol):
    # JSON has no text that is not UTF-8, and tritonclient writes no BF16.
    arrays = {f"in_{name}": array for name, array in TYPED.items() if name not in ("BYTES", "BF16")}
    inputs = protocol.inputs(arrays, binary_data=False)
    texts = np.array(["", "gr\u00fcn", 'a"\\\n'], dtype=object)
    inputs += protocol.inputs({"in_BYTES": texts}, binary_data=False)
    inputs += protocol.inputs({"in_BF16": TYPED["BF16"]})
    outputs = protocol.outputs(*(name.replace("in_", "out_") for name in [*arrays, "in_BYTES"]), binary_data=False)
    result = protocol.client.infer("types", inputs, outputs=outputs)
    assert all("data" in output for output in result.get_response()["outputs"])
    for name, array in arrays.items():
        expect_equal((name, result.as_numpy(name.replace("in_", "out_")).tolist()), (name, array.tolist()))
    expect_equal(result.get_output("out_BYTES")["data"], texts.tolist())


@check
def what_is_no_finite_number_goes_through_json(protocol):
    array = np.array([[np.nan, np.inf, -np.inf, 1]], dtype=np.float32)
    inputs = protocol.inputs({"a": array, "b": np.zeros_like(array)}, binary_data=False)
    result = protocol.client.infer("pair", inputs, outputs=protocol.outputs("sum", binary_data=False))
    assert "data" in result.get_response()["outputs"][0]
    np.testing.assert_array_equal(result.as_numpy("sum"), array)


@check
def health_has_the_bodies_that_kserve_reads(protocol):
    # As `kserve.InferenceRESTClient` reads them.
    for path, document in (
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/pair/ready", {"name": "pair", "ready": True}),
    ):
        connection = http.client.HTTPConnection(protocol.url, timeout=30)
        connection.request("GET", path)
        response = connection.getresponse()
        expect_equal((response.status, json.loads(response.read())), (200, document))
        connection.close()


@check
def each_output_chooses_how_it_comes(protocol):
    outputs = protocol.outputs("sum", binary_data=True) + protocol.outputs("difference", binary_data=False)
    result = protocol.infer("pair", {"a": THREE, "b": ROW.repeat(3, axis=0)}, outputs=outputs)
    found = {output["name"]: "data" in output for output in result.get_response()["outputs"]}
    expect_equal(found, {"sum": False, "difference": True})
    expect_equal(result.as_numpy("sum").tolist(), (THREE + ROW).tolist())
    expect_equal(result.as_numpy("difference").tolist(), (THREE - ROW).tolist())


@check
def requests_and_answers_are_compressed(protocol):
    large = np.tile(ROW, (2_000, 1))
    for given in (None, "gzip", "deflate"):
        for asked in (None, "gzip", "deflate"):
            result = protocol.infer(
                "pair", {"a": large, "b": large}, request_compression_algorithm=given, response_compression_algorithm=asked
            )
            expect_equal(result.as_numpy("sum").tolist(), (large * 2).tolist())


@check
def answers_are_compressed_where_the_client_takes_it(protocol):
    row = np.zeros((2_000, 4)).tolist()
    inputs = [{"name": name, "shape": [2_000, 4], "datatype": "FP32", "data": row} for name in ("a", "b")]
    body = json.dumps({"inputs": inputs})
    for encoding, window in (("gzip", zlib.MAX_WBITS | 16), ("deflate", zlib.MAX_WBITS)):
        response, content = post(protocol, "/v2/models/pair/infer", body, {"accept-encoding": encoding})
        expect_equal((response.status, response.getheader("content-encoding")), (200, encoding))
        expect_equal(json.loads(zlib.decompress(content, window))["model_name"], "pair")


@check
def a_raw_request_is_the_only_input(protocol):
    headers = {"inference-header-content-length": "0", "content-type": "application/octet-stream"}
    response, content = post(protocol, "/v2/models/versions/infer", ROW.tobytes(), headers)
    expect_equal(response.status, 200)
    length = int(response.getheader("inference-header-content-length"))
    expect_equal(json.loads(content[:length])["outputs"][0]["shape"], [1, 4])
    expect_equal(np.frombuffer(content[length:], dtype=np.float32).tolist(), (ROW * 3)[0].tolist())
    response, _ = post(protocol, "/v2/models/versions/infer", ROW.tobytes()[:-1], headers)
    expect_equal(response.status, 400)


@check
def bodies_that_do_not_add_up_are_refused(protocol):
    def body(shape, size):
        tensor = {"name": "x", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": size}}
        return json.dumps({"inputs": [tensor]}).encode()

    good = body([1, 4], 16)
    for head, tail, length in (
        (good, b"\0" * 15, None),
        (good, b"\0" * 17, None),
        (good, b"\0" * 16, 10_000),
        (good, b"\0" * 16, -1),
        (good, b"\0" * 16, "x"),
        (good, b"\0" * 16, 2**70),
        (body([1, 4], 2**63), b"\0" * 16, None),
        (body([1, 4], -16), b"\0" * 16, None),
        (body([2, 4], 16), b"\0" * 16, None),
        (body([-1, 4], 16), b"\0" * 16, None),
        (body([2**62, 4], 16), b"\0" * 16, None),
        (body([2**62, 2**62, 4], 16), b"\0" * 16, None),
    ):
        headers = {"inference-header-content-length": str(len(head) if length is None else length)}
        response, content = post(protocol, "/v2/models/versions/infer", head + tail, headers)
        expect_equal((response.status, (head, length)), (400, (head, length)))
        assert json.loads(content)["error"], content
    headers = {"inference-header-content-length": str(len(good))}
    expect_equal(post(protocol, "/v2/models/versions/infer", good + b"\0" * 16, headers)[0].status, 200)


def post(protocol, path, body, headers):
    """Posts without a client's help."""
    connection = http.client.HTTPConnection(protocol.url, timeout=30)
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


@check
def several_requests_are_under_way_at_once(protocol):
    started = [protocol.start("pair", {"a": ROW * number, "b": ROW}) for number in range(20)]
    for number, finish in enumerate(started):
        expect_equal(finish().as_numpy("sum").tolist(), (ROW * number + ROW).tolist())


@check
def a_body_is_generated_and_parsed_without_a_connection(protocol):
    client = tritonclient.http.InferenceServerClient
    body, length = client.generate_request_body(protocol.inputs({"a": ROW, "b": ROW}))
    headers = {"inference-header-content-length": str(length)}
    response, content = post(protocol, "/v2/models/pair/infer", body, headers)
    length = int(response.getheader("inference-header-content-length"))
    expect_equal(client.parse_response_body(content, header_length=length).as_numpy("sum").tolist(), (ROW * 2).tolist())


@check
def the_aio_client_is_served_as_well(protocol):
    async def talk():
        async with tritonclient.http.aio.InferenceServerClient(protocol.url) as client:
            await triton_checks.the_calls_of_an_aio_client(protocol, client)

    asyncio.run(talk())


@check
def a_clients_timeout_leaves_the_server_unharmed(protocol):
    with tritonclient.http.InferenceServerClient(protocol.url, network_timeout=0.05) as client:
        try:
            client.infer("slow", protocol.inputs({"x": ROW}))
            raise AssertionError("the model is not slow")
        except OSError:
            pass
    expect_equal(protocol.infer("pair", {"a": ROW, "b": ROW}).as_numpy("sum").tolist(), (ROW * 2).tolist())


@check
def cuda_shared_memory_is_not_there(protocol):
    assert "cuda_shared_memory" not in protocol.client.get_server_metadata()["extensions"]
    register = protocol.client.register_cuda_shared_memory
    expect_error(lambda: register("region", b"aGFuZGxl", 0, 64), ("404", "501"))


def main():
    url = address()
    with tritonclient.http.InferenceServerClient(url, concurrency=8, network_timeout=60) as client:
        protocol = Http(tritonclient.http, client)
        protocol.url = url
        run(protocol)


if __name__ == "__main__":
    main()
