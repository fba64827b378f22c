"""The service's inputs, as BentoML describes them to its clients.

BentoML's own parsing is bypassed: its fields reshape and coerce silently, answer 500 to a file that is no image, and
fetch a URL that a client sends in a file's place.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import bentoml
import numpy as np
from starlette.datastructures import QueryParams
from starlette.requests import Request

from serving.api.compression import decompress
from serving.headers import CONTENT_ENCODING, CONTENT_TYPE, ID_NAME, kept_id


async def never_gone() -> bool:
    """Return that the client has not gone away."""
    return False


@dataclass(frozen=True)
class Body:
    """A request body that is not parsed yet.

    Args:
        content_type: its Content-Type, empty without one.
        content: its bytes.
        encoding: its Content-Encoding, empty without one.
        model: the model that the query names, None for the default one.
        version: the version that the query names, None for the newest one.
        kept_id: the name under which its answer is kept for feedback, empty without one.
        gone: returns whether the client has gone away.
    """

    content_type: str
    content: bytes
    encoding: str = ""
    model: str | None = None
    version: str | None = None
    kept_id: str = ""
    gone: Callable[[], Awaitable[bool]] = never_gone

    def plain(self, max_bytes: int) -> bytes:
        """Return the bytes without their encoding.

        Raises:
            Refusal: they cannot be unpacked, or to more than ``max_bytes``.
        """
        return decompress(self.content, self.encoding, max_bytes)


def choice_of(query: QueryParams) -> tuple[str | None, str | None]:
    """Return the model and the version of ``?model=NAME&version=V``, None for what is not there or empty."""
    return query.get("model") or None, query.get("version") or None


async def body_of(request: Request) -> Body:
    """Return the body of a request with what its headers and query say of it; the endpoint parses it."""
    fields = request.headers
    return Body(
        fields.get(CONTENT_TYPE, ""),
        await request.body(),
        fields.get(CONTENT_ENCODING, ""),
        *choice_of(request.query_params),
        kept_id(request.scope, request.scope.get(ID_NAME, "")),
        request.is_disconnected,
    )


class RawInput(bentoml.IODescriptor):  # type: ignore[misc] # BentoML loads it lazily, so untyped
    """Base of inputs whose one field BentoML's clients see, and whose value is the request's ``Body``, not parsed."""

    @classmethod
    async def from_http_request(cls, request: Request, _serde: Any) -> Self:
        """Return the body as it came."""
        request_input: Self = cls.model_construct(**dict.fromkeys(cls.model_fields, await body_of(request)))
        return request_input


class PredictInput(RawInput):
    """The body of ``/predict``; as an array, so that BentoML's client takes arrays and lists."""

    # Not NDArray, which numpy 2.5 made an alias that BentoML cannot read.
    images: np.ndarray[Any, np.dtype[np.float64]]


class PredictImageInput(RawInput):
    """The body of ``/predict_image``; as a path, so that BentoML's client uploads the file."""

    image: Path
