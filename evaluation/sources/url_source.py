"""Answers from a running service, over HTTP."""

import time
from collections.abc import Collection, Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Annotated, Any

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from clustnet.bundles.answers import Answers, Model
from clustnet.bundles.groups import WHOLE, CoarseGrouping
from clustnet.errors import UserError
from evaluation.sources.coarse_option import grouping_from_labels

API_KEY_VARIABLE = "CLUSTNET_API_KEY"  # never an argument: those are seen in the list of processes
BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
RETRIES = 5
LONGEST_WAIT = 60.0  # seconds between two tries, whatever the service asks for
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
LOCKED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
LONGEST_REASON = 300  # characters of an error page that are worth showing

Probability = Annotated[float, Field(allow_inf_nan=False)]


class _Label(BaseModel):
    label: str
    probability: Probability


class _Prediction(BaseModel):
    binary: _Label | None  # None without coarse labels
    routing: Annotated[list[Probability], Field(min_length=1)]
    guess: _Label
    class_probabilities: Annotated[list[Probability], Field(min_length=1)]
    confidence: Probability
    abstain: bool


class _ModelName(BaseModel):
    name: str
    version: str


class _Answer(BaseModel):
    model: _ModelName
    predictions: list[_Prediction]


class UrlSource:
    """A running service that answers images by ``POST /predict``.

    Args:
        url: the service's root, for example ``http://127.0.0.1:3000``.
        classes: the names of the data's fine classes, in the order of their indices.
        key: the API key, empty for none.

    Raises:
        UserError: not an HTTP address, or not a key.
    """

    def __init__(self, url: str, classes: Sequence[str], key: str = "") -> None:
        self._url = url.rstrip("/")
        self._classes = tuple(classes)
        if not self._url.startswith(("http://", "https://")):
            raise UserError(f"The address {url!r} must begin with http:// or https://.")
        if not (key.isascii() and key.isprintable()):
            raise UserError(f"{API_KEY_VARIABLE} holds more than an API key; set it to what 'clustnet key' has shown.")
        self._client = httpx.Client(timeout=TIMEOUT, headers={"X-API-Key": key} if key else {})

    def close(self) -> None:
        """Close the connections to the service."""
        self._client.close()

    def answer(self, images: NDArray[np.uint8]) -> Answers:
        """Answer N images in one request: uint8 [N, H, W] or [N, H, W, 3].

        Raises:
            UserError: the service cannot be reached, refuses, or does not answer as this release expects.
        """
        response = self._post({"images": images.tolist()})
        if response.status_code != HTTPStatus.OK:
            raise UserError(f"The service at {self._url} {_refusal(response)}{_key_hint(response.status_code)}")
        try:
            answer = _Answer.model_validate_json(response.content)
            answers = _arrays(answer, len(images))
        except ValueError as error:
            raise UserError(
                f"The service at {self._url} does not answer POST /predict as this release expects "
                f"({_first_line(error)}); check --url and the service's version."
            ) from None
        self._check_classes(answers, [prediction.guess.label for prediction in answer.predictions])
        return answers

    def grouping(self, seen: Collection[str]) -> CoarseGrouping:
        """Return the coarse grouping that the answered labels tell by their form ``FIRST-LAST``.

        Raises:
            UserError: they do not.
        """
        return grouping_from_labels(seen, len(self._classes))

    def description(self) -> dict[str, Any]:
        """Return the service's address."""
        return {"url": self._url}

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        """Post to /predict; a service that is busy is asked again, no sooner than it says."""
        for retry in range(RETRIES + 1):
            response = self._request(body)
            if response.status_code not in BUSY or retry == RETRIES:
                break
            time.sleep(_wait(response.headers.get("Retry-After"), retry))
        return response

    def _request(self, body: dict[str, Any]) -> httpx.Response:
        try:
            return self._client.post(f"{self._url}/predict", json=body)
        except httpx.TimeoutException:
            raise UserError(
                f"The service at {self._url} did not answer in time; see whether it is overloaded."
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UserError(
                f"The service at {self._url} cannot be reached ({error}); start it with 'make serve' or check --url."
            ) from None

    def _check_classes(self, answers: Answers, labels: list[str]) -> None:
        """Check that the service has the data's classes, in the same order."""
        if answers.class_probability.shape[1] != len(self._classes):
            raise UserError(
                f"The service at {self._url} has {answers.class_probability.shape[1]} classes, but the data has "
                f"{len(self._classes)}; name the data that its model was trained for."
            )
        for best, label in zip(answers.guess, labels, strict=True):
            if self._classes[best] != label:
                raise UserError(
                    f"The service at {self._url} guesses {label!r} where the data's class is "
                    f"{self._classes[best]!r}; name the data that its model was trained for."
                )


def _arrays(answer: _Answer, images: int) -> Answers:
    """Turn an answer into arrays.

    They are float32, as the model computes, so that none is altered however a service writes its floats.
    """
    found = answer.predictions
    if len(found) != images:
        raise ValueError(f"{len(found)} predictions for {images} images")
    if len({prediction.binary is None for prediction in found}) > 1:
        raise ValueError("binary is null for some images alone")
    return Answers(
        Model(answer.model.name, answer.model.version),
        _matrix([prediction.routing for prediction in found]),
        np.array([prediction.binary.label if prediction.binary else WHOLE for prediction in found]),
        np.array([prediction.binary.probability if prediction.binary else 1.0 for prediction in found], np.float32),
        _matrix([prediction.class_probabilities for prediction in found]),
        np.array([prediction.confidence for prediction in found], np.float32),
        np.array([prediction.abstain for prediction in found]),
    )


def _matrix(rows: list[list[float]]) -> NDArray[np.float32]:
    if len({len(row) for row in rows}) != 1:
        raise ValueError("rows of different lengths")
    return np.array(rows, np.float32)


def _wait(retry_after: str | None, retry: int) -> float:
    """Return how many seconds to wait: what the service asks for, else twice as long each time."""
    if retry_after is None:
        return 0.5 * 2.0**retry
    asked = float(retry_after) if retry_after.isdecimal() else _seconds_until(retry_after)
    return min(max(asked, 0.0), LONGEST_WAIT)


def _seconds_until(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return 1.0


def _refusal(response: httpx.Response) -> str:
    """Say what a service answered instead of predictions, with its own sentence."""
    status = f"{response.status_code} {response.reason_phrase}".strip()
    try:
        body = response.json()
    except ValueError:
        body = response.text
    reason = str(body.get("error", body) if isinstance(body, dict) else body).strip()
    if reason in ("", response.reason_phrase) or reason.startswith("<"):  # a page that says no more
        return f"answered POST /predict with {status}; check --url and the service's log."
    return f"answered POST /predict with {status}: {reason[:LONGEST_REASON]}"


def _key_hint(status: int) -> str:
    hint = f" (set the environment variable {API_KEY_VARIABLE} to a key with the scope 'predict')"
    return hint if status in LOCKED else ""


def _first_line(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False, include_context=False)[0]
        return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ")
    return str(error)
