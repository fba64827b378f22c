"""Paths and methods: what the service does not have is refused with a sentence, before its body is read."""

from collections.abc import Collection
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.headers import ALLOW
from serving.metrics.metrics import refused
from serving.refusals import Refusal, quote
from serving.routes import GET, endpoint_of

# Of a client's method that an answer repeats.
MAX_METHOD_CHARACTERS = 20


class KnownPaths:
    """ASGI middleware that passes on what the service answers; BentoML would say no more than ``Not Found``.

    Args:
        app: the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refused(refusal) if refusal else self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        path, method = scope["path"], scope["method"]
        endpoint = endpoint_of(path)
        if endpoint is None:
            return unknown_path(path)
        return None if method in endpoint.methods else wrong_method(path, method, endpoint.methods)


async def explain(request: Request, error: HTTPException) -> Response:
    """Answer what a mounted application does not have, such as a file; files take the methods of pages."""
    path, allowed = request.scope["path"], (error.headers or {}).get(ALLOW, ", ".join(GET))
    known = error.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    return refused(wrong_method(path, request.method, allowed.split(", ")) if known else unknown_path(path))


async def refuse(_: Request, refusal: Refusal) -> Response:
    """Answer a ``Refusal`` with its reason, in a mounted application."""
    return refused(refusal)


def unknown_path(path: str) -> Refusal:
    """Return the refusal of a path that the service does not have."""
    return Refusal(404, "unknown_path", f"{quote(path)} is none of this service's paths; see /docs.json.")


def wrong_method(path: str, method: str, allowed: Collection[str]) -> Refusal:
    """Return the refusal of a method that a path does not take."""
    names = ", ".join(sorted(allowed))
    message = f"{quote(path)} does not take {method[:MAX_METHOD_CHARACTERS]}; it takes {names}."
    return Refusal(405, "wrong_method", message, {ALLOW: names})
