import asyncio
from pathlib import Path

import httpx
import pytest
from starlette.middleware.cors import CORSMiddleware
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from serving.keys.keys import make_key
from serving.middleware.cors import cors_fields, cors_options
from tests.serving.server import running_service

PAGE = "https://page.example"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
HEADERS = {"Access-Control-Request-Headers": "content-type,x-api-key,x-request-id,inference-header-content-length"}


def test_without_the_setting_other_sites_are_refused(client: TestClient) -> None:
    for answer in (client.get("/livez", headers={"Origin": PAGE}), client.options("/predict", headers=PREFLIGHT)):
        assert not any(name.startswith("access-control") for name in answer.headers)


async def asked_of_starlette(origins: tuple[str, ...], origin: str | None) -> dict[str, str]:
    """Return the headers that CORSMiddleware adds."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": []})

    scope = {"type": "http", "method": "POST", "path": "/", "headers": fields_of(origin)}
    await CORSMiddleware(nothing, **cors_options(origins))(scope, receive, send)
    return {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}


def fields_of(origin: str | None) -> list[tuple[bytes, bytes]]:
    return [] if origin is None else [(b"origin", origin.encode())]


@pytest.mark.parametrize("origin", [PAGE, "https://foreign.example", None])
@pytest.mark.parametrize("origins", [(PAGE,), ("http://other", PAGE), ("*",)])
def test_early_refusals_have_starlettes_headers(origins: tuple[str, ...], origin: str | None) -> None:
    lines = cors_fields(origins, fields_of(origin)).split("\r\n")[:-1]
    fields = dict(line.split(": ", 1) for line in lines)
    assert fields == asyncio.run(asked_of_starlette(origins, origin))


def test_allowed_origins_may_read_refusals(synthetic_bundle: Path, tmp_path: Path) -> None:
    secret, key = make_key("page", ["predict"])
    (tmp_path / "keys").write_text(f"{key.line()}\n")
    settings = {"CLUSTNET_CORS_ORIGINS": f"http://other,{PAGE}", "CLUSTNET_API_KEYS_FILE": str(tmp_path / "keys")}
    with running_service(synthetic_bundle, **settings) as url, httpx.Client(base_url=url) as client:
        # A browser sends no key with it.
        preflight = client.options("/predict", headers=PREFLIGHT | HEADERS)
        assert preflight.status_code == 200
        assert "POST" in preflight.headers["access-control-allow-methods"]
        asked = {"Origin": PAGE, "X-API-Key": secret}
        answers = [
            client.get("/model.json", headers=asked),
            # Without a key: 401.
            client.post("/predict", headers={"Origin": PAGE}),
            # Another content type: 415.
            client.post("/predict", headers=asked, content=b"{"),
            # Too large: 413.
            client.post("/predict_image", headers=asked, content=b"x" * (16 * 2**20 + 1)),
            # Unknown path: 404.
            client.get("/nothing", headers=asked),
        ]
        assert [answer.status_code for answer in answers] == [200, 401, 415, 413, 404]
        assert {answer.headers["access-control-allow-origin"] for answer in [preflight, *answers]} == {PAGE}
        assert all("X-Request-Id" in answer.headers["access-control-expose-headers"] for answer in answers)
        assert not any("access-control-allow-credentials" in answer.headers for answer in [preflight, *answers])
        foreign = {"Origin": "https://foreign.example"}
        assert client.options("/predict", headers=PREFLIGHT | foreign).status_code == 400
        assert "access-control-allow-origin" not in client.get("/livez", headers=foreign).headers
