"""The application asked by a server of its own kind, with requests that a client's library would not write."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Message

from serving.keys.keys import make_key
from serving.settings import Settings
from tests.serving.conftest import client_of


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
    said = "The request has no Host header or several; send exactly one, with the name of this service."
    assert status == 200 or document == {"error": said}


def test_a_long_path_counts_as_headers(client: TestClient) -> None:
    assert asked(client.app, raw_path=66_000 * b"a", headers=[(b"host", b"here")])[0] == 431


def test_requests_without_a_key_never_reach_the_gate(
    synthetic_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, key = make_key("ann", ["predict"])
    (tmp_path / "keys").write_text(key.line())
    reached: list[object] = []

    async def body(request: object, _: int) -> bytes:
        reached.append(request)
        return b"{}"

    settings = Settings(bundles=(synthetic_bundle,), device="cpu", api_keys_file=tmp_path / "keys")
    with client_of(settings) as client:
        monkeypatch.setattr(client.app.state.service.gate, "body", body)  # type: ignore[attr-defined]
        json_type = {"content-type": "application/json"}
        for headers, status, count in (({}, 401, 0), ({"x-api-key": "b"}, 401, 0), ({"x-api-key": secret}, 422, 1)):
            answer = client.post("/predict", content=b"{}", headers=json_type | headers)
            assert (answer.status_code, len(reached)) == (status, count)
