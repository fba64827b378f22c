"""The service in this process, over ASGI."""

import codecs
import gzip
import json
import re
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from clustnet.bundles.bundle import MIXTURE, Bundle
from clustnet.bundles.predictor import CUDA, OUTPUTS, Predictions, Predictor
from clustnet.bundles.preparation import prepare
from serving.api.responses import predictions_of
from serving.settings import Settings
from tests.serving.conftest import client_of
from tests.serving.images import drawing, encoded
from tests.serving.v2.bodies import json_body
from tests.synthetic import THRESHOLD

PAPER: Any = np.zeros((28, 28)).tolist()
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 28, 28)).astype(np.uint8)
JSON = {"content-type": "application/json"}


def upload(client: TestClient, content: bytes, name: str = "digit.png") -> Any:
    return client.post("/predict_image", files={"image": (name, content)})


def test_predictions_are_those_of_the_graph(client: TestClient, predictor: Predictor) -> None:
    session = onnxruntime.InferenceSession(predictor.bundle.path(MIXTURE), providers=["CPUExecutionProvider"])
    routing, classes, confidence = session.run(["routing", "class_probability", "confidence"], {"image": IMAGES})
    answer = client.post("/predict", json={"images": IMAGES.tolist()})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document["model"] == {"name": "synthetic", "version": "1"}
    predictions = document["predictions"]
    np.testing.assert_allclose([p["routing"] for p in predictions], routing, rtol=1e-5)
    np.testing.assert_allclose([p["class_probabilities"] for p in predictions], classes, rtol=1e-5)
    np.testing.assert_allclose([p["confidence"] for p in predictions], confidence, rtol=1e-5)
    keys = ["coarse", "binary", "routing", "expert", "guess", "class_probabilities", "confidence", "abstain", "path"]
    assert list(predictions[0]) == keys


def test_any_model_answers_by_every_protocol(client_of_any: TestClient, any_predictor: Predictor) -> None:
    manifest = any_predictor.manifest
    images = np.random.default_rng(1).integers(0, 256, (6, *manifest.input.shape)).astype(np.uint8)
    outputs = any_predictor.predict(images)
    expected = [json.loads(prediction.model_dump_json()) for prediction in predictions_of(outputs, manifest)]
    answer = client_of_any.post("/predict", json={"images": images.tolist()}, headers={"X-Request-Id": manifest.name})
    assert answer.json()["predictions"] == expected
    for prediction in expected:
        (subtype,) = [each for each in manifest.subtypes if each.name == prediction["guess"]["label"]]
        assert subtype.coarse_label == prediction["coarse"]["label"]
    uploaded = upload(client_of_any, drawing()).json()
    prepared = prepare(drawing(), manifest.input)
    assert uploaded["prepared"] == prepared.tolist()
    (same,) = client_of_any.post("/predict", json={"images": [prepared.tolist()]}).json()["predictions"]
    assert uploaded["prediction"] == same
    model = f"/v2/models/{manifest.name}"
    described = {output["name"]: output["shape"][1:] for output in client_of_any.get(model).json()["outputs"]}
    answered = client_of_any.post(f"{model}/infer", json=json_body(images)).json()["outputs"]
    for output in answered:
        values = np.array(output["data"], np.float32).reshape(output["shape"])
        np.testing.assert_allclose(values, getattr(outputs, output["name"]), rtol=1e-5)
        assert described[output["name"]] == output["shape"][1:]
    given = {"request_id": manifest.name, "label": manifest.class_names[-1], "index": 0}
    kept = client_of_any.post("/feedback", json=given).json()
    assert (kept["guess"], kept["model"]["name"]) == (expected[0]["guess"]["label"], manifest.name)


def test_any_model_is_in_card_and_documents(client_of_any: TestClient, any_predictor: Predictor) -> None:
    manifest = any_predictor.manifest
    card = client_of_any.get("/model.json").json()
    assert card["coarse_labels"] == list(manifest.coarse_labels)
    assert [subtype["name"] for subtype in card["subtypes"]] == list(manifest.class_names)
    assert card["reads_digits"] == (manifest.input.preparation == "mnist")
    document = client_of_any.get("/docs.json").json()
    schema = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    images = schema["properties"]["images"]
    lengths = []
    while "items" in images:
        images = images["items"]
        lengths += [images["maxItems"]] if "maxItems" in images else []
    assert tuple(lengths) == manifest.input.shape
    required = document["components"]["schemas"]["Prediction"]["required"]
    assert {"coarse", "binary"} <= set(required)


@pytest.fixture(scope="module")
def chosen(hard_bundle: Path) -> Iterator[TestClient]:
    """A service with a model of hard routing, of which the chosen experts alone are asked."""
    with client_of(Settings(bundles=(hard_bundle,), device="cpu", experts="chosen")) as client:
        yield client


def test_two_services_share_no_setting(client: TestClient, chosen: TestClient) -> None:
    """Both run in this process, with bundles, limits and documents of their own."""
    assert [some.get("/model.json").json()["name"] for some in (client, chosen)] == ["synthetic", "hard"]
    with client_of(client.app.state.service.settings.model_copy(update={"max_images": 1})) as third:  # type: ignore[attr-defined]
        statuses = [some.post("/predict", json={"images": [PAPER] * 2}).status_code for some in (client, third, chosen)]
        documents = [json.dumps(some.get("/docs.json").json()) for some in (client, third, chosen)]
    assert statuses == [200, 422, 200]
    assert len(set(documents)) == 3


def test_the_chosen_experts_alone_answer_as_all_do(chosen: TestClient, hard_bundle: Path) -> None:
    whole = Predictor(Bundle(hard_bundle), "cpu")
    expected = [prediction.model_dump() for prediction in predictions_of(whole.predict(IMAGES), whole.manifest)]
    answer = chosen.post("/predict", json={"images": IMAGES.tolist()})
    assert (answer.status_code, answer.json()["model"]["name"]) == (200, "hard")
    assert answer.json()["predictions"] == expected
    uploaded = upload(chosen, drawing()).json()
    (prediction,) = chosen.post("/predict", json={"images": [uploaded["prepared"]]}).json()["predictions"]
    assert uploaded["prediction"] == prediction


def test_chosen_experts_lack_expert_probability(chosen: TestClient, hard_bundle: Path) -> None:
    outputs = chosen.get("/v2/models/hard").json()["outputs"]
    expected = Predictor(Bundle(hard_bundle), "cpu").predict(IMAGES)
    names = [name for name in OUTPUTS if name != "expert_probability"]
    assert [output["name"] for output in outputs] == names
    answer = chosen.post("/v2/models/hard/infer", json=json_body(IMAGES)).json()
    assert [output["name"] for output in answer["outputs"]] == names
    for output in answer["outputs"]:
        values = np.array(output["data"], np.float32).reshape(output["shape"])
        np.testing.assert_allclose(values, getattr(expected, output["name"]), rtol=1e-5)
    refused = chosen.post("/v2/models/hard/infer", json=json_body(IMAGES, outputs=[{"name": "expert_probability"}]))
    assert refused.status_code == 400
    assert refused.json()["error"] == f"The output 'expert_probability' is unknown; the model has {', '.join(names)}."


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("path", ["/predict", "/v2/models/synthetic/infer"])
@pytest.mark.parametrize("count", [1, 64])
def test_numbers_that_are_not_finite_are_500(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str, count: int, value: float
) -> None:
    predict = Predictor.predict

    def damaged(self: Predictor, images: np.ndarray, **options: Any) -> Predictions:
        outputs = predict(self, images, **options)
        outputs.class_probability[-1, -1] = value
        return outputs

    monkeypatch.setattr(Predictor, "predict", damaged)
    images = IMAGES[:count]
    body = {"images": images.tolist()} if path == "/predict" else json_body(images)
    answer = client.post(path, json=body)
    said = "The model 'synthetic' returned numbers that are not finite; serve another version of it."
    assert (answer.status_code, answer.json()) == (500, {"error": said})


def test_unknown_images_are_marked_and_counted(client: TestClient, predictor: Predictor) -> None:
    confidence = predictor.predict(IMAGES).confidence
    assert 0 < (confidence < THRESHOLD).sum() < len(IMAGES)
    before = abstentions(client)
    predictions = client.post("/predict", json={"images": IMAGES.tolist()}).json()["predictions"]
    assert [p["abstain"] for p in predictions] == (confidence < THRESHOLD).tolist()
    assert abstentions(client) - before == (confidence < THRESHOLD).sum()


def abstentions(client: TestClient) -> float:
    found = re.search(
        r'^clustnet_abstentions_total{model="synthetic"} (\S+)$', client.get("/metrics").text, re.MULTILINE
    )
    assert found
    return float(found[1])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_an_image_file_is_prepared_and_predicted(client: TestClient, predictor: Predictor, kind: str) -> None:
    content = drawing(kind=kind)
    document = upload(client, content, "photo of a digit").json()
    prepared = prepare(content, predictor.manifest.input)
    assert document["prepared"] == prepared.tolist()
    (prediction,) = client.post("/predict", json={"images": [prepared.tolist()]}).json()["predictions"]
    assert document["prediction"] == prediction


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_bodies_are_unpacked(client: TestClient, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    headers = {"content-encoding": encoding}
    for images in (IMAGES[:1], IMAGES):
        content = codecs.BOM_UTF8 + json.dumps({"images": images.tolist()}).encode()
        answer = client.post("/predict", content=pack(content), headers=JSON | headers)
        assert answer.json() == client.post("/predict", json={"images": images.tolist()}).json()
    plain = client.build_request("POST", "/predict_image", files={"image": ("a.png", drawing())})
    form = {"content-type": plain.headers["content-type"]} | headers
    answer = client.post("/predict_image", content=pack(plain.read()), headers=form)
    assert answer.json() == upload(client, drawing()).json()


def test_concurrent_requests_get_their_own_answers(client: TestClient) -> None:
    def call(i: int) -> Any:
        return client.post("/predict", json={"images": IMAGES[i : i + 1].tolist()}).json()["predictions"][0]

    together = client.post("/predict", json={"images": IMAGES.tolist()}).json()["predictions"]
    with ThreadPoolExecutor(8) as pool:
        alone = list(pool.map(call, range(len(IMAGES))))
    for one, same in zip(alone, together, strict=True):
        np.testing.assert_allclose(one["class_probabilities"], same["class_probabilities"], rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "headers", "status", "says"),
    [
        (b'{"images": [', JSON, 400, "not JSON"),
        (b"", JSON, 400, "not JSON"),
        (b"{}", JSON, 422, '"images"'),
        (json.dumps({"images": [PAPER, [0] * 784]}).encode(), JSON, 422, "images[1]: it is a list of 784"),
        (json.dumps({"images": [PAPER] * 1025}).encode(), JSON, 422, "1025 images; send 1 to 1024"),
        (b'{"images": []}', {}, 415, "send application/json"),
        (b'{"images": []}', {"content-type": "text/plain"}, 415, "'text/plain'"),
        (b"x", {"content-type": "application/vnd.bentoml+pickle"}, 415, "send application/json"),
        (b"x", {"content-type": "multipart/form-data; boundary=B"}, 415, "send application/json"),
        (b"[" * (16 * 2**20 + 1), JSON, 413, "over 16777216 bytes"),
        (b"{}", JSON | {"content-encoding": "br"}, 415, "content encoding 'br' is unknown; send gzip, deflate or none"),
        (b"{}", JSON | {"content-encoding": "gzip"}, 400, "The body is not gzip"),
        (gzip.compress(bytes(2**25)), JSON | {"content-encoding": "gzip"}, 413, "over 16777216 bytes when unpacked"),
        (json.dumps({"images": [np.eye(28).tolist()]}).encode(), JSON, 422, "on a scale from 0 to 1"),
    ],
)
def test_wrong_json_is_refused_with_a_reason(
    client: TestClient, content: bytes, headers: dict[str, str], status: int, says: str
) -> None:
    answer = client.post("/predict", content=content, headers=headers)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert says in answer.json()["error"]
    documented = client.get("/docs.json").json()["paths"]["/predict"]["post"]["responses"]
    assert str(status) in documented


def huge_png(side: int) -> bytes:
    """The header of a PNG that claims to be ``side`` x ``side``, and next to nothing after it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"GIF89a", "not a PNG"),
        (b"<svg/>", "not a PNG"),
        (drawing()[:100], "cut short"),
        (drawing(kind="JPEG")[:400], "cut short"),
        (huge_png(5000), "5000x5000"),
        (huge_png(100_000), "more than 4096 pixels"),
        (encoded(Image.new("L", (9, 9)), "PNG"), "flat colour"),
        (drawing(kind="JPEG")[:-2] + b"\xff\xda\0\2" * 50 + b"\xff\xd9", "over 50 scans"),
    ],
)
def test_wrong_files_are_refused_with_a_reason(client: TestClient, content: bytes, says: str) -> None:
    answer = upload(client, content)
    assert answer.status_code == 422
    assert says in answer.json()["error"]


FILES = {kind: drawing(kind=kind) for kind in ("PNG", "JPEG", "WEBP", "BMP")}


# Pillow warns of damaged metadata and goes on.
@pytest.mark.filterwarnings("ignore::UserWarning")
@given(
    kind=st.sampled_from(sorted(FILES)),
    start=st.integers(0, 2000),
    end=st.integers(0, 2000),
    inserted=st.binary(max_size=9),
)
def test_a_damaged_file_gets_a_prediction_or_422(
    client: TestClient, kind: str, start: int, end: int, inserted: bytes
) -> None:
    file = FILES[kind]
    answer = upload(client, file[:start] + inserted + file[end:])
    assert answer.status_code in (200, 422)
    assert list(answer.json()) == (["error"] if answer.status_code == 422 else ["model", "prediction", "prepared"])


@contextmanager
def listener() -> Iterator[tuple[str, list[str]]]:
    """A local address, and the connections it saw."""
    seen: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                seen.append("connection")
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        host, port = server.getsockname()
        yield f"http://{host}:{port}/digit.png", seen
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_urls_from_clients_are_never_fetched(client: TestClient) -> None:
    with listener() as (url, seen):
        statuses = [
            client.post("/predict_image", content=url.encode()).status_code,
            client.post("/predict_image", content=url.encode(), headers=JSON).status_code,
            client.post("/predict_image", json={"image": url}).status_code,
            client.post("/predict_image", data={"image": url}).status_code,
            client.post("/predict_image", files={"image": (None, url)}).status_code,
            client.post("/predict_image", files={"image": ("url.txt", url)}).status_code,
            client.post("/predict", json={"images": url}).status_code,
        ]
    assert statuses == [415, 415, 415, 415, 422, 422, 422]
    assert seen == []


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?model=mnist", "There is no model 'mnist'; this service has 'synthetic'."),
        ("?model=synthetic&version=2", "'synthetic' has no version '2'; this service has '1'."),
        ("?version=2", "'synthetic' has no version '2'"),
        ("?model=" + "x" * 999, "There is no model 'xxx"),
    ],
)
def test_an_unknown_model_in_the_query_is_404(client: TestClient, query: str, says: str) -> None:
    for answer in (
        client.post(f"/predict{query}", json={"images": [PAPER]}),
        client.post(f"/predict_image{query}", files={"image": drawing()}),
        client.get(f"/model.json{query}"),
    ):
        assert answer.status_code == 404
        assert says in answer.json()["error"]
        assert len(answer.json()["error"]) < 200


@pytest.mark.parametrize("query", ["", "?model=", "?model=&version=", "?version=1", "?model=synthetic", "?other=1"])
def test_the_query_may_name_the_model(client: TestClient, query: str) -> None:
    answer = client.post(f"/predict{query}", json={"images": [PAPER]})
    assert answer.json()["model"] == {"name": "synthetic", "version": "1"}
    assert client.get(f"/model.json{query}").json()["name"] == "synthetic"


def test_other_paths_and_methods(client: TestClient) -> None:
    assert client.get("/nothing").status_code == 404
    assert client.get("/predict").status_code == 405
    assert client.post("/metrics").status_code == 405
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200
    assert client.get("/docs.json").json()["paths"]["/predict"]


def test_unknown_paths_make_no_new_series(client: TestClient) -> None:
    for i in range(5):
        client.get(f"/secret-{i}")
    client.post("/predict", json={"secret-key": 1})
    assert "secret" not in client.get("/metrics").text


def test_refusals_are_counted_over_http(client: TestClient) -> None:
    series = 'clustnet_refused_requests_total{reason="body_too_large"}'
    client.post("/predict", content=b"x" * (16 * 2**20 + 1))
    assert series in client.get("/metrics").text


def test_a_cpu_fallback_is_not_ready(predictor: Predictor) -> None:
    with client_of(Settings(bundles=(predictor.bundle.folder,), device="cuda")) as fallen:
        if fallen.app.state.service.models.now.find().predictor.provider == CUDA:  # type: ignore[attr-defined]
            pytest.skip("this machine has a GPU to run on")
        answers = [fallen.post("/predict", json={"images": [PAPER]}), fallen.get("/readyz")]
    for answer in answers:
        assert answer.status_code == 503
        assert "CLUSTNET_DEVICE is cuda, but onnxruntime fell back to CPUExecutionProvider" in answer.json()["error"]


def test_large_headers_are_refused(client: TestClient) -> None:
    answer = client.get("/livez", headers={"x-long": "a" * 66_000})
    assert (answer.status_code, "over 64 KiB" in answer.json()["error"]) == (431, True)
