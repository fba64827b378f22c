"""Refusals: requests that are answered with a reason instead of a prediction."""

import json
from collections.abc import Collection
from typing import Any, Literal

from starlette.responses import JSONResponse

from clustnet.bundles.preparation import Reason as ImageReason
from clustnet.errors import UserError
from serving.headers import ALLOW, RETRY_AFTER

# How long a client should wait before it repeats a request that was refused under overload.
RETRY_SECONDS = 1
# How much of a client's own text an answer repeats.
MAX_QUOTE_CHARACTERS = 40
# How much of a client's method an answer repeats.
MAX_METHOD_CHARACTERS = 20

ERRORS = {
    400: "The request is not HTTP, or its body is neither JSON nor a form.",
    408: "The request took too long to arrive.",
    413: "The body is too large.",
    415: "The body has an unsupported content type.",
    422: "The content is wrong; the reason names the image and the fault.",
    431: "The headers are too large.",
    500: "The service has failed; its log says why.",
    503: "The service is not ready or is stopping, or too many requests are waiting; Retry-After says "
    "when to try again.",
    504: "The service took too long.",
}

Reason = (
    ImageReason
    | Literal[
        "body_too_large",
        "body_too_slow",
        "content_type",
        "content_encoding",
        "malformed_json",
        "malformed_form",
        "wrong_keys",
        "wrong_count",
        "wrong_shape",
        "wrong_value",
        "wrong_datatype",
        "wrong_bytes",
        "unknown_model",
        "unknown_example",
        "bad_bundle",
        "not_ready",
        "overloaded",
        "no_key",
        "unknown_key",
        "wrong_scope",
        "no_keys_set",
        "feedback_off",
        "feedback_given",
        "feedback_full",
        "feedback_failed",
        "unknown_request",
        "unknown_path",
        "wrong_method",
        "wrong_headers",
        "too_slow",
        "failed",
    ]
)


class Refusal(UserError):  # noqa: N818 - not a fault of this program
    """A request that gets no prediction.

    Args:
        status: the HTTP status.
        reason: a short word for the metrics, one of a closed set.
        message: a sentence for the client: what was wrong, what was expected, how to fix it.
        headers: the headers that the status needs, such as ``Retry-After``.
    """

    def __init__(self, status: int, reason: Reason, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason: Reason = reason
        self.headers = headers

    def response(self) -> JSONResponse:
        """Return the answer, ``{"error": message}`` with the status."""
        return JSONResponse({"error": str(self)}, self.status, self.headers)


def overloaded(why: str) -> Refusal:
    """Return the refusal of a request beyond the limit."""
    return Refusal(503, "overloaded", f"{why}; try again in {RETRY_SECONDS} second.", {RETRY_AFTER: str(RETRY_SECONDS)})


def too_large(max_bytes: int) -> Refusal:
    """Return the refusal of a body over the limit."""
    return Refusal(413, "body_too_large", f"The body is over {max_bytes} bytes; send fewer images in one request.")


def quote(value: Any) -> str:
    """Return a value from a client in a few ASCII characters."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str):
        return ascii(value[:MAX_QUOTE_CHARACTERS]) + ("..." if len(value) > MAX_QUOTE_CHARACTERS else "")
    text = json.dumps(value)
    return text if len(text) <= MAX_QUOTE_CHARACTERS else f"{text[:MAX_QUOTE_CHARACTERS]}..."


def unknown_path(path: str) -> Refusal:
    """Return the refusal of a path that the service does not have."""
    return Refusal(404, "unknown_path", f"{quote(path)} is not a path of this service; see /docs.json.")


def wrong_method(path: str, method: str, allowed: Collection[str]) -> Refusal:
    """Return the refusal of a method that a path does not take."""
    names = ", ".join(sorted(allowed))
    message = f"{quote(path)} does not take {method[:MAX_METHOD_CHARACTERS]}; it takes {names}."
    return Refusal(405, "wrong_method", message, {ALLOW: names})
