"""The fastest server that a user of Python is likely to write: no validation, and the model on the event loop."""
import os

import numpy
import onnxruntime
import orjson
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(
    os.environ["MODEL"], options, providers=["CPUExecutionProvider"]
)


async def infer(request):
    document = orjson.loads(await request.body())
    feeds = {
        tensor["name"]: numpy.array(tensor["data"], numpy.float32).reshape(tensor["shape"])
        for tensor in document["inputs"]
    }
    result = session.run(None, feeds)[0]
    output = {
        "name": "y",
        "shape": result.shape,
        "datatype": "FP32",
        "data": result.ravel().tolist(),
    }
    answer = {"model_name": request.path_params["name"], "outputs": [output]}
    return Response(orjson.dumps(answer), media_type="application/json")


app = Starlette(routes=[Route("/v2/models/{name}/infer", infer, methods=["POST"])])
