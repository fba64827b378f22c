"""The short way to the endpoints with the most requests: past BentoML's routing and Starlette's."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.requests import body_of
from serving.metrics.metrics import refused
from serving.refusals import Refusal
from serving.routes import Endpoint, endpoint_of

Handler = Callable[[Request], Awaitable[Response]]


class ShortCut:
    """ASGI middleware that answers some paths itself: the way there costs as much as a small model's inference.

    Args:
        app: what answers all others.
        application: the application of the requests, with its state.
        answers: the function that answers each of the endpoints that are answered here.
    """

    def __init__(self, app: ASGIApp, application: Starlette, answers: Mapping[Endpoint, Handler]) -> None:
        self.app = app
        self.application = application
        self.answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        endpoint = endpoint_of(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        answer = self.answers.get(endpoint) if endpoint else None
        if endpoint is None or answer is None:
            await self.app(scope, receive, send)
            return
        scope.update(app=self.application, path_params=endpoint.parameters(scope["path"]))
        await (await _answered(answer, WholeRequest(scope, receive)))(scope, receive, send)


class WholeRequest(Request):
    """A request whose body comes in one piece, as ``TakeTurns`` passes it on."""

    async def body(self) -> bytes:
        """Return the body; it can be read once."""
        content: bytes = (await self.receive())["body"]
        return content


def past_bentoml(
    app: ASGIApp, middlewares: Sequence[tuple[Callable[..., ASGIApp], Mapping[str, Any]]], takes: Callable[[str], bool]
) -> ASGIApp:
    """Return BentoML's application with a way past its own middleware to what ``ShortCut`` answers.

    That middleware makes a task and a timer for each request, and keeps both until its own timeout. ``Deadline`` is
    among ``middlewares``, so that no request waits longer without it.

    Args:
        app: BentoML's application.
        middlewares: what was added to the service, with the arguments, from the outermost to ``ShortCut``.
        takes: returns for a path whether ``ShortCut`` answers its POST requests.
    """
    short = app
    for middleware, options in reversed(middlewares):
        short = middleware(short, **options)

    async def forked(scope: Scope, receive: Receive, send: Send) -> None:
        taken = scope["type"] == "http" and scope["method"] == "POST" and takes(scope["path"])
        await (short if taken else app)(scope, receive, send)

    return forked


async def predict(request: Request) -> Response:
    """Answer ``/predict`` as the endpoint does that BentoML calls."""
    answer: Response = await request.app.state.answer(await body_of(request))
    return answer


async def _answered(answer: Handler, request: Request) -> Response:
    """Return the answer, or the refusal as one."""
    try:
        return await answer(request)
    except Refusal as refusal:
        return refused(refusal)
