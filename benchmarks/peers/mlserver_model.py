"""The same model behind MLServer, which speaks the protocol in JSON.

``python -m benchmarks.peers.mlserver_model PORT``, in an environment that has mlserver and onnxruntime.
"""

import asyncio
import logging
import os
import sys

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from benchmarks.peers.graph import OUTPUTS, open_session


class Digits(MLModel):  # type: ignore[misc]
    """One input, ``image``, UINT8 [N, 28, 28]."""

    async def load(self) -> bool:
        """Load the graph."""
        self.session = open_session()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the graph."""
        (put,) = payload.inputs
        images = np.array(put.data.root, np.uint8).reshape(put.shape)
        arrays = self.session.run(OUTPUTS, {"image": images})
        outputs = [
            ResponseOutput(name=name, shape=list(array.shape), datatype="FP32", data=array.ravel().tolist())
            for name, array in zip(OUTPUTS, arrays, strict=True)
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)


async def main(port: int) -> None:
    """Serve without MLServer's worker processes, as one process is faster without them."""
    rpc_port = int(os.environ.get("CLUSTNET_GRPC_PORT", port + 1))
    settings = Settings(host="127.0.0.1", http_port=port, grpc_port=rpc_port, metrics_endpoint=None, parallel_workers=0)
    settings.use_structured_logging = False
    # It would otherwise log a line for each call.
    logging.getLogger("mlserver.grpc").setLevel(logging.WARNING)
    await MLServer(settings).start([ModelSettings(name="mnist", implementation=Digits)])


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
