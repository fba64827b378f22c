import json
import socket
from collections.abc import Callable
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import numpy as np
import pytest

from clustnet.bundles.answers import Answers
from clustnet.bundles.bundle import Bundle
from clustnet.bundles.predictor import Predictor
from clustnet.errors import UserError
from evaluation.sources import url_source
from evaluation.sources.bundle_source import BundleSource
from evaluation.sources.sources import answer_all
from evaluation.sources.url_source import RETRIES, UrlSource
from tests.evaluation.stub import Document, Reply, Stub
from tests.synthetic import write_bundle

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited."""
    waited: list[float] = []
    monkeypatch.setattr(url_source.time, "sleep", waited.append)
    return waited


def shortest(value: np.float32) -> float:
    """As a service that writes the shortest text that names the float32."""
    return float(str(np.float32(value)))


@pytest.mark.parametrize("write_float", [float, shortest])
@pytest.mark.parametrize("coarse", [1, 2, 3])
def test_answers_are_the_models_to_the_bit(
    stub: Stub, tmp_path: Path, coarse: int, write_float: Callable[[np.float32], float]
) -> None:
    folder = write_bundle(tmp_path / "bundle", coarse=coarse)
    stub.predictor, stub.write_float = Predictor(Bundle(folder), "cpu"), write_float
    source, bundle = UrlSource(stub.url + "/"), BundleSource(folder, "cpu")
    answers, expected = source.answer(IMAGES), bundle.answer(IMAGES)
    for field in fields(Answers):
        np.testing.assert_array_equal(getattr(answers, field.name), getattr(expected, field.name))
    assert answers.routing.dtype == answers.coarse_probability.dtype == np.float32
    assert source.info == bundle.info


def test_images_go_in_batches_of_256(stub: Stub) -> None:
    images = np.zeros((600, 28, 28), np.uint8)
    assert len(answer_all(UrlSource(stub.url), images)) == 600
    assert stub.batches == [256, 256, 88]


def test_a_busy_service_gets_the_request_again(stub: Stub, waits: list[float]) -> None:
    stub.instead = [
        Reply(503, headers={"Retry-After": "2"}),
        Reply(429, headers={"Retry-After": "100000"}),
        Reply(503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Reply(503, headers={"Retry-After": "nan"}),
        Reply(503),
    ]
    assert len(UrlSource(stub.url).answer(IMAGES)) == 5
    assert waits == [2, 60, 0, 1, 8]


def test_a_service_that_stays_busy_is_given_up(stub: Stub, waits: list[float]) -> None:
    stub.instead = [Reply(503, json.dumps({"error": "The queue is full."}))] * (RETRIES + 1)
    with pytest.raises(UserError, match="with 503 Service Unavailable: The queue is full"):
        UrlSource(stub.url).answer(IMAGES)
    assert waits == [0.5, 1, 2, 4, 8]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(422, '{"error": "images[0]: it is 27 wide."}'), r"422 [\w ]+: images\[0\]: it is 27 wide\.$"),
        (Reply(413, "Too long."), r"413 [\w ]+: Too long\.$"),
        (Reply(400, '["odd"]'), r"400 Bad Request: \['odd'\]$"),
        (Reply(500), r"500 Internal Server Error; check --url"),
        (Reply(404, "Not Found"), "404 Not Found; check --url and the service's log"),
        (Reply(502, "<html>proxy</html>"), r"502 Bad Gateway; check --url"),
        (Reply(301, headers={"Location": "http://elsewhere/"}), r"301 Moved Permanently; check --url"),
        (Reply(400, "x" * 10_000), "400 Bad Request: x{300}$"),
    ],
)
def test_a_refusal_is_shown_with_its_sentence(stub: Stub, reply: Reply, said: str) -> None:
    stub.instead = [reply]
    with pytest.raises(UserError, match=said):
        UrlSource(stub.url).answer(IMAGES)


def _first(document: Document, **changes: Any) -> Document:
    document["predictions"][0] |= changes
    return document


def _coarse(document: Document, **changes: Any) -> Document:
    document["predictions"][0]["coarse"] |= changes
    return document


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: "hello", "Input should be an object"),
        (lambda document: document | {"predictions": []}, "0 predictions for 5 images"),
        (lambda document: document | {"model": {"name": "x"}}, "model.version: Field required"),
        (lambda document: _first(document, coarse=1), "predictions.0.coarse: Input should be an object"),
        (lambda document: _coarse(document, label="high"), "the coarse label 'high' is not the most probable one"),
        (lambda document: _coarse(document, probabilities=[1.0]), "1 numbers where 2 are expected"),
        (lambda document: _first(document, class_probabilities=[1.0]), "1 numbers where 10 are expected"),
        (lambda document: _first(document, guess={"label": "A", "probability": 1}), "the guess 'A' is not a class of"),
        (lambda document: _first(document, routing=[]), "predictions.0.routing: List should have at least 1"),
        (lambda document: _first(document, routing=[1.0]), "5 numbers where 1 are expected"),
        (lambda document: _first(document, routing=[float("nan")] * 5), "should be a finite number"),
    ],
)
def test_an_answer_of_another_form_is_refused(stub: Stub, change: Callable[[Document], Any], said: str) -> None:
    stub.change = change
    with pytest.raises(UserError, match="does not answer POST /predict as this release expects") as error:
        UrlSource(stub.url).answer(IMAGES)
    assert said in str(error.value)
    assert "check --url" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"coarse_labels": []}, "coarse_labels: Tuple should have at least 1 item"),
        ({"coarse_labels": ["0-4", "high"]}, "coarse gives the label 'high' no classes"),
        ({"coarse_labels": ["0-4"]}, "coarse lists the class '5' under no label"),
        ({"subtypes": 3}, "subtypes: Input should be a valid"),
    ],
)
def test_a_card_of_another_form_is_refused(stub: Stub, changes: Document, said: str) -> None:
    stub.card_changes = changes
    with pytest.raises(UserError, match=r"does not answer GET /model\.json as this release expects") as error:
        UrlSource(stub.url).answer(IMAGES)
    assert said in str(error.value)


def test_a_model_that_changes_is_refused(stub: Stub) -> None:
    versions = iter("12")
    stub.change = lambda document: document | {"model": {"name": "synthetic", "version": next(versions)}}
    with pytest.raises(UserError, match=r"changed its model .*\(from synthetic 1 to synthetic 2\); evaluate it"):
        answer_all(UrlSource(stub.url), np.zeros((300, 28, 28), np.uint8))


def test_no_service_at_the_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(UserError, match=r"cannot be reached .*start it with 'make serve' or check --url"):
            UrlSource(url).answer(IMAGES)


def test_a_service_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url_source, "TIMEOUT", httpx.Timeout(0.2))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(UserError, match="did not answer in time"):
            UrlSource(f"http://127.0.0.1:{silent.getsockname()[1]}").answer(IMAGES)


@pytest.mark.parametrize("url", ["127.0.0.1:3000", "ftp://host", "http://", ""])
def test_what_is_no_http_address_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="must begin with http:// or https://"):
        UrlSource(url)


@pytest.mark.parametrize("url", ["http://[", "http://a b", "http://host:port"])
def test_a_misspelt_address_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="cannot be reached"):
        UrlSource(url).answer(IMAGES)


def test_the_key_is_sent_if_there_is_one(stub: Stub) -> None:
    UrlSource(stub.url, "secret").answer(IMAGES)
    UrlSource(stub.url).answer(IMAGES)
    # Each requests the card and an answer.
    assert stub.keys == ["secret", "secret", None, None]


@pytest.mark.parametrize("key", ["a\nb", "clé"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=r"^CLUSTNET_API_KEY holds more than an API key; set it to"):
        UrlSource("http://127.0.0.1", key)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_says_how_to_give_one(stub: Stub, status: int) -> None:
    stub.instead = [Reply(status, '{"error": "No key."}')]
    said = rf"with {status} \w+: No key\. \(set the environment variable CLUSTNET_API_KEY to a key with the scope"
    with pytest.raises(UserError, match=said):
        UrlSource(stub.url).answer(IMAGES)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "http://me:secret@127.0.0.1:1")
    said = (
        rf"cannot be reached through the proxy 127.0.0.1:1, which {variable.upper()} names \(set NO_PROXY=digits.test"
    )
    with pytest.raises(UserError, match=said) as caught:
        _ = UrlSource("http://digits.test:3000").info
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("NO_PROXY", "digits.test")
    with pytest.raises(UserError, match="cannot be reached") as caught:
        _ = UrlSource("http://digits.test:3000").info
    assert "proxy" not in str(caught.value)


class BadGateway(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(502)

    def log_message(self, *_: object) -> None: ...


def test_answer_of_a_proxy_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), BadGateway) as server:
        Thread(target=server.serve_forever).start()
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_port}")
        said = r"at http://digits.test through the proxy .* answered GET /model.json with 502"
        try:
            with pytest.raises(UserError, match=said):
                _ = UrlSource("http://digits.test").info
        finally:
            server.shutdown()
