"""The requests that the servers get: MNIST test images, in the form of each server."""

import base64
import json
from dataclasses import dataclass

import numpy as np
from tritonclient.grpc import service_pb2

from clustnet.datasets import load
from serving.routes import RPC_INFER

RPC_TYPE = "application/grpc"
INFER = "/v2/models/mnist/infer"


@dataclass(frozen=True)
class Request:
    """A POST request.

    Args:
        path: path of the URL.
        body: bytes of the body.
        headers: the headers, without the content length.
    """

    path: str
    body: bytes
    headers: dict[str, str]


def binary_v2(images: int) -> Request:
    """Return an Open Inference Protocol request that sends the pixels as binary data and asks for binary outputs."""
    parameters = {"binary_data_size": images * 784}
    put = {"name": "image", "datatype": "UINT8", "shape": [images, 28, 28], "parameters": parameters}
    header = json.dumps({"inputs": [put], "parameters": {"binary_data_output": True}}).encode()
    length = {"Inference-Header-Content-Length": str(len(header))}
    return Request(INFER, header + _pixels(images).tobytes(), {"Content-Type": "application/octet-stream"} | length)


def json_v2(images: int) -> Request:
    """Return the pixels as numbers, in the protocol's JSON."""
    data = _pixels(images).ravel().tolist()
    put = {"name": "image", "datatype": "UINT8", "shape": [images, 28, 28], "data": data}
    return _json(INFER, {"inputs": [put]})


def json_images(images: int) -> Request:
    """Return the pixels as nested lists, which ``/predict`` takes."""
    return _json("/predict", {"images": _pixels(images).tolist()})


def base64_pixels(images: int) -> Request:
    """Return the pixels as base64 in JSON."""
    return _json("/predict", {"pixels": base64.b64encode(_pixels(images).tobytes()).decode()})


def raw_pixels(images: int) -> Request:
    """Return the pixels and nothing else."""
    return Request("/predict", _pixels(images).tobytes(), {"Content-Type": "application/octet-stream"})


def rpc_message(images: int) -> Request:
    """Return the pixels as raw contents of the protocol's gRPC message; gRPC puts the length before the message."""
    put = {"name": "image", "datatype": "UINT8", "shape": [images, 28, 28]}
    message = service_pb2.ModelInferRequest(
        model_name="mnist", inputs=[put], raw_input_contents=[_pixels(images).tobytes()]
    ).SerializeToString()
    body = b"\0" + len(message).to_bytes(4, "big") + message
    return Request(RPC_INFER.path, body, {"Content-Type": RPC_TYPE, "TE": "trailers"})


def _json(path: str, document: object) -> Request:
    return Request(path, json.dumps(document).encode(), {"Content-Type": "application/json"})


def _pixels(images: int) -> np.ndarray:
    return load("mnist:test").images[:images]
