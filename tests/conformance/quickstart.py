"""tritonclient with its defaults against the quickstart site: `quickstart.py --url HOST:PORT --images DIR`.

The route `digits` takes a picture: to a client of the protocol it is a model with the input `body`.
"""

import argparse
import http.client
import json
import pathlib

import numpy as np
import tritonclient.grpc
import tritonclient.http

from checks import check, expect_equal, expect_error, run

FLOWERS = np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]], dtype=np.float32)


class Site:
    """The server, as both clients reach it."""

    def __init__(self, url, images):
        self.url, self.images = url, images
        self.protocols = [
            (tritonclient.http, tritonclient.http.InferenceServerClient(url, network_timeout=60)),
            (tritonclient.grpc, tritonclient.grpc.InferenceServerClient(url)),
        ]

    def picture(self, label):
        return (self.images / f"{label}.png").read_bytes()


def labels(text):
    """The labels in the answer of the route `digits`, the most likely one first."""

    def collect(value):
        if isinstance(value, dict):
            return [value["label"]] if "label" in value else [label for member in value.values() for label in collect(member)]
        return [label for item in value for label in collect(item)] if isinstance(value, list) else []

    return collect(json.loads(text))


@check
def a_model_answers(site):
    for module, client in site.protocols:
        entry = module.InferInput(client_input(client, "iris"), list(FLOWERS.shape), "FP32")
        entry.set_data_from_numpy(FLOWERS)
        result = client.infer("iris", [entry])
        probabilities = result.as_numpy(client_output(client, "iris"))
        expect_equal((probabilities.shape, probabilities.argmax(axis=1).tolist()), ((2, 3), [0, 2]))


def metadata(client, model):
    """The inputs and outputs of a model by name and datatype."""
    document = client.get_model_metadata(model)
    ends = [document[key] if isinstance(document, dict) else getattr(document, key) for key in ("inputs", "outputs")]
    return [[end if isinstance(end, dict) else {"name": end.name, "datatype": end.datatype, "shape": list(end.shape)} for end in side] for side in ends]


def client_input(client, model):
    return metadata(client, model)[0][0]["name"]


def client_output(client, model):
    return metadata(client, model)[1][0]["name"]


@check
def a_pipeline_is_a_model_that_takes_a_body(site):
    for module, client in site.protocols:
        assert client.is_model_ready("digits")
        given, answer = metadata(client, "digits")
        for end in (given, answer):
            expect_equal([(tensor["name"], tensor["datatype"], [int(size) for size in tensor["shape"]]) for tensor in end], [("body", "BYTES", [1])])
        for label in range(10):
            entry = picture(module, site.picture(label))
            result = client.infer("digits", [entry])
            expect_equal(labels(result.as_numpy("body")[0])[0], str(label))
            output = result.get_output("body")
            kind = output["parameters"]["content_type"] if isinstance(output, dict) else output.parameters["content_type"].string_param
            expect_equal(kind, "application/json")


def picture(module, content, content_type="image/png"):
    """The input `body`. tritonclient has no call to set a parameter of an input, other than to write it where it is kept."""
    entry = module.InferInput("body", [1], "BYTES").set_data_from_numpy(np.array([content], dtype=object))
    if module is tritonclient.http:
        entry._parameters["content_type"] = content_type
    else:
        entry._get_tensor().parameters["content_type"].string_param = content_type
    return entry


@check
def a_picture_needs_no_media_type(site):
    for module, client in site.protocols:
        entry = module.InferInput("body", [1], "BYTES").set_data_from_numpy(np.array([site.picture(3)], dtype=object))
        result = client.infer("digits", [entry])
        expect_equal(labels(result.as_numpy("body")[0])[0], "3")


@check
def a_picture_is_posted_as_it_is(site):
    connection = http.client.HTTPConnection(site.url, timeout=30)
    headers = {"inference-header-content-length": "0", "content-type": "image/png"}
    connection.request("POST", "/v2/models/digits/infer", site.picture(8), headers)
    response = connection.getresponse()
    content = response.read()
    expect_equal((response.status, content[:200] if response.status != 200 else b""), (200, b""))
    length = int(response.getheader("inference-header-content-length"))
    document = json.loads(content[:length])
    expect_equal((document["model_name"], document["outputs"][0]["name"]), ("digits", "body"))
    # One element of BYTES: its length in four bytes, then the text.
    expect_equal(labels(content[length + 4 :])[0], "8")


@check
def what_is_no_picture_is_refused(site):
    kinds = ("400", "StatusCode.INVALID_ARGUMENT")
    for module, client in site.protocols:
        for broken in (b"", b"not a picture", site.picture(3)[:100]):
            expect_error(lambda: client.infer("digits", [picture(module, broken)]), kinds)
        two = module.InferInput("body", [2], "BYTES").set_data_from_numpy(np.array([b"a", b"b"], dtype=object))
        expect_error(lambda: client.infer("digits", [two]), kinds, "body")


@check
def versions_of_the_route_are_those_of_its_model(site):
    for module, client in site.protocols:
        entry = picture(module, site.picture(5))
        for version in ("1", "2"):
            result = client.infer("digits", [entry], model_version=version)
            response = result.get_response()
            expect_equal(response["model_version"] if isinstance(response, dict) else response.model_version, version)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True, help="HOST:PORT of the server")
    parser.add_argument("--images", type=pathlib.Path, required=True, help="the folder of the pictures, 0.png to 9.png")
    arguments = parser.parse_args()
    run(Site(arguments.url, arguments.images))


if __name__ == "__main__":
    main()
