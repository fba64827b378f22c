"""The short way to the endpoints that are asked most: past BentoML's routing and Starlette's."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.requests import body_of
from serving.metrics.metrics import refused
from serving.refusals import Refusal

Endpoint = Callable[[Request], Awaitable[Response]]


class ShortCut:
    """ASGI middleware that answers some paths itself: the way there costs as much as a small model's inference.

    Args:
        app: what answers all others.
        application: what the requests see as theirs, with its state.
        endpoints: answer POST requests whose whole path matches; named groups are path parameters.
    """

    def __init__(self, app: ASGIApp, application: Starlette, endpoints: Mapping[re.Pattern[str], Endpoint]) -> None:
        self.app = app
        self.application = application
        self.endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http" and scope["method"] == "POST":
            for pattern, endpoint in self.endpoints.items():
                found = pattern.fullmatch(scope["path"])
                if found:
                    named = {name: value for name, value in found.groupdict().items() if value is not None}
                    scope.update(app=self.application, path_params=named)
                    await (await _answer(endpoint, WholeRequest(scope, receive)))(scope, receive, send)
                    return
        await self.app(scope, receive, send)


class WholeRequest(Request):
    """A request whose body comes in one piece, as ``TakeTurns`` hands it on."""

    async def body(self) -> bytes:
        """Return the body; it can be asked for once."""
        content: bytes = (await self.receive())["body"]
        return content


def past_bentoml(
    app: ASGIApp, middlewares: Sequence[tuple[Callable[..., ASGIApp], Mapping[str, Any]]], takes: Callable[[str], bool]
) -> ASGIApp:
    """Return BentoML's application with a way past its own middleware to what ``ShortCut`` answers.

    That middleware makes a task and a timer for each request, and keeps both until its own timeout; ``Deadline`` is
    among ``middlewares``, so that nobody waits longer without it.

    Args:
        app: BentoML's application.
        middlewares: what was added to the service, with the arguments, from the outermost to ``ShortCut``.
        takes: tells by its path whether ``ShortCut`` answers a POST request.
    """
    short = app
    for middleware, options in reversed(middlewares):
        short = middleware(short, **options)

    async def forked(scope: Scope, receive: Receive, send: Send) -> None:
        taken = scope["type"] == "http" and scope["method"] == "POST" and takes(scope["path"])
        await (short if taken else app)(scope, receive, send)

    return forked


async def predict(request: Request) -> Response:
    """Answer ``/predict`` as the endpoint does that BentoML knows."""
    answer: Response = await request.app.state.answer(await body_of(request))
    return answer


async def _answer(endpoint: Endpoint, request: Request) -> Response:
    try:
        return await endpoint(request)
    except Refusal as refusal:
        return refused(refusal)
