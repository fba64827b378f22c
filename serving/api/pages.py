"""The answers to a browser or a scraper: the page at ``/``, ``/model.json``, ``/metrics`` and ``/docs.json``."""

from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.requests import choice_of
from serving.headers import RANGE, field_name
from serving.metrics.metrics import exposition
from serving.middleware.paths import explain, refuse
from serving.refusals import Refusal
from serving.routes import DOCUMENT, METRICS, MODEL_CARD, PAGE, STATIC_FOLDER

STATIC = Path(__file__).resolve().parents[1] / "static"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # A browser checks whether a file has changed, so that no page mixes two releases.
    "Cache-Control": "no-cache",
}


class SafeHeaders:
    """ASGI middleware that adds ``HEADERS``: a page loads nothing from elsewhere and runs nothing written into it.

    Files are always answered whole.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        # Files are too small to be sent in ranges, and Starlette refuses wrong ranges without a sentence.
        scope["headers"] = [field for field in scope.get("headers", ()) if field[0] != field_name(RANGE)]

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, adding)


def show_page(_: Request) -> Response:
    """Answer the page; BentoML's own page here loads a tracker from another host."""
    return FileResponse(STATIC / "index.html")


def show_model(request: Request) -> Response:
    """Answer a model's card: the one that the query names, or else the default model's."""
    return JSONResponse(request.app.state.models.now.find(*choice_of(request.query_params)).card)


def show_metrics(request: Request) -> Response:
    """Answer the metrics of all workers."""
    models = [model.info() for model in request.app.state.models.now.all()]
    return Response(exposition(models), media_type=CONTENT_TYPE_LATEST)


def show_document(request: Request) -> Response:
    """Answer the OpenAPI document, which the service stores whenever its models change."""
    return JSONResponse(request.app.state.document)


pages = Starlette(
    routes=[
        Route(PAGE.path, show_page),
        Route(MODEL_CARD.path, show_model),
        Route(METRICS.path, show_metrics),
        Route(DOCUMENT.path, show_document),
        Mount(STATIC_FOLDER, StaticFiles(directory=STATIC)),
    ],
    middleware=[Middleware(SafeHeaders)],
    exception_handlers={HTTPException: explain, Refusal: refuse},  # type: ignore[dict-item]
)
# A redirect would repeat the host that the client named.
pages.router.redirect_slashes = False
