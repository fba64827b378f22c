"""The pages beside the predictions: ``/metrics`` and ``/docs.json``."""

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.metrics import exposition


def show_metrics(_: Request) -> Response:
    """Answer the metrics of all workers."""
    return Response(exposition(), media_type=CONTENT_TYPE_LATEST)


def show_document(request: Request) -> Response:
    """Answer the OpenAPI document, which the service stores once it knows its bundle."""
    return JSONResponse(request.app.state.document)


pages = Starlette(routes=[Route("/metrics", show_metrics), Route("/docs.json", show_document)])
