import codecs
import gzip
import json
import re
import secrets
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from clustnet.errors import UserError
from clustnet.feedback.feedback_file import FileFullError, read_feedback
from serving.api.feedback_store import FeedbackStore
from serving.headers import KEY_NAME
from serving.keys.access import needed_scope
from serving.metrics.deferred import WAIT_SECONDS
from serving.settings import Settings
from tests.serving.conftest import client_of
from tests.serving.images import drawing
from tests.serving.server import Server, running_server
from tests.serving.v2.bodies import binary_body

IMAGES = np.random.default_rng(3).integers(0, 256, (5, 28, 28)).astype(np.uint8)


def predict(client: TestClient | httpx.Client, images: int = 1, headers: dict[str, str] | None = None) -> Any:
    """Ask for a prediction; return the request id and what was guessed."""
    answer = client.post("/predict", json={"images": IMAGES[:images].tolist()}, headers=headers)
    guesses = [prediction["guess"]["label"] for prediction in answer.json()["predictions"]]
    return answer.headers["x-request-id"], guesses


def tell(client: TestClient | httpx.Client, request_id: str, label: object, **more: object) -> Any:
    return client.post("/feedback", json={"request_id": request_id, "label": label, **more})


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def counted(client: TestClient | httpx.Client, correct: str) -> float:
    series = f'clustnet_feedback_total{{correct="{correct}",model="synthetic",version="1"}}'
    found = re.search(rf"^{re.escape(series)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    # The counters start at zero.
    assert found
    return float(found[1])


def wrong(guess: str) -> str:
    return str((int(guess) + 1) % 10)


def test_feedback_is_kept_and_counted(client: TestClient) -> None:
    before = counted(client, "true"), counted(client, "false")
    request_id, (guess,) = predict(client)
    told = {"request_id": request_id, "index": 0, "model": {"name": "synthetic", "version": "1"}}
    assert tell(client, request_id, guess).json() == told | {"label": guess, "guess": guess, "correct": True}
    # A client may repeat a request that got no answer.
    assert tell(client, request_id, guess).status_code == 200
    request_id, guesses = predict(client, 3)
    assert tell(client, request_id, wrong(guesses[2]), index=2).json()["correct"] is False
    assert tell(client, request_id, guesses[1], index=1).json()["guess"] == guesses[1]
    assert (counted(client, "true"), counted(client, "false")) == (before[0] + 2, before[1] + 1)


def test_a_packed_body_with_a_mark_is_read(client: TestClient) -> None:
    request_id, (guess,) = predict(client)
    content = codecs.BOM_UTF8 + json.dumps({"request_id": request_id, "label": guess}).encode()
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert client.post("/feedback", content=gzip.compress(content), headers=headers).json()["correct"] is True
    assert client.post("/feedback", content=gzip.compress(bytes(5000)), headers=headers).status_code == 413


def test_all_protocols_take_feedback(client: TestClient) -> None:
    body, headers = binary_body(IMAGES[:2])
    asked = [
        client.post("/predict_image", files={"image": ("a.png", drawing())}),
        client.post("/v2/models/synthetic/infer", content=body, headers=headers),
        client.post(
            "/predict", json={"images": IMAGES.tolist()}, headers={"X-Request-Id": f"mine-{secrets.token_hex(4)}"}
        ),
    ]
    for answer in asked:
        assert tell(client, answer.headers["x-request-id"], "3", index=0).status_code == 200


def test_feedback_needs_the_key_that_asked(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = {KEY_NAME: "ann"}
    transport = client._transport
    service = transport.app  # type: ignore[attr-defined]

    async def keyed(scope: Scope, receive: Receive, send: Send) -> None:
        await service(scope | asking, receive, send)

    monkeypatch.setattr(transport, "app", keyed)
    body, headers = binary_body(IMAGES[:1])
    name = {"X-Request-Id": f"mine-{secrets.token_hex(4)}"}
    request_ids = [
        client.post("/v2/models/synthetic/infer", content=body, headers=headers).headers["x-request-id"],
        client.post("/predict_image", files={"image": drawing()}).headers["x-request-id"],
        predict(client, headers=name)[0],
    ]
    asking[KEY_NAME] = "eve"
    status, unknown = refused(tell(client, "never-asked", "3"))
    for request_id in request_ids:
        others = refused(tell(client, request_id, "3"))
        assert others == (status, unknown.replace("never-asked", request_id))
        asking[KEY_NAME] = "ann"
        assert tell(client, request_id, "3").json()["request_id"] == request_id
        # What is kept for good shows nothing to others either.
        asking[KEY_NAME] = "eve"
        assert refused(tell(client, request_id, "3"))[0] == 404
    _, (guess,) = predict(client, headers=name)
    assert tell(client, request_ids[-1], guess).status_code == 200


def test_wrong_feedback_is_refused_with_a_sentence(client: TestClient) -> None:
    request_id, (guess,) = predict(client)
    assert tell(client, request_id, guess).status_code == 200
    status, error = refused(tell(client, request_id, wrong(guess)))
    assert (status, "already has feedback with another label, which is kept" in error) == (409, True)
    request_id, guesses = predict(client, 2)
    several = request_id
    for label, more, says in (
        ("11", {"index": 0}, "label: '11' is not one of the model's classes; send one of '0', '1', '2',"),
        (guesses[0], {}, 'The request had 2 images; say which with "index", from 0.'),
        (guesses[0], {"index": 2}, "index: 2, but the request had 2; count from 0."),
        (guesses[0], {"index": -1}, "'index': input should be greater than or equal to 0"),
        (guesses[0], {"index": True}, "'index': input should be a valid integer"),
        (7, {"index": 0}, "'label': input should be a valid string"),
        (guesses[0], {"image": 0}, "'image': extra inputs are not permitted"),
    ):
        status, error = refused(tell(client, several, label, **more))
        assert (status, error[: len(says)]) == (422, says)
    assert refused(tell(client, "never-asked", "3", index=2**63))[0] == 422
    status, error = refused(tell(client, "order 17", "3"))
    assert (status, error[:68]) == (422, "'request_id': it must be 1 to 128 letters, digits or ._:+/=-; send {")
    status, error = refused(tell(client, "never-asked", "3"))
    assert status == 404
    assert error.startswith(
        "No answer with the request id 'never-asked' is known, or it is no longer kept; feedback is taken on"
    )
    json_type = {"content-type": "application/json"}
    for content, headers, expected in (
        (b"{", json_type, 400),
        (b"[]", json_type, 422),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b" " * 5000, json_type, 413),
    ):
        assert refused(client.post("/feedback", content=content, headers=headers))[0] == expected
    assert client.get("/feedback").status_code == 405


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        (FileFullError("It is full."), 507, "It is full."),
        (sqlite3.OperationalError("disk I/O error"), 503, "The feedback cannot be kept now; try again later."),
    ],
)
def test_a_file_that_takes_no_more(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, fault: Exception, status: int, says: str
) -> None:
    def fail(*_: object) -> None:
        raise fault

    request_id, (guess,) = predict(client)
    with monkeypatch.context() as full:
        full.setattr("clustnet.feedback.feedback_file.FeedbackFile.add", fail)
        assert refused(tell(client, request_id, guess)) == (status, says)
    assert tell(client, request_id, guess).status_code == 200


def test_a_file_that_is_another_one_stays_alone(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# What is no feedback\n" * 100)
    with pytest.raises(UserError, match=r"README\.md"):
        FeedbackStore(path, Settings())
    assert list(tmp_path.iterdir()) == [path]


def test_without_a_path_there_is_no_feedback(synthetic_bundle: Path) -> None:
    with client_of(Settings(bundles=(synthetic_bundle,), device="cpu")) as client:
        request_id, (guess,) = predict(client)
        says = "This service takes no feedback; its operator can set CLUSTNET_FEEDBACK."
        assert refused(tell(client, request_id, guess)) == (404, says)


def test_feedback_needs_the_scope_of_predictions() -> None:
    assert needed_scope("/feedback", metrics_open=True) == needed_scope("/predict", metrics_open=True) == "predict"


def kill(server: Server) -> None:
    """Kill all of the server's processes, so that none can tidy up."""
    root = psutil.Process(server.process.pid)
    for process in [root, *root.children(recursive=True)]:
        process.send_signal(signal.SIGKILL)
    server.process.wait(timeout=30)


def ask_and_tell(url: str) -> tuple[str, str]:
    """Send feedback on a prediction, each in a connection of its own, so that another worker may get it."""
    with httpx.Client(base_url=url, timeout=60) as one, httpx.Client(base_url=url, timeout=60) as other:
        request_id, (guess,) = predict(one)
        assert tell(other, request_id, guess).status_code == 200
    return request_id, guess


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9(synthetic_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "feedback.sqlite"
    environment = {"CLUSTNET_FEEDBACK": str(path), "CLUSTNET_WORKERS": "2", "CLUSTNET_FEEDBACK_ROWS": "21"}
    with running_server(synthetic_bundle, **environment) as server:
        with ThreadPoolExecutor(4) as pool:
            kept = dict(pool.map(ask_and_tell, [server.url] * 20))
        with httpx.Client(base_url=server.url, timeout=60) as client:
            time.sleep(2 * WAIT_SECONDS)
            # Both workers count.
            assert counted(client, "true") == 20
            late, (guess,) = predict(client)
            time.sleep(2 * WAIT_SECONDS)
        kill(server)
    # The rows are there, as no process could end properly.
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0
    ((model, rows),) = read_feedback(path)
    assert (model.name, {row.request_id: row.label for row in rows}) == ("synthetic", kept)
    with (
        running_server(synthetic_bundle, **environment) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        request_id = next(iter(kept))
        assert tell(client, request_id, kept[request_id]).status_code == 200
        assert tell(client, request_id, wrong(kept[request_id])).status_code == 409
        # The answer has survived as well.
        assert tell(client, late, guess).status_code == 200
        request_id, (guess,) = predict(client)
        status, error = refused(tell(client, request_id, guess))
        assert (status, "is full at 21 rows" in error) == (507, True)
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()
    assert sum(len(rows) for _, rows in read_feedback(path)) == 21
