"""The least that answers the Open Inference Protocol with Starlette and onnxruntime: nothing is checked, counted or limited.

``uvicorn benchmarks.peers.starlette_app:app`` serves the bundle that ``CLUSTNET_BUNDLES`` names.
"""

import json
import os

import numpy as np
import onnxruntime
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

OUTPUTS = ["positive_probability", "routing", "expert_probability", "class_probability", "confidence"]
HEADER_LENGTH = "Inference-Header-Content-Length"

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(
    os.path.join(os.environ["CLUSTNET_BUNDLES"], "mixture.onnx"), options, providers=["CPUExecutionProvider"]
)


async def infer(request: Request) -> Response:
    """Answer a request with binary tensors by binary tensors."""
    body = await request.body()
    length = int(request.headers[HEADER_LENGTH])
    (described,) = json.loads(body[:length])["inputs"]
    images = np.frombuffer(body, np.uint8, offset=length).reshape(described["shape"])
    arrays = session.run(OUTPUTS, {"image": images})
    outputs = [
        {"name": name, "datatype": "FP32", "shape": array.shape, "parameters": {"binary_data_size": array.nbytes}}
        for name, array in zip(OUTPUTS, arrays, strict=True)
    ]
    header = json.dumps({"model_name": "mnist", "model_version": "1", "outputs": outputs}).encode()
    content = b"".join([header, *(array.tobytes() for array in arrays)])
    return Response(content, headers={HEADER_LENGTH: str(len(header))}, media_type="application/octet-stream")


async def predict(request: Request) -> Response:
    """Answer images in JSON by the outputs in JSON."""
    images = np.array((await request.json())["images"], np.uint8)
    arrays = session.run(OUTPUTS, {"image": images})
    return JSONResponse({name: array.tolist() for name, array in zip(OUTPUTS, arrays, strict=True)})


app = Starlette(
    routes=[
        Route("/v2/models/{name}/infer", infer, methods=["POST"]),
        Route("/predict", predict, methods=["POST"]),
        Route("/readyz", lambda _: Response()),
    ]
)
