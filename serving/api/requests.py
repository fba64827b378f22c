"""What the service reads, as BentoML describes it to its clients.

BentoML's own parsing is bypassed: its fields reshape and coerce in silence, answer 500 to a file that
is no image, and fetch a URL that a client sends in a file's place.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import bentoml
import numpy as np
from starlette.datastructures import QueryParams
from starlette.requests import Request

from serving.middleware.request_log import ID_NAME


async def stays() -> bool:
    """Tell of a client that it has not gone away."""
    return False


@dataclass(frozen=True)
class Body:
    """An unread request body, its Content-Type, empty without one, and the model and version that the query names.

    ``request_id`` is what the answer calls the request, empty where nobody gave it an id; ``gone`` tells whether its
    client has gone away.
    """

    content_type: str
    content: bytes
    model: str | None = None
    version: str | None = None
    request_id: str = ""
    gone: Callable[[], Awaitable[bool]] = stays


def choice_of(query: QueryParams) -> tuple[str | None, str | None]:
    """Return the model and the version of ``?model=NAME&version=V``, None for what is not there or empty."""
    return query.get("model") or None, query.get("version") or None


async def body_of(request: Request) -> Body:
    """Return the body and what is said of it; the endpoint reads it."""
    choice, request_id = choice_of(request.query_params), request.scope.get(ID_NAME, "")
    return Body(
        request.headers.get("content-type", ""), await request.body(), *choice, request_id, request.is_disconnected
    )


class Unread(bentoml.IODescriptor):  # type: ignore[misc] # BentoML loads it lazily, so untyped
    """Base of inputs whose one field BentoML's clients see, and whose value is the request's ``Body``."""

    @classmethod
    async def from_http_request(cls, request: Request, _serde: Any) -> Self:
        """Hand the body on as it came."""
        request_input: Self = cls.model_construct(**dict.fromkeys(cls.model_fields, await body_of(request)))
        return request_input


class PredictInput(Unread):
    """The body of ``/predict``; as an array, so that BentoML's client takes arrays and lists."""

    images: np.ndarray[Any, np.dtype[np.float64]]  # not NDArray, which numpy 2.5 made an alias that BentoML cannot read


class PredictImageInput(Unread):
    """The body of ``/predict_image``; as a path, so that BentoML's client uploads the file."""

    image: Path
