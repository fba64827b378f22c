"""The answers to a browser, a scraper or a probe: the page at ``/``, the model's card, the metrics and the health."""

from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from clustnet.pages.served import PAGE_HEADERS, SHARED_FILES
from serving.api.state import asked_model, state_of
from serving.headers import RANGE, field_name
from serving.metrics.metrics import DEFERRED, exposition
from serving.refusals import Refusal, quote, unknown_path
from serving.routes import MODEL_CARD

STATIC = Path(__file__).resolve().parents[1] / "static"
FILES = StaticFiles(directory=STATIC, packages=[SHARED_FILES])
SAFE = PAGE_HEADERS | {
    # A browser checks whether a file has changed, so that no page mixes two releases.
    "Cache-Control": "no-cache",
}


async def show_page(request: Request) -> Response:
    """Answer with the page."""
    return await _file(request, "index.html")


async def show_file(request: Request) -> Response:
    """Answer with a file of the page."""
    return await _file(request, request.path_params["file"])


async def show_model(request: Request) -> Response:
    """Answer with the card of the model that the query names, or else of the default model."""
    return JSONResponse(asked_model(request).card | {"feedback": state_of(request).feedback is not None}, headers=SAFE)


async def show_example(request: Request) -> Response:
    """Answer with a typical training image of a subtype; subtypes and their images are counted from 0."""
    model = asked_model(request)
    image = model.examples.get(request.scope["path"].removeprefix("/"))
    if image is None:
        message = f"The model '{model.manifest.name}' has no example {quote(request.scope['path'])}"
        raise Refusal(404, "unknown_example", f"{message}; {MODEL_CARD.path} says how many examples each subtype has.")
    return Response(image, media_type="image/jpeg", headers=SAFE)


async def show_metrics(request: Request) -> Response:
    """Answer with the metrics of all workers."""
    state = state_of(request)
    DEFERRED.flush()
    state.watch.show()
    models = [model.info() for model in state.models.now.all()]
    return Response(exposition(models), media_type=CONTENT_TYPE_LATEST, headers=SAFE)


async def show_document(request: Request) -> Response:
    """Answer with the OpenAPI document."""
    return JSONResponse(state_of(request).document, headers=SAFE)


async def show_health(_: Request) -> Response:
    """Answer that the process is alive."""
    return PlainTextResponse("\n")


async def show_readiness(request: Request) -> Response:
    """Answer whether the service is ready."""
    fault = state_of(request).models.now.fault()
    if fault:
        raise Refusal(503, "not_ready", fault)
    return PlainTextResponse("\n")


async def _file(request: Request, name: str) -> Response:
    # Files are too small to be sent in ranges, and Starlette refuses wrong ranges without saying why.
    request.scope["headers"] = [field for field in request.scope["headers"] if field[0] != field_name(RANGE)]
    try:
        answer = await FILES.get_response(name, request.scope)
    except HTTPException:
        raise unknown_path(request.url.path) from None
    answer.headers.update(SAFE)
    return answer
