import asyncio
import json
import logging
import re
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from serving.headers import KEY_NAME
from serving.middleware.request_log import RequestLog, Which, logger
from tests.serving.server import running_server

Headers = list[tuple[bytes, bytes]]


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.documents: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.documents.append(json.loads(record.getMessage()))


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is logged."""
    handler = Lines()
    monkeypatch.setattr(logger, "handlers", [handler])
    return handler.documents


def call(
    status: int | BaseException, which: Which = "all", headers: Headers | None = None, path: str = "/predict"
) -> Headers:
    """Ask an application that answers 10 bytes with this status, or fails, or answers nothing; return its headers."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        scope[KEY_NAME] = "ann"
        if isinstance(status, BaseException):
            raise status
        if status:
            await send({"type": "http.response.start", "status": status, "headers": [(b"a", b"b")]})
            await send({"type": "http.response.body", "body": b"12345", "more_body": True})
            await send({"type": "http.response.body", "body": b"67890"})

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": path, "headers": headers or []}
    asyncio.run(RequestLog(application, which)(scope, receive, send))
    return sent[0]["headers"] if sent else []


def test_a_line_tells_of_the_request(lines: list[dict[str, Any]]) -> None:
    call(200, headers=[(b"x-request-id", b"abc-1")])
    (line,) = lines
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert line.pop("milliseconds") >= 0
    known = {"request_id": "abc-1", "method": "POST", "path": "/predict", "status": 200, "bytes": 10, "key": "ann"}
    assert line == known


@pytest.mark.parametrize(("which", "logged"), [("all", [200, 304, 400, 503]), ("errors", [400, 503]), ("none", [])])
def test_the_setting_chooses_the_lines(lines: list[dict[str, Any]], which: Which, logged: list[int]) -> None:
    for status in (200, 304, 400, 503):
        call(status, which)
    assert [line["status"] for line in lines] == logged


def test_requests_without_an_answer_are_logged(lines: list[dict[str, Any]]) -> None:
    with pytest.raises(ZeroDivisionError):
        call(ZeroDivisionError(), "errors")
    assert [line["status"] for line in lines] == [500]


def test_lines_of_errors_are_bounded(lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.middleware.request_log.MAX_LINES_PER_SECOND", 3)
    monkeypatch.setattr(time, "monotonic", lambda: 1.5)
    log = RequestLog(faulty, "errors")
    for _ in range(9):
        asyncio.run(log({"type": "http", "method": "GET", "path": "/", "headers": []}, nothing, nothing))
    assert [line.get("status", line.get("left_out")) for line in lines] == [400, 400, 400, "lines over 3 a second"]
    monkeypatch.setattr(time, "monotonic", lambda: 2.5)
    asyncio.run(log({"type": "http", "method": "GET", "path": "/", "headers": []}, nothing, nothing))
    assert lines[-1]["status"] == 400


async def faulty(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 400, "headers": []})


async def nothing(*_: Message) -> Message:
    return {}


@pytest.mark.parametrize("sent", [b"a", b"0af7651916cd43dd8448eb211c80319c", b"x" * 128, b"A-b_c.d:e/f=+"])
def test_a_sane_id_is_kept_and_echoed(lines: list[dict[str, Any]], sent: bytes) -> None:
    assert call(200, headers=[(b"x-request-id", sent)]) == [(b"a", b"b"), (b"x-request-id", sent)]
    assert lines[0]["request_id"] == sent.decode()


@pytest.mark.parametrize("sent", [b"", b"x" * 129, b"a b", b'"', b"a\nb", b"<script>", b"\xff"])
def test_another_id_is_replaced(lines: list[dict[str, Any]], sent: bytes) -> None:
    ids = [dict(call(200, headers=[(b"x-request-id", sent)]))[b"x-request-id"].decode() for _ in range(2)]
    assert all(re.fullmatch("[0-9a-f]{32}", made) for made in ids)
    assert ids[0] != ids[1]
    assert [line["request_id"] for line in lines] == ids


def test_an_answer_repeats_the_clients_id(client: TestClient) -> None:
    assert client.get("/livez", headers={"X-Request-Id": "mine"}).headers["x-request-id"] == "mine"


def wait_for(log: Path, words: str) -> str:
    """Return what is in the log once ``words`` are."""
    deadline = time.monotonic() + 20
    while words not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return log.read_text()


def test_each_client_fault_is_one_log_line(synthetic_bundle: Path) -> None:
    asked = [
        ("POST", "/predict", b"{", 400),
        ("POST", "/predict_image", b"x", 415),
        ("GET", "/predict", b"", 405),
        ("GET", "/secret", b"", 404),
        ("POST", "/v2/models/synthetic/infer", b"\xff", 400),
        ("GET", "/livez", b"", 200),
    ]
    json_type = {"content-type": "application/json"}
    with running_server(synthetic_bundle) as server:
        for method, path, content, _ in asked:
            httpx.request(method, server.url + path, content=content, headers=json_type)
        address = httpx.URL(server.url)
        with socket.create_connection((address.host, address.port or 80)) as connection:
            # The client goes away.
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
            )
        text = wait_for(server.log, '"status": 499')
        # The client that has gone delays nothing.
        assert server.stop() == 0
    lines = [json.loads(line) for line in text.splitlines() if line.startswith('{"time"')]
    assert [line["status"] for line in lines] == [*(status for *_, status in asked if status >= 400), 499]
    names = ["/predict", "/predict_image", "/predict", "other", "/v2/models/{name}/infer", "/predict"]
    assert [line["path"] for line in lines] == names
    assert "Traceback" not in text
    assert "secret" not in text
