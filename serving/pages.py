"""The pages beside the predictions: ``/metrics``, ``/docs.json`` and the way to it from ``/``."""

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from serving.metrics import exposition


def show_metrics(_: Request) -> Response:
    """Answer the metrics of all workers."""
    return Response(exposition(), media_type=CONTENT_TYPE_LATEST)


def show_document(request: Request) -> Response:
    """Answer the OpenAPI document, which the service stores once it knows its bundle."""
    return JSONResponse(request.app.state.document)


def show_start(_: Request) -> Response:
    """Lead to the document; BentoML's own page here loads a tracker from another host."""
    return RedirectResponse("docs.json", status_code=307)


pages = Starlette(routes=[Route("/", show_start), Route("/metrics", show_metrics), Route("/docs.json", show_document)])
