import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import bentoml
import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from serving.headers import KEY_NAME
from serving.keys.access import Access, needed_scope
from serving.keys.key_file import KeyFile
from serving.keys.keys import make_key
from serving.routes import ENDPOINTS
from tests.serving.server import REPOSITORY, free_port, running_server, serve_command, serve_environment

# Of the endpoints that need no key, those without a name in their path.
OPEN = {endpoint.path for endpoint in ENDPOINTS if endpoint.scope is None and "{" not in endpoint.path}
PAPER = np.zeros((1, 28, 28), np.uint8)


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, str]:
    """Keys by the name of their only scope; their file is ``tmp_path / "keys"``."""
    made = {scope: make_key(f"{scope}-user", [scope]) for scope in ("predict", "admin")}
    (tmp_path / "keys").write_text("".join(f"{key.line()}\n" for _, key in made.values()))
    return {scope: secret for scope, (secret, _) in made.items()}


def name_the_key(request: Request) -> Response:
    return JSONResponse(request.scope.get(KEY_NAME))


@pytest.fixture
def asked(tmp_path: Path, secrets: dict[str, str]) -> Iterator[TestClient]:
    """An application that answers whose key it was asked with; metrics are not open."""
    needs = partial(needed_scope, metrics_open=False)
    access = Middleware(Access, keys=KeyFile(tmp_path / "keys"), needs=needs)
    application = Starlette(routes=[Route("/{path:path}", name_the_key, methods=["GET", "POST"])], middleware=[access])
    with TestClient(application) as client:
        yield client


def ways(secret: str) -> list[dict[str, str]]:
    return [{"Authorization": f"Bearer {secret}"}, {"authorization": f"bearer  {secret} "}, {"X-API-Key": secret}]


def test_a_key_with_the_scope_enters(asked: TestClient, secrets: dict[str, str]) -> None:
    for headers in ways(secrets["predict"]):
        answer = asked.post("/predict", headers=headers)
        assert (answer.status_code, answer.json()) == (200, "predict-user")
    for headers in ways(secrets["admin"]):
        assert asked.get("/metrics", headers=headers).json() == "admin-user"


def test_a_proxys_authorization_does_not_hide_keys(asked: TestClient, secrets: dict[str, str]) -> None:
    headers = {"Authorization": "Basic YTpi", "X-API-Key": secrets["predict"]}
    assert asked.post("/predict", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "says", "challenge"),
    [
        ({}, "This request needs an API key; send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'.", ""),
        ({"Authorization": "Bearer"}, "This request needs an API key", ""),
        ({"Authorization": "Basic YTpi"}, "This request needs an API key", ""),
        ({"X-API-Key": " "}, "This request needs an API key", ""),
        ({"X-API-Key": "guess"}, "The API key is unknown", ', error="invalid_token"'),
        ({"Authorization": b"Bearer \xff\xfe"}, "The API key is unknown", ', error="invalid_token"'),
    ],
)
def test_without_a_known_key_the_answer_is_401(
    asked: TestClient, headers: dict[str, Any], says: str, challenge: str
) -> None:
    for path in ("/predict", "/v2/models/m/infer", "/metrics", "/model.json", "/anything"):
        answer = asked.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == f'Bearer realm="clustnet"{challenge}'
        assert answer.json()["error"].startswith(says)


@pytest.mark.parametrize(
    ("has", "needs", "path"),
    [
        ("predict", "admin", "/metrics"),
        ("predict", "admin", "/v2/repository/models/m/load"),
        ("predict", "admin", "/v2/repository/models/m/unload"),
        ("admin", "predict", "/predict"),
        ("admin", "predict", "/v2/repository/index"),
    ],
)
def test_another_scope_is_403(asked: TestClient, secrets: dict[str, str], has: str, needs: str, path: str) -> None:
    answer = asked.get(path, headers={"X-API-Key": secrets[has]})
    assert answer.status_code == 403
    assert answer.json() == {"error": f"The API key lacks the scope '{needs}'; use a key that has it."}
    assert f'error="insufficient_scope", scope="{needs}"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("path", [*sorted(OPEN), "/static/page.js"])
def test_health_and_the_page_need_no_key(asked: TestClient, path: str) -> None:
    for headers in ({}, {"X-API-Key": "guess"}):
        assert asked.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/livez/", "/LIVEZ", "//livez", "/static", "/livez/../predict", "/v2/health/live/x"])
def test_paths_like_open_ones_need_a_key(path: str) -> None:
    assert needed_scope(path, metrics_open=True) == "predict"


def test_metrics_are_open_if_they_are_set_so() -> None:
    assert needed_scope("/metrics", metrics_open=True) is None


def test_the_service_asks_for_keys(synthetic_bundle: Path, tmp_path: Path, secrets: dict[str, str]) -> None:
    settings = {"CLUSTNET_API_KEYS_FILE": str(tmp_path / "keys"), "CLUSTNET_METRICS_OPEN": "false"}
    with running_server(synthetic_bundle, **settings) as server, httpx.Client(base_url=server.url) as client:
        for path in ("/livez", "/readyz", "/", "/static/page.js", "/docs.json", "/v2/health/ready"):
            assert client.get(path).status_code == 200
        for path in ("/metrics", "/model.json", "/v2/models/synthetic"):
            assert client.get(path).status_code == 401
        infer = client.post("/v2/models/synthetic/infer", content=b"x" * (16 * 2**20 + 1))
        # It is not 413, as the body was not read.
        assert (infer.status_code, list(infer.json())) == (401, ["error"])
        headers = {"X-API-Key": secrets["admin"]}
        assert 'reason="no_key"' in client.get("/metrics", headers=headers).text
        with bentoml.SyncHTTPClient(server.url, token=secrets["predict"]) as known:
            assert len(known.predict(images=PAPER)["predictions"]) == 1
        assert "Traceback" not in server.log.read_text()


def test_a_wrong_key_file_stops_the_start(synthetic_bundle: Path, tmp_path: Path) -> None:
    environment = serve_environment(synthetic_bundle, tmp_path, CLUSTNET_API_KEYS_FILE="/nowhere")
    with free_port() as port:
        finished = subprocess.run(
            serve_command(port), cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60
        )
    assert finished.returncode == 2
    assert finished.stderr == "clustnet: /nowhere cannot be read: No such file or directory; name a file of API keys.\n"
