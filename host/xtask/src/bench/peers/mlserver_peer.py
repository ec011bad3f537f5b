"""A model for MLServer, as its documentation writes one: its own codec, and ONNX Runtime on one thread."""
import os

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class OnnxModel(MLModel):
    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["MODEL"], options, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload):
        feeds = {
            tensor.name: NumpyCodec.decode_input(tensor).astype("float32", copy=False)
            for tensor in payload.inputs
        }
        result = self.session.run(None, feeds)[0]
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("y", result)]
        )
