"""The same model behind Ray Serve, whose deployments read the request as Starlette does.

``python -m benchmarks.peers.ray_app PORT``, in an environment that has ray[serve] and onnxruntime.
"""

import signal
import sys
from typing import Any

import numpy as np
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from benchmarks.peers.graph import OUTPUTS, open_session


@serve.deployment(max_ongoing_requests=16)
class Digits:
    """Answers JSON with JSON, and pixels with the outputs' bytes."""

    def __init__(self) -> None:
        self.session = open_session()

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        if request.headers["content-type"] == "application/json":
            arrays = self._run(np.array((await request.json())["images"], np.uint8))
            return JSONResponse({name: array.tolist() for name, array in zip(OUTPUTS, arrays, strict=True)})
        pixels = np.frombuffer(await request.body(), np.uint8)
        return Response(b"".join(array.tobytes() for array in self._run(pixels.reshape(-1, 28, 28))))

    def _run(self, images: Any) -> Any:
        return self.session.run(OUTPUTS, {"image": images})


if __name__ == "__main__":
    ray.init(include_dashboard=False, num_cpus=2, configure_logging=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Digits.bind(), route_prefix="/predict")  # type: ignore[attr-defined]
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()  # type: ignore[no-untyped-call]
