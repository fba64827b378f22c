"""Refusals: requests that are answered with a reason instead of a prediction."""

from typing import Literal

from starlette.responses import JSONResponse

from clustnet.bundles.preparation import Reason as ImageReason
from clustnet.errors import UserError

RETRY_SECONDS = 1  # after which a client may ask again that was refused under overload

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
        "too_slow",
        "failed",
    ]
)


class Refusal(UserError):  # noqa: N818 - not a fault of this program
    """A request that gets no prediction.

    Args:
        status: the HTTP status.
        reason: a short word for the metrics, one of a closed set.
        message: a sentence for the client: what was wrong, what was expected, how to mend it.
        headers: what the status asks for, such as ``Retry-After``.
    """

    def __init__(self, status: int, reason: Reason, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason: Reason = reason
        self.headers = headers

    def response(self) -> JSONResponse:
        """Return the answer, ``{"error": message}`` with the status."""
        return JSONResponse({"error": str(self)}, self.status, self.headers)


def again(why: str) -> str:
    """Return what a client is told under overload."""
    return f"{why}; ask again in {RETRY_SECONDS} second."


def overloaded(why: str) -> Refusal:
    """Return the refusal of a request that is one too many."""
    return Refusal(503, "overloaded", again(why), {"Retry-After": str(RETRY_SECONDS)})
