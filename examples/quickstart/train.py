"""Trains the models of the quickstart site and writes its pictures.

    pip install scikit-learn numpy onnx onnxruntime pillow
    python train.py

Writes, beside this file,

    models/digits/1/model.onnx   a small net:  FP32 input[batch,1,8,8] -> logits[batch,10]
    models/digits/2/model.onnx   a wider net:  the same names and shapes
    models/iris/1/model.onnx     FP32 input[batch,4] (cm) -> probabilities[batch,3]
    images/0.png .. 9.png        a held-out picture of each digit, 64x64, white on black

and fails where a model is right for less than 95% of the data that it was not trained on. The data sets come with
scikit-learn, seeds are fixed, and nothing is downloaded.

The digits are measured on PNG files, the way a client sends them: a picture is decoded, turned to grey, resized to 8x8
and divided by 255, as `plugins/image-to-tensor.toml` says. Hosts differ in the filter with which they resize, so the
lowest result of three filters counts.
"""

import io
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

SITE = Path(__file__).resolve().parent
SEED = 20261122
REQUIRED_ACCURACY = 0.95
PICTURE_SIDE = 64
FILTERS = {"box": Image.Resampling.BOX, "bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}


def picture(pixels):
    """Makes a PNG file of 8x8 values from 0 (paper) to 16 (ink)."""
    grey = np.rint(pixels.reshape(8, 8) * (255 / 16)).astype(np.uint8)
    large = Image.fromarray(grey).resize((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    large.save(file, format="PNG", optimize=True)
    return file.getvalue()


def features(png, resampling):
    """Does what image-to-tensor does: grey, 8x8, divided by 255; gives [1,8,8]."""
    small = Image.open(io.BytesIO(png)).convert("L").resize((8, 8), resampling)
    return np.asarray(small, dtype=np.float32)[np.newaxis] / np.float32(255)


def network(name, dims, layers, output, softmax):
    """Builds an ONNX model of dense layers with ReLU between them.

    `dims` are the input's dimensions after the batch; `layers` are pairs of weights [in,out] and biases [out].
    """
    nodes, weights = [helper.make_node("Flatten", ["input"], ["flat"], axis=1)], []
    current = "flat"
    for index, (kernel, bias) in enumerate(layers):
        last = index == len(layers) - 1
        result = output if last and not softmax else f"dense{index}"
        weights += [
            numpy_helper.from_array(kernel.astype(np.float32), f"kernel{index}"),
            numpy_helper.from_array(bias.astype(np.float32), f"bias{index}"),
        ]
        nodes.append(helper.make_node("Gemm", [current, f"kernel{index}", f"bias{index}"], [result]))
        current = result
        if not last:
            current = f"relu{index}"
            nodes.append(helper.make_node("Relu", [result], [current]))
    if softmax:
        nodes.append(helper.make_node("Softmax", [current], [output], axis=1))
    classes = layers[-1][1].shape[0]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *dims])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", classes])],
        weights,
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="wharf-quickstart")
    onnx.checker.check_model(model, full_check=True)
    return model


def write(model, name, version):
    path = SITE / "models" / name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def accuracy(path, inputs, labels):
    """Runs the written file in ONNX Runtime, as the server does."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"input": np.asarray(inputs, dtype=np.float32)})
    return float((scores.argmax(axis=1) == labels).mean())


def require(name, measured):
    print(f"{name}: {measured:.2%} of the held-out data")
    if measured < REQUIRED_ACCURACY:
        sys.exit(f"{name} is below {REQUIRED_ACCURACY:.0%}")


def train_digits():
    pixels, labels = load_digits(return_X_y=True)
    train, held_out, train_labels, held_out_labels = train_test_split(
        pixels, labels, test_size=0.25, random_state=SEED, stratify=labels
    )
    train_pictures = [picture(one) for one in train]
    held_out_pictures = [picture(one) for one in held_out]
    # Trained on every filter, so that the models do not lean on one way to resize.
    inputs = np.concatenate([[features(png, f) for png in train_pictures] for f in FILTERS.values()])
    targets = np.tile(train_labels, len(FILTERS))

    for version, hidden in [(1, (24,)), (2, (96,))]:
        net = MLPClassifier(hidden, alpha=1e-3, max_iter=800, random_state=SEED)
        net.fit(inputs.reshape(len(inputs), -1), targets)
        layers = list(zip(net.coefs_, net.intercepts_))
        path = write(network("digits", [1, 8, 8], layers, "logits", softmax=False), "digits", version)
        measured = {
            name: accuracy(path, [features(png, f) for png in held_out_pictures], held_out_labels)
            for name, f in FILTERS.items()
        }
        print(f"digits version {version}: " + ", ".join(f"{name} {value:.2%}" for name, value in measured.items()))
        require(f"digits version {version}", min(measured.values()))

    (SITE / "images").mkdir(exist_ok=True)
    for label in range(10):
        first = int(np.flatnonzero(held_out_labels == label)[0])
        (SITE / "images" / f"{label}.png").write_bytes(held_out_pictures[first])


def train_iris():
    flowers, labels = load_iris(return_X_y=True)
    train, held_out, train_labels, held_out_labels = train_test_split(
        flowers, labels, test_size=0.3, random_state=SEED, stratify=labels
    )
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    net = MLPClassifier((8,), solver="lbfgs", alpha=0.1, max_iter=8000, random_state=SEED)
    net.fit((train - mean) / deviation, train_labels)
    # The first layer takes centimetres: the normalisation is folded into its weights.
    layers = list(zip(net.coefs_, net.intercepts_))
    kernel, bias = layers[0]
    layers[0] = (kernel / deviation[:, np.newaxis], bias - (mean / deviation) @ kernel)
    path = write(network("iris", [4], layers, "probabilities", softmax=True), "iris", 1)
    require("iris", accuracy(path, held_out, held_out_labels))


def check_pictures():
    """Every committed picture must be read right by both versions, whatever the filter."""
    pictures = [(SITE / "images" / f"{label}.png").read_bytes() for label in range(10)]
    for version in (1, 2):
        path = SITE / "models" / "digits" / str(version) / "model.onnx"
        for name, resampling in FILTERS.items():
            right = accuracy(path, [features(png, resampling) for png in pictures], np.arange(10))
            if right < 1:
                sys.exit(f"digits version {version} misreads a picture in images/ ({name})")
    print("images/: every picture is read right by both versions")


if __name__ == "__main__":
    train_digits()
    train_iris()
    check_pictures()
