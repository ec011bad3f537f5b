"""A model for Triton's Python backend: ONNX Runtime on one thread."""
import os
import sys

# The process that Triton starts for a model does not keep the path of its own.
sys.path.insert(0, os.environ["PACKAGES"])

import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["MODEL"], options, providers=["CPUExecutionProvider"]
        )

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        feed = triton.get_input_tensor_by_name(request, "x").as_numpy()
        result = self.session.run(None, {"x": feed})[0]
        return triton.InferenceResponse([triton.Tensor("y", result)])
