"""The store of feedback: the true class of an answered image, by the request id of the answer."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar, TypeVarTuple, Unpack

from anyio import CapacityLimiter, to_thread
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict, Field

from clustnet.bundles.bundle import Manifest
from clustnet.bundles.predictor import Predictions
from clustnet.errors import UserError
from clustnet.feedback.feedback_file import Answer, Feedback, FeedbackFile, FileFullError, Labels
from serving.api.recent_answers import RecentAnswers
from serving.api.responses import AnsweringModel
from serving.headers import REQUEST_ID, REQUEST_ID_PATTERN
from serving.metrics.deferred import WAIT_SECONDS
from serving.refusals import Refusal, quote
from serving.settings import Settings

MAX_LISTED_CLASSES = 100
# The largest integer that SQLite stores.
LARGEST_INTEGER = 2**63 - 1

GIVEN = Counter(
    "clustnet_feedback",
    "Images with feedback on their true class, by whether the guess was right.",
    ["model", "version", "correct"],
)

A = TypeVarTuple("A")
R = TypeVar("R")

logger = logging.getLogger("bentoml.clustnet")


class FeedbackRequest(BaseModel):
    """The true class of an image: of the request's only one, or of the one at ``index``, from 0."""

    model_config = ConfigDict(extra="forbid", strict=True)

    request_id: Annotated[str, Field(pattern=f"^{REQUEST_ID_PATTERN.pattern}$")]
    label: str
    index: Annotated[int, Field(ge=0, le=LARGEST_INTEGER)] | None = None


class FeedbackResponse(BaseModel):
    """What is kept: the true class, and the model's guess."""

    request_id: str
    index: int
    model: AnsweringModel
    label: str
    guess: str
    correct: bool


class FeedbackStore:
    """The feedback of a service and the answers on which feedback can be given; it exists only if a path is set.

    Args:
        path: the feedback file; the file of the answers is beside it.
        settings: hold the limits on feedback and answers, and the number of workers.

    Raises:
        UserError: a file is of another kind, or cannot be written.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        # Opened first, so that a file of another kind gets no second file beside it.
        self.file = FeedbackFile(path, settings.feedback_rows)
        self.answers = RecentAnswers(path.with_name(f"{path.name}.answers"), settings.feedback_answers)
        self._alone = settings.workers == 1
        # The thread that waits for the disk, beside the one that computes.
        self._thread = CapacityLimiter(1)

    def announce(self, manifest: Manifest) -> None:
        """Start a model's counters at zero, so that rates are right from the first feedback."""
        for correct in ("true", "false"):
            GIVEN.labels(manifest.name, manifest.version, correct)

    def keep(self, name: str, outputs: Predictions, manifest: Manifest) -> None:
        """Keep the answer of a request under its ``kept_id`` for later feedback, without waiting for the disk."""
        self.answers.keep(name, outputs, manifest)

    async def run(self) -> None:
        """Write the kept answers to the disk several times a second, as long as the event loop runs."""
        while True:
            await asyncio.sleep(WAIT_SECONDS)
            await to_thread.run_sync(self.answers.write, limiter=self._thread)

    def close(self) -> None:
        """Close the files."""
        self.answers.close()
        self.file.close()

    async def give(self, given: FeedbackRequest, name: str) -> FeedbackResponse:
        """Keep feedback permanently and return what is kept.

        Giving the same label again gets the same answer, so that a client may repeat a request that got none.

        Args:
            given: the feedback.
            name: the ``kept_id`` of the answer that the feedback is about.

        Raises:
            Refusal: 404, 409, 422, 503 or 507, with the reason.
        """
        named = given.model_copy(update={"request_id": name})
        answer = await self._in_thread(self._give, named)
        # Another worker may have answered the request just now.
        if answer is None and not self._alone:
            await asyncio.sleep(2 * WAIT_SECONDS)
            answer = await self._in_thread(self._give, named)
        if answer is None:
            message = f"No answer with the request id {quote(given.request_id)} is known, or it is no longer kept"
            message += (
                f"; feedback is taken on the last {self.answers.max_images} images, by the answer's {REQUEST_ID}."
            )
            raise Refusal(404, "unknown_request", message)
        return answer.model_copy(update={"request_id": given.request_id})

    def _give(self, given: FeedbackRequest) -> FeedbackResponse | None:
        """Keep feedback; return None where the request is unknown."""
        answered = self.answers.find(given.request_id)
        if answered is None:
            # The answer has been forgotten; the feedback on it has not.
            before = self.file.find(given.request_id, given.index or 0)
            return before and _as_before(*before, given.label)
        labels, answers = answered
        index = _index(given.index, len(answers))
        _check_label(given.label, labels)
        before = self.file.find(given.request_id, index)
        return _as_before(*before, given.label) if before else self._add(given, index, labels, answers[index])

    def _add(self, given: FeedbackRequest, index: int, labels: Labels, answer: Answer) -> FeedbackResponse:
        try:
            row = self.file.add(labels, given.request_id, index, answer, given.label)
        except FileFullError as error:
            raise Refusal(507, "feedback_full", str(error)) from None
        except sqlite3.IntegrityError:
            # Another worker was faster.
            before = self.file.find(given.request_id, index)
            if before is None:
                raise
            return _as_before(*before, given.label)
        GIVEN.labels(labels.name, labels.version, str(row.correct).lower()).inc()
        return _response(labels, row)

    async def _in_thread(self, function: Callable[[Unpack[A]], R], *args: *A) -> R:
        """Return the result of a function that waits for the disk; refuse with 503 if the disk fails."""
        try:
            return await to_thread.run_sync(function, *args, limiter=self._thread)
        except Refusal:
            raise
        except (sqlite3.Error, OSError, UserError) as error:
            logger.error("Feedback cannot be kept: %s", error)
            raise Refusal(503, "feedback_failed", "The feedback cannot be kept now; try again later.") from None


def _as_before(labels: Labels, row: Feedback, label: str) -> FeedbackResponse:
    if row.label != label:
        message = f"Image {row.image} of this request already has feedback with another label, which is kept."
        raise Refusal(409, "feedback_given", message)
    return _response(labels, row)


def _index(given: int | None, images: int) -> int:
    if given is None and images > 1:
        raise Refusal(422, "wrong_count", f'The request had {images} images; say which with "index", from 0.')
    if given is not None and given >= images:
        raise Refusal(422, "wrong_count", f"index: {quote(given)}, but the request had {images}; count from 0.")
    return given or 0


def _check_label(label: str, labels: Labels) -> None:
    if label not in labels.classes:
        known = ", ".join(map(repr, labels.classes[:MAX_LISTED_CLASSES])) + (
            ", ..." * (len(labels.classes) > MAX_LISTED_CLASSES)
        )
        raise Refusal(
            422, "wrong_value", f"label: {quote(label)} is not one of the model's classes; send one of {known}."
        )


def _response(labels: Labels, row: Feedback) -> FeedbackResponse:
    return FeedbackResponse(
        request_id=row.request_id,
        index=row.image,
        model=AnsweringModel(name=labels.name, version=labels.version),
        label=row.label,
        guess=row.answer.guess,
        correct=row.correct,
    )
