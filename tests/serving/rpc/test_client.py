"""A real ``bentoml serve``, asked by the real ``tritonclient.grpc`` and by gRPC's health protocol."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from clustnet.bundles.predictor import OUTPUTS, Predictor
from serving.keys.keys import make_key
from serving.metrics.deferred import WAIT_SECONDS
from tests.serving.server import Server, free_port, running_server
from tests.synthetic import write_bundle

IMAGES = np.random.default_rng(2).integers(0, 256, (6, 28, 28)).astype(np.uint8)
SECRET, KEY = make_key("ann", ["predict", "admin"])
HEADERS = {"authorization": f"Bearer {SECRET}"}


@pytest.fixture(scope="module")
def address(synthetic_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two workers, which need a key."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"{KEY.line()}\n")
    with free_port() as port:
        environment = {"CLUSTNET_GRPC_PORT": str(port), "CLUSTNET_WORKERS": "2", "CLUSTNET_API_KEYS_FILE": str(keys)}
        with running_server(synthetic_bundle, **environment):
            wait_until_serving(f"127.0.0.1:{port}")
            yield f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address) as client:
        yield client


def wait_until_serving(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        deadline = time.monotonic() + 60
        while True:
            assert time.monotonic() < deadline
            try:
                if check(health_pb2.HealthCheckRequest(), timeout=5).status == health_pb2.HealthCheckResponse.SERVING:
                    return
            except grpc.RpcError:
                time.sleep(0.1)


def image(pixels: NDArray[Any], datatype: str = "UINT8") -> list[triton.InferInput]:
    tensor = triton.InferInput("image", list(pixels.shape), datatype)
    tensor.set_data_from_numpy(pixels)
    return [tensor]


def compare(result: Any, predictor: Predictor, pixels: NDArray[np.uint8], names: list[str] = OUTPUTS) -> None:
    expected = predictor.predict(pixels)
    for name in names:
        np.testing.assert_allclose(result.as_numpy(name), getattr(expected, name), rtol=1e-5)


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("synthetic", headers=HEADERS)
    assert client.get_server_metadata(headers=HEADERS).name == "clustnet"
    metadata = client.get_model_metadata("synthetic", "1", headers=HEADERS)
    assert [(put.name, put.datatype, list(put.shape)) for put in metadata.inputs] == [("image", "UINT8", [-1, 28, 28])]
    assert [output.name for output in metadata.outputs] == OUTPUTS
    (model,) = client.get_model_repository_index(headers=HEADERS).models
    assert (model.name, model.state) == ("synthetic", "READY")


def test_configuration_and_statistics(client: triton.InferenceServerClient) -> None:
    config = client.get_model_config("synthetic", headers=HEADERS).config
    assert (config.name, config.max_batch_size, list(config.input[0].dims)) == ("synthetic", 1024, [28, 28])
    before = client.get_inference_statistics("synthetic", headers=HEADERS).model_stats[0].inference_count
    client.infer("synthetic", image(IMAGES), headers=HEADERS)
    # Until the worker that answered has counted it.
    time.sleep(2 * WAIT_SECONDS)
    for name in ("synthetic", ""):
        (row,) = client.get_inference_statistics(name, headers=HEADERS).model_stats
        assert row.inference_count - before == 6
        assert row.inference_stats.compute_infer.ns > 0


@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
def test_raw_inference(client: triton.InferenceServerClient, predictor: Predictor, datatype: str) -> None:
    pixels = IMAGES.astype({"UINT8": np.uint8, "FP32": np.float32}[datatype])
    result = client.infer("synthetic", image(pixels, datatype), request_id="42", headers=HEADERS)
    assert result.get_response().id == "42"
    compare(result, predictor, IMAGES)


def test_typed_inference(address: str, predictor: Predictor) -> None:
    tensor = {"name": "image", "datatype": "UINT8", "shape": IMAGES.shape}
    contents = {"contents": {"uint_contents": IMAGES.ravel().tolist()}}
    asked = service_pb2.ModelInferRequest(model_name="synthetic", inputs=[tensor | contents])
    with grpc.insecure_channel(address) as channel:
        stub = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel)
        compare(triton.InferResult(stub.ModelInfer(asked, metadata=tuple(HEADERS.items()))), predictor, IMAGES)


def test_classes_have_their_labels(client: triton.InferenceServerClient, predictor: Predictor) -> None:
    outputs = [triton.InferRequestedOutput("class_probability", class_count=3)]
    result = client.infer("synthetic", image(IMAGES), outputs=outputs, headers=HEADERS)
    best = [text.decode().split(":") for text in result.as_numpy("class_probability")[:, 0]]
    expected = predictor.predict(IMAGES).class_probability
    assert [int(index) for _, index, _ in best] == expected.argmax(axis=1).tolist()
    assert [label for *_, label in best] == [predictor.manifest.class_names[i] for i in expected.argmax(axis=1)]


@pytest.mark.parametrize(
    ("name", "version", "pixels", "datatype", "code", "says"),
    [
        ("mnist", "", IMAGES, "UINT8", "NOT_FOUND", "There is no model 'mnist'"),
        ("synthetic", "2", IMAGES, "UINT8", "NOT_FOUND", "no version '2'"),
        ("synthetic", "", IMAGES.reshape(6, 784), "UINT8", "INVALID_ARGUMENT", r"the shape is \[6, 784\]"),
        ("synthetic", "", IMAGES.astype(np.float64), "FP64", "INVALID_ARGUMENT", "'FP64' is unknown"),
    ],
)
def test_wrong_requests_raise_the_clients_own_error(
    client: triton.InferenceServerClient,
    name: str,
    version: str,
    pixels: NDArray[Any],
    datatype: str,
    code: str,
    says: str,
) -> None:
    with pytest.raises(InferenceServerException, match=says) as error:
        client.infer(name, image(pixels, datatype), version, headers=HEADERS)
    assert error.value.status() == f"StatusCode.{code}"


def test_without_a_key_nothing_is_answered(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="This request needs an API key") as error:
        client.infer("synthetic", image(IMAGES))
    assert error.value.status() == "StatusCode.UNAUTHENTICATED"


def test_models_are_unloaded_and_loaded(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{KEY.line()}\n")
    write_bundle(tmp_path / "models" / "one", name="one")
    write_bundle(tmp_path / "models" / "two", name="two")
    with free_port() as port:
        environment = {"CLUSTNET_GRPC_PORT": str(port), "CLUSTNET_API_KEYS_FILE": str(tmp_path / "keys")}
        address, folder = f"127.0.0.1:{port}", tmp_path / "models"
        with running_server(folder, **environment), triton.InferenceServerClient(address) as client:
            client.unload_model("two", headers=HEADERS)
            with pytest.raises(InferenceServerException, match="is unloaded"):
                client.infer("two", image(IMAGES), headers=HEADERS)
            client.load_model("two", headers=HEADERS)
            assert client.infer("two", image(IMAGES), headers=HEADERS).as_numpy("confidence").shape == (6,)


def test_the_health_protocol_answers(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "inference.GRPCInferenceService"):
            status = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=20).status
            assert status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as error:
            health.Check(health_pb2.HealthCheckRequest(service="other"), timeout=20)
        assert error.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_protocol(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(services)


@pytest.fixture
def alone(synthetic_bundle: Path) -> Iterator[tuple[Server, str]]:
    with free_port() as port, running_server(synthetic_bundle, CLUSTNET_GRPC_PORT=str(port)) as server:
        yield server, f"127.0.0.1:{port}"


def test_open_calls_are_answered_at_the_end(alone: tuple[Server, str], predictor: Predictor) -> None:
    server, address = alone
    with triton.InferenceServerClient(address) as client, ThreadPoolExecutor(8) as pool:
        many = np.concatenate([IMAGES] * 150)
        pending = [pool.submit(client.infer, "synthetic", image(many)) for _ in range(8)]
        while not any(answer.done() for answer in pending):
            time.sleep(0.01)
        assert server.stop() == 0
        for answer in pending:
            compare(answer.result(), predictor, many)
    assert "Traceback" not in server.log.read_text()
