"""``POST /feedback``: reads the true class of an image that was answered."""

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from serving.api.compression import decompress
from serving.api.feedback_store import FeedbackRequest
from serving.api.inputs import check_json, without_mark
from serving.api.responses import as_json
from serving.api.state import state_of
from serving.headers import CONTENT_ENCODING, CONTENT_TYPE, kept_id
from serving.refusals import Refusal, quote

MAX_FEEDBACK_BYTES = 4096
HOW = 'send {"request_id": "...", "label": "..."}, and "index" where the request had several images'


async def give_feedback(request: Request) -> Response:
    """Answer ``POST /feedback``."""
    state = state_of(request)
    if state.feedback is None:
        raise Refusal(404, "feedback_off", "This service takes no feedback; its operator can set CLUSTNET_FEEDBACK.")
    body = await state.gate.body(request, state.settings.max_body_bytes)
    content = decompress(body, request.headers.get(CONTENT_ENCODING, ""), MAX_FEEDBACK_BYTES)
    given = _read(request.headers.get(CONTENT_TYPE, ""), content)
    return as_json(await state.feedback.give(given, kept_id(request.scope, given.request_id)))


def _read(content_type: str, content: bytes) -> FeedbackRequest:
    check_json(content_type)
    if len(content) > MAX_FEEDBACK_BYTES:
        raise Refusal(413, "body_too_large", f"The body is over {MAX_FEEDBACK_BYTES} bytes; {HOW}.")
    try:
        return FeedbackRequest.model_validate_json(without_mark(content))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        if fault["type"] == "json_invalid":
            raise Refusal(400, "malformed_json", f"The body is not JSON; {HOW}.") from None
        place = quote(".".join(map(str, fault["loc"])) or "the body")
        no_id = fault["type"] == "string_pattern_mismatch"
        reason = "it must be 1 to 128 letters, digits or ._:+/=-" if no_id else fault["msg"].lower()
        raise Refusal(422, "wrong_value", f"{place}: {reason}; {HOW}.") from None
