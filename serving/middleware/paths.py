"""Paths and methods: whatever is none of the service's is refused with a sentence, before its body is read."""

from collections.abc import Collection, Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.inputs import quote
from serving.metrics.metrics import refused
from serving.refusals import Refusal

GET = ("GET", "HEAD")
POST = ("POST",)
LONGEST_METHOD = 20  # characters that an answer repeats


class KnownPaths:
    """ASGI middleware that hands on what the service answers; BentoML would say no more than ``Not Found``.

    Args:
        app: the application.
        methods: the methods that each path takes.
        mounts: the starts of all paths below, each with a slash at its end, that answer for themselves.
    """

    def __init__(self, app: ASGIApp, methods: Mapping[str, Collection[str]], mounts: tuple[str, ...]) -> None:
        self.app = app
        self.methods = methods
        self.mounts = mounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refused(refusal) if refusal else self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        path, method = scope["path"], scope["method"]
        if path in self.methods:
            allowed = self.methods[path]
            return None if method in allowed else wrong_method(path, method, allowed)
        below = path.startswith(self.mounts) and "\n" not in path  # which no pattern of Starlette's matches
        return None if below else unknown_path(path)


async def explain(request: Request, error: HTTPException) -> Response:
    """Answer what an application that is mounted does not know; its files take no other methods than pages do."""
    path, allowed = request.scope["path"], (error.headers or {}).get("Allow", ", ".join(GET))
    known = error.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    return refused(wrong_method(path, request.method, allowed.split(", ")) if known else unknown_path(path))


async def refuse(_: Request, refusal: Refusal) -> Response:
    """Answer a ``Refusal`` with its reason, in an application that is mounted."""
    return refused(refusal)


def unknown_path(path: str) -> Refusal:
    """Return the refusal of a path that is none of the service's."""
    return Refusal(404, "unknown_path", f"{quote(path)} is none of this service's paths; see /docs.json.")


def wrong_method(path: str, method: str, allowed: Collection[str]) -> Refusal:
    """Return the refusal of a method that a path does not take."""
    names = ", ".join(sorted(allowed))
    message = f"{quote(path)} does not take {method[:LONGEST_METHOD]}; it takes {names}."
    return Refusal(405, "wrong_method", message, {"Allow": names})
