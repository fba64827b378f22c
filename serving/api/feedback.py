"""``POST /feedback``: what is true of an image that was answered, by the request id of the answer."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar, TypeVarTuple, Unpack

from anyio import CapacityLimiter, to_thread
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from clustnet.bundles.bundle import Manifest
from clustnet.bundles.predictor import Predictions
from clustnet.errors import UserError
from clustnet.feedback.feedback_file import Answer, FeedbackFile, FileFullError, Labels
from clustnet.feedback.feedback_file import Feedback as Row
from serving.api.inputs import check_json, quote
from serving.api.recent_answers import RecentAnswers
from serving.api.responses import Model, as_json
from serving.metrics.deferred import SECONDS
from serving.middleware.request_log import REQUEST_ID, SANE
from serving.refusals import Refusal
from serving.settings import Settings

PATH = "/feedback"
MOST_BYTES = 4096
MOST_NAMED = 100  # classes in a sentence
HOW = 'send {"request_id": "...", "label": "..."}, and "index" where the request had several images'
FILE = CapacityLimiter(1)  # the thread that waits for the disk, beside the one that computes

MODEL = ["model", "version", "correct"]
GIVEN = Counter("clustnet_feedback", "Images whose true class was told, by whether it was guessed.", MODEL)

A = TypeVarTuple("A")
R = TypeVar("R")

logger = logging.getLogger("bentoml.clustnet")


class FeedbackRequest(BaseModel):
    """The true class of an image: of the request's only one, or of the one at ``index``, from 0."""

    model_config = ConfigDict(extra="forbid", strict=True)

    request_id: Annotated[str, Field(pattern=f"^{SANE.pattern}$")]
    label: str
    index: Annotated[int, Field(ge=0)] | None = None


class FeedbackResponse(BaseModel):
    """What is kept: the true class, and what the model had guessed."""

    request_id: str
    index: int
    model: Model
    label: str
    guess: str
    correct: bool


class Feedback:
    """The feedback of a service, and the answers that it can be of; nothing of it is there unless a path is set.

    Args:
        path: the feedback file; the answers are beside it.
        settings: the bounds, and the number of workers.

    Raises:
        UserError: a file is another one, or cannot be written.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.file = FeedbackFile(path, settings.feedback_rows)  # first: what is no such file gets no other beside it
        self.answers = RecentAnswers(path.with_name(f"{path.name}.answers"), settings.feedback_answers)
        self._alone = settings.workers == 1

    def announce(self, manifest: Manifest) -> None:
        """Start a model's counters at zero, so that rates are right from the first feedback."""
        for correct in ("true", "false"):
            GIVEN.labels(manifest.name, manifest.version, correct)

    def keep(self, request_id: str, outputs: Predictions, manifest: Manifest) -> None:
        """Keep the answer of a request, so that feedback can come; this does not wait for the disk."""
        self.answers.keep(request_id, outputs, manifest)

    def close(self) -> None:
        """Close the files."""
        self.answers.close()
        self.file.close()

    async def give(self, asked: FeedbackRequest) -> FeedbackResponse:
        """Keep feedback for good.

        The same label once more is answered as before, so that a client may repeat what it got no answer to.

        Raises:
            Refusal: 404, 409, 422, 503 or 507, with the reason.
        """
        answer = await _in_thread(self._give, asked)
        if answer is None and not self._alone:  # another worker may have answered the request just now
            await asyncio.sleep(2 * SECONDS)
            answer = await _in_thread(self._give, asked)
        if answer is None:
            message = f"No answer with the request id {quote(asked.request_id)} is known, or not any more"
            message += f"; feedback is taken on the last {self.answers.most} images, by the answer's {REQUEST_ID}."
            raise Refusal(404, "unknown_request", message)
        return answer

    def _give(self, asked: FeedbackRequest) -> FeedbackResponse | None:
        """Keep feedback; None where nothing is known of the request."""
        answered = self.answers.find(asked.request_id)
        if answered is None:
            before = self.file.find(asked.request_id, asked.index or 0)  # whose answer is forgotten since
            return before and _as_before(*before, asked.label)
        labels, answers = answered
        index = _index(asked.index, len(answers))
        _check_label(asked.label, labels)
        before = self.file.find(asked.request_id, index)
        return _as_before(*before, asked.label) if before else self._add(asked, index, labels, answers[index])

    def _add(self, asked: FeedbackRequest, index: int, labels: Labels, answer: Answer) -> FeedbackResponse:
        try:
            row = self.file.add(labels, asked.request_id, index, answer, asked.label)
        except FileFullError as error:
            raise Refusal(507, "feedback_full", str(error)) from None
        except sqlite3.IntegrityError:  # another worker was faster
            before = self.file.find(asked.request_id, index)
            if before is None:
                raise
            return _as_before(*before, asked.label)
        GIVEN.labels(labels.name, labels.version, str(row.correct).lower()).inc()
        return _response(labels, row)


async def give_feedback(request: Request) -> Response:
    """Answer ``POST /feedback``."""
    feedback: Feedback | None = request.app.state.feedback
    if feedback is None:
        raise Refusal(404, "feedback_off", "This service takes no feedback; its operator can set CLUSTNET_FEEDBACK.")
    asked = _read(request.headers.get("content-type", ""), await request.body())
    answer = await feedback.give(asked)
    return as_json(answer)


async def _in_thread(function: Callable[[Unpack[A]], R], *args: *A) -> R:
    """Call a function that waits for the disk; where that fails, refuse for the moment."""
    try:
        return await to_thread.run_sync(function, *args, limiter=FILE)
    except Refusal:
        raise
    except (sqlite3.Error, OSError, UserError) as error:
        logger.error("Feedback cannot be kept: %s", error)
        raise Refusal(503, "feedback_failed", "The feedback cannot be kept now; ask again later.") from None


def _read(content_type: str, content: bytes) -> FeedbackRequest:
    check_json(content_type)
    if len(content) > MOST_BYTES:
        raise Refusal(413, "body_too_large", f"The body is over {MOST_BYTES} bytes; {HOW}.")
    try:
        return FeedbackRequest.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        if fault["type"] == "json_invalid":
            raise Refusal(400, "malformed_json", f"The body is not JSON; {HOW}.") from None
        place = quote(".".join(map(str, fault["loc"])) or "the body")
        no_id = fault["type"] == "string_pattern_mismatch"
        reason = "it has to be 1 to 128 letters, digits or ._:+/=-" if no_id else fault["msg"].lower()
        raise Refusal(422, "wrong_value", f"{place}: {reason}; {HOW}.") from None


def _as_before(labels: Labels, row: Row, label: str) -> FeedbackResponse:
    if row.label != label:
        message = f"There is feedback on image {row.image} of this request already, another label; it stays as it is."
        raise Refusal(409, "feedback_given", message)
    return _response(labels, row)


def _index(asked: int | None, images: int) -> int:
    if asked is None and images > 1:
        raise Refusal(422, "wrong_count", f'The request had {images} images; say which with "index", from 0.')
    if asked is not None and asked >= images:
        raise Refusal(422, "wrong_count", f"index: {quote(asked)}, but the request had {images}; count from 0.")
    return asked or 0


def _check_label(label: str, labels: Labels) -> None:
    if label not in labels.classes:
        known = ", ".join(map(repr, labels.classes[:MOST_NAMED])) + (", ..." * (len(labels.classes) > MOST_NAMED))
        raise Refusal(422, "wrong_value", f"label: {quote(label)} is none of the model's classes; send one of {known}.")


def _response(labels: Labels, row: Row) -> FeedbackResponse:
    return FeedbackResponse(
        request_id=row.request_id,
        index=row.image,
        model=Model(name=labels.name, version=labels.version),
        label=row.label,
        guess=row.answer.guess,
        correct=row.correct,
    )
