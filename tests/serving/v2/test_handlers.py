"""The protocol in this process, over ASGI."""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from clustnet.bundles.predictor import OUTPUTS, Predictor
from serving.app import build_app
from serving.headers import KEY_NAME
from serving.models.catalogue import Catalogue, ServedModel
from serving.settings import Settings as ServiceSettings
from serving.v2 import handlers
from tests.serving.conftest import client_of
from tests.serving.v2.bodies import LENGTH, binary_body, json_body

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
MODEL = "/v2/models/synthetic"
PLAIN = {"accept-encoding": "identity"}


@pytest.fixture
def alone(synthetic_bundle: Path) -> Iterator[TestClient]:
    """The service with other limits."""
    limits = {"max_images": 4, "max_body_bytes": 20_000}
    with client_of(ServiceSettings(bundles=(synthetic_bundle,), device="cpu", **limits)) as client:
        yield client


def metric(client: TestClient, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_the_service_answers_beside_its_own_paths(client: TestClient) -> None:
    assert client.get("/v2").json() == client.get("/v2/").json()
    assert client.get("/v2").json()["extensions"] == [
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "model_repository",
        "statistics",
    ]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get(MODEL).json() == client.get(f"{MODEL}/versions/1").json()
    assert client.get(MODEL).json()["versions"] == ["1"]
    for path in (f"{MODEL}/ready", f"{MODEL}/versions/1/ready"):
        assert client.get(path).json() == {"name": "synthetic", "ready": True}
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("body", ["", "{}", '{"ready": true}'])
def test_the_repository_has_the_one_model(client: TestClient, body: str) -> None:
    model = {"name": "synthetic", "version": "1", "state": "READY", "reason": ""}
    assert client.post("/v2/repository/index", content=body).json() == [model]


def test_outputs_are_the_predictors_and_counted(client: TestClient, predictor: Predictor) -> None:
    names = ("images_per_request_sum", "inference_seconds_count")
    series = tuple(f'clustnet_{name}{{model="synthetic",version="1"}}' for name in names)
    requests = 'clustnet_requests_total{path="/v2/models/{name}/infer",status="200"}'
    before = [metric(client, name) for name in (*series, requests)]
    answer = client.post(f"{MODEL}/infer", json=json_body(IMAGES, id="a"))
    assert answer.status_code == 200
    assert answer.json()["id"] == "a"
    assert [metric(client, name) for name in (*series, requests)] == [before[0] + 3, before[1] + 1, before[2] + 1]
    expected = predictor.predict(IMAGES)
    for output in answer.json()["outputs"]:
        values = np.array(output["data"], np.float32).reshape(output["shape"])
        np.testing.assert_allclose(values, getattr(expected, output["name"]), rtol=1e-5)


def test_statistics_are_what_was_answered(client: TestClient) -> None:
    def statistics(path: str) -> dict[str, Any]:
        (row,) = client.get(path).json()["model_stats"]
        return row  # type: ignore[no-any-return]

    before = statistics(f"{MODEL}/stats")
    client.post(f"{MODEL}/infer", json=json_body(IMAGES))
    for path in (f"{MODEL}/stats", f"{MODEL}/versions/1/stats", "/v2/models/stats"):
        after = statistics(path)
        assert (after["name"], after["version"]) == ("synthetic", "1")
        assert after["inference_count"] - before["inference_count"] == 3
        assert after["execution_count"] - before["execution_count"] == 1
        success = after["inference_stats"]["success"]
        assert success["count"] == after["execution_count"]
        assert success["ns"] > before["inference_stats"]["success"]["ns"]
    assert client.get("/v2/models/other/stats").status_code == 404


def test_the_configuration_is_as_tritons(client: TestClient) -> None:
    config = client.get(f"{MODEL}/config").json()
    assert config == client.get(f"{MODEL}/versions/1/config").json()
    assert (config["name"], config["max_batch_size"], config["backend"]) == ("synthetic", 1024, "onnxruntime")
    assert config["input"] == [{"name": "image", "data_type": "TYPE_UINT8", "dims": [28, 28]}]
    assert {"name": "routing", "data_type": "TYPE_FP32", "dims": [5]} in config["output"]


def test_classes_are_asked_for_over_http(client: TestClient, predictor: Predictor) -> None:
    outputs = [{"name": "class_probability", "parameters": {"classification": 1}}]
    (output,) = client.post(f"{MODEL}/infer", json=json_body(IMAGES, outputs=outputs)).json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [3, 1])
    best = predictor.predict(IMAGES).class_probability.argmax(axis=1)
    names = predictor.manifest.class_names
    assert [text.split(":")[1:] for text in output["data"]] == [[str(i), names[i]] for i in best]


def test_requests_of_any_model_name_share_one_series(client: TestClient) -> None:
    for name in ("a", "b", "secret/versions/7"):
        assert client.post(f"/v2/models/{name}/infer").status_code == 404
    assert "secret" not in client.get("/metrics").text
    assert metric(client, 'clustnet_requests_total{path="/v2/models/{name}/infer",status="404"}') >= 3


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/v2/models/mnist", 404, "There is no model 'mnist'; this service has 'synthetic'."),
        ("GET", "/v2/models/mnist/ready", 404, "no model 'mnist'"),
        ("GET", f"{MODEL}/versions/2", 404, "'synthetic' has no version '2'; this service has '1'."),
        ("GET", f"{MODEL}/versions/2/ready", 404, "no version '2'"),
        ("POST", f"{MODEL}/versions/2/infer", 404, "no version '2'"),
        ("GET", f"{MODEL}/trace", 404, "is not a path of this service"),
        ("GET", "/v2/" + "x" * 999, 404, "xxx'... is not a path"),
        ("GET", f"{MODEL}/infer", 405, "does not take GET; it takes POST"),
        ("POST", MODEL, 405, "does not take POST"),
        ("POST", "/v2", 405, "does not take POST"),
        ("POST", f"{MODEL}/infer", 400, "JSON cannot be read"),
        ("POST", f"{MODEL}/versions/1/infer", 400, "JSON cannot be read"),
    ],
)
def test_errors_are_as_the_protocol_says(client: TestClient, method: str, path: str, status: int, says: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert says in answer.json()["error"]


@pytest.mark.parametrize("content", ["[]", "{", "\xff"])
def test_a_wrong_index_request_is_refused(client: TestClient, content: str) -> None:
    assert client.post("/v2/repository/index", content=content).status_code == 400


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_bodies_are_packed_both_ways(alone: TestClient, encoding: str, pack: Any) -> None:
    body, headers = binary_body(IMAGES, parameters={"binary_data_output": True})
    plain = alone.post(f"{MODEL}/infer", content=body, headers=headers | PLAIN)
    packed = {"content-encoding": encoding, "accept-encoding": encoding}
    answer = alone.post(f"{MODEL}/infer", content=pack(body), headers=headers | packed)
    assert (plain.status_code, answer.status_code) == (200, 200)
    assert ("content-encoding" in plain.headers, answer.headers["content-encoding"]) == (False, encoding)
    assert answer.headers[LENGTH] == plain.headers[LENGTH]
    # The client has unpacked it.
    assert answer.content == plain.content


def test_a_bomb_is_refused(alone: TestClient) -> None:
    answer = alone.post(f"{MODEL}/infer", content=gzip.compress(bytes(10**7)), headers={"content-encoding": "gzip"})
    assert (answer.status_code, "over 20000 bytes when unpacked" in answer.json()["error"]) == (413, True)


def test_more_images_than_allowed_are_refused(alone: TestClient) -> None:
    answer = alone.post(f"{MODEL}/infer", json=json_body(np.zeros((5, 28, 28), np.uint8)))
    assert (answer.status_code, "5 images; send 1 to 4" in answer.json()["error"]) == (400, True)


def test_a_model_that_is_not_ready_says_so(alone: TestClient, predictor: Predictor) -> None:
    name = predictor.manifest.name
    models = alone.app.state.service.models  # type: ignore[attr-defined]
    models.now = Catalogue(name, {name: (ServedModel(predictor, "The GPU is gone."),)})
    for path in ("/v2/health/ready", f"{MODEL}/ready"):
        answer = alone.get(path)
        assert (answer.status_code, answer.json()) == (503, {"error": "The GPU is gone."})
    assert alone.post(f"{MODEL}/infer", json=json_body(IMAGES)).status_code == 503
    assert alone.get("/v2/health/live").status_code == 200
    assert alone.post("/v2/repository/index").json()[0]["state"] == "UNAVAILABLE"
    assert alone.post("/v2/repository/index", json={"ready": True}).json() == []


def test_faults_have_the_protocols_form(alone: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "read_request", lambda *_: 1 / 0)
    answer = alone.post(f"{MODEL}/infer", json=json_body(IMAGES))
    assert (answer.status_code, list(answer.json())) == (500, ["error"])


BODY, HEADERS = binary_body(IMAGES[:1], outputs=[{"name": "routing", "parameters": {"binary_data": True}}])


@given(
    start=st.integers(0, len(BODY)),
    end=st.integers(0, len(BODY)),
    inserted=st.binary(max_size=5),
    length=st.none() | st.just(HEADERS[LENGTH]) | st.integers(0, len(BODY) + 9).map(str),
    encoding=st.sampled_from(["", "gzip", "deflate"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_body_gets_an_answer_or_4xx(
    alone: TestClient, start: int, end: int, inserted: bytes, length: str | None, encoding: str
) -> None:
    body = BODY[:start] + inserted + BODY[end:]
    headers = {"content-encoding": encoding} | PLAIN | ({} if length is None else {LENGTH: length})
    answer = alone.post(f"{MODEL}/infer", content=body, headers=headers)
    if answer.status_code == 200:
        document = json.loads(answer.content[: int(answer.headers.get(LENGTH, len(answer.content)))])
        assert {output["name"] for output in document["outputs"]} <= set(OUTPUTS)
        assert all(output["shape"][0] == 1 for output in document["outputs"])
    else:
        assert 400 <= answer.status_code < 500
        assert list(answer.json()) == ["error"]


def test_a_slow_load_goes_on(synthetic_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    going_on, done = Event(), Event()
    app = build_app(ServiceSettings(bundles=(synthetic_bundle,), device="cpu"))

    def load(_: str) -> None:
        going_on.wait(20)
        done.set()

    async def known(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope | {KEY_NAME: "operator"}, receive, send)

    monkeypatch.setattr(handlers, "CHANGE_SECONDS", 0.05)
    monkeypatch.setattr(app.state.service.models, "load", load)
    with TestClient(known) as client:
        answer = client.post("/v2/repository/models/one/load")
        assert answer.status_code == 504
        assert answer.json() == {
            "error": "The change of 'one' takes over 0.05 seconds and is still running; see /v2/repository/index."
        }
        assert not done.is_set()
        going_on.set()
        assert done.wait(20)
