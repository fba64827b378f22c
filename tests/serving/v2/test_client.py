"""A real ``bentoml serve``, asked by the real ``tritonclient``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from clustnet.bundles.predictor import OUTPUTS, Predictor
from tests.serving.server import Server, running_server

IMAGES = np.random.default_rng(2).integers(0, 256, (6, 28, 28)).astype(np.uint8)


@pytest.fixture(scope="module")
def server(synthetic_bundle: Path) -> Iterator[Server]:
    with running_server(synthetic_bundle) as server:
        yield server


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return server.url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(url.removeprefix("http://"), concurrency=4) as client:
        yield client


def image(pixels: NDArray[Any], datatype: str = "UINT8", binary: bool = True) -> list[triton.InferInput]:
    tensor = triton.InferInput("image", list(pixels.shape), datatype)
    tensor.set_data_from_numpy(pixels, binary_data=binary)
    return [tensor]


def compare(result: triton.InferResult, predictor: Predictor, pixels: NDArray[np.uint8], names: list[str]) -> None:
    expected = predictor.predict(pixels)
    for name in names:
        values = result.as_numpy(name)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, getattr(expected, name), rtol=1e-5)


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("synthetic")
    assert client.is_model_ready("synthetic", "1")
    assert not client.is_model_ready("mnist")
    assert not client.is_model_ready("synthetic", "2")
    assert client.get_server_metadata()["name"] == "clustnet"
    metadata = client.get_model_metadata("synthetic", "1")
    assert metadata["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 28, 28]}]
    assert [output["name"] for output in metadata["outputs"]] == OUTPUTS
    (model,) = client.get_model_repository_index()
    assert (model["name"], model["state"]) == ("synthetic", "READY")


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
def test_inference_with_json_and_binary_data(
    client: triton.InferenceServerClient, predictor: Predictor, datatype: str, binary: bool
) -> None:
    pixels = IMAGES.astype({"UINT8": np.uint8, "FP32": np.float32}[datatype])
    result = client.infer("synthetic", image(pixels, datatype, binary), request_id="42")
    assert result.get_response()["id"] == "42"
    compare(result, predictor, IMAGES, OUTPUTS)


def test_several_outputs_of_either_form(client: triton.InferenceServerClient, predictor: Predictor) -> None:
    names = ["class_probability", "coarse_probability", "routing"]
    outputs = [triton.InferRequestedOutput(name, binary_data=name != "routing") for name in names]
    result = client.infer("synthetic", image(IMAGES), "1", outputs, priority=1, parameters={"any": "value"})
    compare(result, predictor, IMAGES, names)
    assert [output["name"] for output in result.get_response()["outputs"]] == names
    assert "data" in result.get_output("routing")
    assert result.as_numpy("confidence") is None


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compression_both_ways(client: triton.InferenceServerClient, predictor: Predictor, encoding: str) -> None:
    result = client.infer(
        "synthetic",
        image(IMAGES),
        request_compression_algorithm=encoding,
        response_compression_algorithm=encoding,
    )
    compare(result, predictor, IMAGES, OUTPUTS)


def test_concurrent_requests_get_their_own_answers(client: triton.InferenceServerClient, predictor: Predictor) -> None:
    pending = [client.async_infer("synthetic", image(IMAGES[i % 6 :][:1]), request_id=str(i)) for i in range(24)]
    for i, request in enumerate(pending):
        result = request.get_result()
        assert result.get_response()["id"] == str(i)
        compare(result, predictor, IMAGES[i % 6 :][:1], OUTPUTS)


@pytest.mark.parametrize(
    ("name", "version", "pixels", "datatype", "status", "says"),
    [
        ("mnist", "", IMAGES, "UINT8", "404", "There is no model 'mnist'"),
        ("synthetic", "2", IMAGES, "UINT8", "404", "no version '2'"),
        ("synthetic", "", IMAGES.reshape(6, 784), "UINT8", "400", r"the shape is \[6, 784\]; send \[N, 28, 28\]"),
        ("synthetic", "", IMAGES.astype(np.float64), "FP64", "400", "'FP64' is unknown; send UINT8 or FP32"),
        ("synthetic", "", IMAGES - np.float32(0.5), "FP32", "400", "FP32 pixels are numbers from 0 to 255"),
    ],
)
def test_wrong_requests_raise_the_clients_own_error(
    client: triton.InferenceServerClient,
    name: str,
    version: str,
    pixels: NDArray[Any],
    datatype: str,
    status: str,
    says: str,
) -> None:
    with pytest.raises(InferenceServerException, match=says) as error:
        client.infer(name, image(pixels, datatype), version)
    assert error.value.status() == status


def test_a_wrong_output_raises_the_clients_own_error(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="The output 'logits' is unknown"):
        client.infer("synthetic", image(IMAGES), outputs=[triton.InferRequestedOutput("logits")])


def test_refusals_leave_no_traceback_and_are_counted(client: triton.InferenceServerClient, server: Server) -> None:
    with pytest.raises(InferenceServerException):
        client.infer("synthetic", image(IMAGES.reshape(6, 784)))
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'clustnet_refused_requests_total{reason="wrong_shape"}' in metrics
    assert 'clustnet_requests_total{path="/v2/models/{name}/infer",status="400"}' in metrics
    assert "Traceback" not in server.log.read_text()
