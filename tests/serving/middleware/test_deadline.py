import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from serving.app import build_app
from serving.headers import ID_NAME
from serving.metrics.metrics import DEFERRED
from serving.middleware.deadline import Deadline
from serving.routes import PREDICT
from serving.settings import Settings

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
END: Message = {"type": "http.response.body", "body": b"done"}


def call(application: Any, seconds: float) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": [], ID_NAME: "mine"}
    asyncio.run(Deadline(application, seconds)(scope, receive, send))
    return sent


def test_an_answer_in_time_passes() -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(END)

    assert call(answer, 20) == [START, END]


def test_past_the_deadline_the_answer_is_504() -> None:
    given_up = []

    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.append(True)

    start, body = call(hang, 0.01)
    assert (start["status"], given_up) == (504, [True])
    assert json.loads(body["body"]) == {"error": "The answer took over 0.01 seconds; try again later."}


def test_an_answer_that_has_begun_may_take_longer() -> None:
    async def trickle(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await asyncio.sleep(0.05)
        await send(END)

    assert call(trickle, 0.01) == [START, END]


@pytest.mark.parametrize("fault", [ZeroDivisionError("secret"), TimeoutError("secret")])
def test_a_failing_application_is_answered_at_once(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise fault

    with caplog.at_level(logging.ERROR, "bentoml.clustnet"):
        start, body = call(fail, 20)
    assert (start["status"], list(json.loads(body["body"]))) == (500, ["error"])
    assert b"secret" not in body["body"]
    assert "secret" in caplog.text
    assert [record.message for record in caplog.records] == ["The request mine failed."]


def test_a_fault_after_the_beginning_is_raised() -> None:
    async def break_off(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(break_off, 20)


def test_the_504_has_an_id_and_counts(synthetic_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_: Request) -> Response:
        return await asyncio.Future()

    monkeypatch.setattr("serving.app.DEADLINE_SECONDS", 0.01)
    application = build_app(Settings(bundles=(synthetic_bundle,), device="cpu"), {PREDICT: hang})
    answer = TestClient(application).post("/predict", headers={"X-Request-Id": "mine"})
    assert (answer.status_code, list(answer.json()), answer.headers["x-request-id"]) == (504, ["error"], "mine")
    counted = {"path": "/predict", "status": "504"}
    DEFERRED.flush()
    assert REGISTRY.get_sample_value("clustnet_requests_total", counted)
