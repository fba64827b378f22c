"""A minimal server of Starlette and onnxruntime: nothing is checked, counted or limited.

``python -m benchmarks.peers.starlette_app PORT``, in the service's own environment.
"""

import json
import sys

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.peers.graph import OUTPUTS, open_session

HEADER_LENGTH = "Inference-Header-Content-Length"

session = open_session()


async def infer(request: Request) -> Response:
    """Answer binary tensors with binary tensors."""
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
    """Answer images in JSON with the outputs in JSON."""
    images = np.array((await request.json())["images"], np.uint8)
    arrays = session.run(OUTPUTS, {"image": images})
    return JSONResponse({name: array.tolist() for name, array in zip(OUTPUTS, arrays, strict=True)})


async def ready(_: Request) -> Response:
    """Answer that the server is up."""
    return Response()


app = Starlette(
    routes=[
        Route("/readyz", ready),
        Route("/v2/models/{name}/infer", infer, methods=["POST"]),
        Route("/predict", predict, methods=["POST"]),
    ]
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
