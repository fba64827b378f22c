"""The real thing: ``bentoml serve`` in processes of its own, over HTTP."""

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bentoml
import httpx
import numpy as np
import pytest
from bentoml.exceptions import BentoMLException

from clustnet.bundles.predictor import Predictor
from serving.api.responses import predictions_of
from serving.metrics.deferred import WAIT_SECONDS
from tests.serving.images import drawing
from tests.serving.server import (
    REPOSITORY,
    Server,
    free_port,
    running_server,
    serve_command,
    serve_environment,
)

IMAGES = np.random.default_rng(1).integers(0, 256, (5, 28, 28)).astype(np.uint8)


@pytest.fixture(scope="module")
def server(synthetic_bundle: Path) -> Iterator[Server]:
    limits = {"CLUSTNET_WORKERS": "2", "CLUSTNET_MAX_BODY_BYTES": "100000", "CLUSTNET_MAX_IMAGES": "30"}
    with running_server(synthetic_bundle, **limits) as server:
        yield server


def sample(url: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", httpx.get(f"{url}/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_bentomls_client_sends_arrays_lists_and_files(server: Server, predictor: Predictor, tmp_path: Path) -> None:
    expected = predictor.predict(IMAGES)
    file = tmp_path / "digit.png"
    file.write_bytes(drawing())
    with bentoml.SyncHTTPClient(server.url) as client:
        answer = client.predict(images=IMAGES)
        assert client.predict(images=IMAGES.tolist()) == answer
        classes = [prediction["class_probabilities"] for prediction in answer["predictions"]]
        np.testing.assert_allclose(classes, expected.class_probability, rtol=1e-5)
        abstain = [prediction["abstain"] for prediction in answer["predictions"]]
        assert abstain == predictor.manifest.abstention.refuses(expected.confidence).tolist()
        assert np.shape(client.predict_image(image=file)["prepared"]) == (28, 28)
        with pytest.raises(BentoMLException, match=r"images\[0\]: it is a list of 784"):
            client.predict(images=IMAGES.reshape(5, 784))


def test_any_model_answers_in_its_own_processes(folders: dict[str, Path], any_predictor: Predictor) -> None:
    manifest = any_predictor.manifest
    images = np.random.default_rng(1).integers(0, 256, (4, *manifest.input.shape)).astype(np.uint8)
    expected = predictions_of(any_predictor.predict(images), manifest)
    with running_server(folders[manifest.name]) as server:
        with bentoml.SyncHTTPClient(server.url) as client:
            answer = client.predict(images=images)["predictions"]
        for prediction, wanted in zip(answer, expected, strict=True):
            assert prediction["coarse"]["label"] == wanted.coarse.label
            assert prediction["guess"]["label"] == wanted.guess.label
            np.testing.assert_allclose(prediction["coarse"]["probabilities"], wanted.coarse.probabilities, rtol=1e-5)
            assert (prediction["binary"] is None) == (len(manifest.coarse_labels) != 2)
        uploaded = httpx.post(f"{server.url}/predict_image", files={"image": drawing()}).json()
        assert np.shape(uploaded["prepared"]) == manifest.input.shape
        time.sleep(2 * WAIT_SECONDS)
        for label in manifest.coarse_labels if len(manifest.coarse_labels) > 1 else ():
            series = f'clustnet_predictions_by_binary_label_total{{label="{label}",model="{manifest.name}"}}'
            counted = [prediction.coarse.label for prediction in expected] + [uploaded["prediction"]["coarse"]["label"]]
            assert sample(server.url, series) == counted.count(label)


def test_the_start_says_which_page_to_open(server: Server) -> None:
    assert f"clustnet: open {server.url} in a browser" in server.log.read_text()


def test_the_workers_metrics_add_up(server: Server) -> None:
    counted = 'clustnet_requests_total{path="/predict",status="200"}'
    classes = [f'clustnet_predictions_by_class_total{{label="{label}",model="synthetic"}}' for label in range(10)]
    # Until all workers have counted their earlier answers.
    time.sleep(2 * WAIT_SECONDS)
    requests, images = sample(server.url, counted), sum(sample(server.url, series) for series in classes)
    # Each request has its own connection, so that both workers serve.
    with ThreadPoolExecutor(4) as pool:
        body = {"images": IMAGES.tolist()}
        answers = list(pool.map(lambda _: httpx.post(f"{server.url}/predict", json=body), range(20)))
    assert {answer.status_code for answer in answers} == {200}
    time.sleep(2 * WAIT_SECONDS)
    assert sample(server.url, counted) - requests == 20
    assert sum(sample(server.url, series) for series in classes) - images == 100
    info = 'clustnet_model_info{name="synthetic",provider="CPUExecutionProvider",version="1"}'
    assert sample(server.url, info) == 1


def test_a_second_server_keeps_metrics_apart(synthetic_bundle: Path, tmp_path: Path) -> None:
    shared = {"BENTOML_HOME": str(tmp_path)}
    predict = {"images": IMAGES.tolist()}
    answered = 'clustnet_requests_total{path="/predict",status="200"}'
    with running_server(synthetic_bundle, **shared) as first:
        httpx.post(f"{first.url}/predict", json=predict)
        with running_server(synthetic_bundle, **shared) as second:
            assert (sample(first.url, answered), sample(second.url, answered)) == (1, 0)
            httpx.post(f"{second.url}/predict", json=predict)
        httpx.post(f"{first.url}/predict", json=predict)
        assert sample(first.url, answered) == 2


def test_settings_come_from_the_environment(server: Server) -> None:
    answer = httpx.post(f"{server.url}/predict", json={"images": [[]] * 31})
    assert (answer.status_code, "send 1 to 30" in answer.text) == (422, True)


@pytest.mark.parametrize("head", [b"Transfer-Encoding: chunked\r\n\r\n186A1\r\n", b"Content-Length: 999999999\r\n\r\n"])
def test_a_large_body_is_refused_early(server: Server, head: bytes) -> None:
    address = httpx.URL(server.url)
    with socket.create_connection((address.host, address.port or 80), timeout=20) as connection:
        start = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(start + head + b"[" * 100_001)
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_large_whole_body_gets_its_answer(server: Server) -> None:
    answer = httpx.post(f"{server.url}/predict_image", content=b"[" * 5_000_000)
    assert (answer.status_code, "over 100000 bytes" in answer.json()["error"]) == (413, True)


def test_sigterm_ends_it_with_0(synthetic_bundle: Path) -> None:
    with running_server(synthetic_bundle) as server:
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"CLUSTNET_WORKERS": "none"}, "CLUSTNET_WORKERS is 'none', but the input should be a valid integer"),
        (
            {"CLUSTNET_DEVICE": "tpu"},
            "CLUSTNET_DEVICE is 'tpu', but the input should be 'auto', 'cpu' or 'cuda'",
        ),
        ({"CLUSTNET_BUNDLES": "/nowhere"}, "/nowhere is not a bundle"),
        # The bundle has soft routing.
        ({"CLUSTNET_EXPERTS": "chosen"}, "The bundle "),
        (
            {"CLUSTNET_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": ""},
            "CLUSTNET_DEVICE is cuda, but onnxruntime fell back to CPUExecutionProvider; install",
        ),
        ({"CLUSTNET_VERIFY_KEY": "/nowhere"}, "BUNDLE is not signed: it holds no model.sig; sign it with"),
        ({"CLUSTNET_DEVICE": "cuda", "CLUSTNET_BUNDLES": "/nowhere"}, "/nowhere is not a bundle"),
    ],
)
def test_a_wrong_setting_stops_the_start(
    synthetic_bundle: Path, tmp_path: Path, environment: dict[str, str], says: str
) -> None:
    with free_port() as port:
        finished = subprocess.run(
            serve_command(port),
            cwd=REPOSITORY,
            env=serve_environment(synthetic_bundle, tmp_path, **environment),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert finished.returncode == 2
    *logged, sentence = finished.stderr.splitlines()
    assert sentence.startswith(f"clustnet: {says}".replace("BUNDLE", str(synthetic_bundle)))
    # onnxruntime gives the reason where there is a driver and no GPU.
    assert all("onnxruntime" in line for line in logged)


@pytest.mark.parametrize("kind", ["HTTP", "gRPC"])
def test_a_taken_port_is_one_sentence(synthetic_bundle: Path, tmp_path: Path, kind: str) -> None:
    with free_port() as port, free_port() as other, socket.create_server(("127.0.0.1", port)):
        environment = {"CLUSTNET_GRPC_PORT": str(port)} if kind == "gRPC" else {}
        finished = subprocess.run(
            serve_command(other if kind == "gRPC" else port),
            cwd=REPOSITORY,
            env=serve_environment(synthetic_bundle, tmp_path, **environment),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert finished.returncode == 2
    (sentence,) = finished.stderr.splitlines()
    assert sentence.startswith(f"clustnet: Nothing can listen on port {port} of 127.0.0.1 (Address already in use); ")


def test_a_built_bento_holds_the_service_and_serves(synthetic_bundle: Path, tmp_path: Path) -> None:
    environment = serve_environment(synthetic_bundle, tmp_path)
    build = [serve_command(0)[0], "build"]
    subprocess.run(build, cwd=REPOSITORY, env=environment, check=True, capture_output=True, timeout=120)
    (bento,) = (tmp_path / "bentos" / "clustnet").glob("*/bento.yaml")
    content = {path.relative_to(bento.parent / "src").parts[0] for path in (bento.parent / "src").rglob("*.py")}
    assert content == {"clustnet", "serving"}
    with running_server(synthetic_bundle, target=str(bento.parent)) as server:
        answer = httpx.post(f"{server.url}/predict", json={"images": IMAGES.tolist()})
        assert answer.status_code == 200
        assert httpx.get(f"{server.url}/static/page.js").status_code == 200
