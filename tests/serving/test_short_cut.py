from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.refusals import Refusal
from serving.routes import INFER, INFER_VERSION
from serving.short_cut import ShortCut, past_bentoml


async def long_way(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("the long way")(scope, receive, send)


async def show(request: Request) -> JSONResponse:
    if (await request.body()) == b"bad":
        raise Refusal(422, "wrong_value", "It is bad.")
    return JSONResponse([request.app.state.name, request.path_params])


@pytest.fixture
def client() -> Any:
    application = Starlette()
    application.state.name = "mine"
    return TestClient(ShortCut(long_way, application, {INFER: show, INFER_VERSION: show}))


def test_short_cuts_have_state_and_path_parameters(client: TestClient) -> None:
    assert client.post("/v2/models/a/infer").json() == ["mine", {"name": "a"}]
    assert client.post("/v2/models/a/versions/2/infer").json() == ["mine", {"name": "a", "version": "2"}]


@pytest.mark.parametrize(("method", "path"), [("GET", "/v2/models/a/infer"), ("POST", "/v2/models/a"), ("POST", "/")])
def test_all_else_goes_the_long_way(client: TestClient, method: str, path: str) -> None:
    assert client.request(method, path).text == "the long way"


def test_a_refusal_is_answered_with_its_reason(client: TestClient) -> None:
    answer = client.post("/v2/models/a/infer", content=b"bad")
    assert (answer.status_code, answer.json()) == (422, {"error": "It is bad."})


class Mark:
    """Middleware that adds its name to the path of each request that passes."""

    def __init__(self, app: ASGIApp, name: str) -> None:
        self.app = app
        self.name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope | {"passed": [*scope.get("passed", []), self.name]}, receive, send)


async def show_passed(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse(scope.get("passed", []))(scope, receive, send)


def test_short_cuts_pass_added_middleware_only() -> None:
    added: list[tuple[type[Mark], dict[str, str]]] = [(Mark, {"name": "outer"}), (Mark, {"name": "inner"})]
    bentoml = Mark(show_passed, "bentoml")
    client = TestClient(past_bentoml(bentoml, added, {"/short"}.__contains__))
    # No ShortCut is among them.
    assert client.post("/short").json() == ["outer", "inner", "bentoml"]
    assert client.get("/short").json() == client.post("/long").json() == ["bentoml"]
