"""The same model behind LitServe: JSON, or the pixels as base64 in JSON, as the only bytes it takes are files.

``python -m benchmarks.peers.litserve_app PORT``, in an environment that has litserve and onnxruntime.
"""

import base64
import sys
from typing import Any

import litserve
import numpy as np

from benchmarks.peers.graph import OUTPUTS, open_session


class Digits(litserve.LitAPI):  # type: ignore[misc]
    """Reads ``{"images": [...]}`` or ``{"pixels": base64}``."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe names it
        """Load the graph."""
        self.session = open_session()

    def decode_request(self, request: dict[str, Any]) -> Any:
        """Return uint8 [N, 28, 28]."""
        if "pixels" in request:
            return np.frombuffer(base64.b64decode(request["pixels"]), np.uint8).reshape(-1, 28, 28)
        return np.array(request["images"], np.uint8)

    def predict(self, images: Any) -> Any:
        """Run the graph."""
        return self.session.run(OUTPUTS, {"image": images})

    def encode_response(self, arrays: Any) -> dict[str, Any]:
        """Return the outputs as lists, for JSON."""
        return {name: array.tolist() for name, array in zip(OUTPUTS, arrays, strict=True)}


if __name__ == "__main__":
    server = litserve.LitServer(Digits(), accelerator="cpu", fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
