"""Asks the quickstart site over HTTP with tritonclient: `pip install tritonclient[http]`, then `python triton_http.py`."""

import pathlib
import sys

import numpy as np
import tritonclient.http as triton

SPECIES = ["setosa", "versicolor", "virginica"]
PICTURE = pathlib.Path(__file__).parent.parent / "quickstart/images/7.png"

client = triton.InferenceServerClient(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8080")

# A model: binary tensor data in both directions is the client's default.
flower = np.array([[5.1, 3.5, 1.4, 0.2]], dtype=np.float32)
entry = triton.InferInput("input", flower.shape, "FP32").set_data_from_numpy(flower)
result = client.infer("iris", [entry])
print("iris:", SPECIES[result.as_numpy("probabilities").argmax()])

# A pipeline that takes a picture: to the client it is a model with the input and the output `body`.
picture = np.array([PICTURE.read_bytes()], dtype=object)
entry = triton.InferInput("body", picture.shape, "BYTES").set_data_from_numpy(picture)
result = client.infer("digits", [entry])
print("digits:", result.as_numpy("body")[0].decode())
