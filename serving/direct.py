"""``/predict`` without BentoML's way to an endpoint, which costs a request of one image as much as its inference."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.requests import body_of
from serving.responses import fail

PATH = "/predict"


async def predict(request: Request) -> Response:
    """Answer as the endpoint that BentoML knows, by the same method."""
    answer = await request.app.state.answer(await body_of(request))
    if isinstance(answer, Response):
        return answer
    return Response(answer.model_dump_json(), media_type="application/json")


# It answers once its ``state.answer`` is ``ClustNet.answer``.
direct = Starlette(routes=[Route(PATH, predict, methods=["POST"])], exception_handlers={Exception: fail})
