"""The application asked by a server of its own kind, with requests that a client's library would not write."""

import asyncio
import json
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Message


def asked(app: Any, **scope: object) -> tuple[int, dict[str, str]]:
    """Return the status and the document that the application sends."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    whole = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/v2", "raw_path": b"/v2", "headers": []}
    asyncio.run(app(whole | {"query_string": b""} | scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [("1.1", 1, 200), ("1.1", 0, 400), ("1.1", 2, 400), ("1.0", 0, 200), ("1.0", 2, 400)],
)
def test_a_request_needs_one_host(client: TestClient, version: str, hosts: int, status: int) -> None:
    found, document = asked(client.app, http_version=version, headers=hosts * [(b"host", b"here")])
    assert found == status
    said = "The request has no Host or several; send one, the name of this service."
    assert status == 200 or document == {"error": said}


def test_a_long_path_counts_as_headers(client: TestClient) -> None:
    assert asked(client.app, raw_path=66_000 * b"a", headers=[(b"host", b"here")])[0] == 431
