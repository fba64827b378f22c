"""Answers from a running service, over HTTP."""

import time
from email.utils import parsedate_to_datetime
from functools import cached_property
from http import HTTPStatus
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from clustnet.bundles.answers import Answers, ModelName
from clustnet.bundles.bundle import InputSpec, Subtype
from clustnet.bundles.groups import CoarseGrouping
from clustnet.errors import UserError
from evaluation.sources.sources import ModelInfo

# The key is never an argument, as arguments are shown in the list of processes.
API_KEY_VARIABLE = "CLUSTNET_API_KEY"
PREDICT, MODEL = "/predict", "/model.json"
BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
RETRIES = 5
# Between two tries, whatever the service says.
MAX_WAIT_SECONDS = 60.0
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
LOCKED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
# What a proxy answers in a service's place.
OF_A_PROXY = (
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
# How much of an error page is worth showing.
MAX_REASON_CHARACTERS = 300

Probability = Annotated[float, Field(allow_inf_nan=False)]


class _Label(BaseModel):
    """A label and its probability."""

    label: str
    probability: Probability


class _Coarse(_Label):
    """The predicted coarse label, and the probability of each."""

    probabilities: list[Probability]


class _Prediction(BaseModel):
    """The answer for one image."""

    coarse: _Coarse
    routing: Annotated[list[Probability], Field(min_length=1)]
    guess: _Label
    class_probabilities: list[Probability]
    confidence: Probability
    abstain: bool


class _Model(BaseModel):
    """The model that answers."""

    name: str
    version: str


class _Answer(BaseModel):
    """The answer of ``POST /predict``."""

    model: _Model
    predictions: list[_Prediction]


class _ClassMap(BaseModel):
    """Where the class map comes from."""

    kind: Literal["references", "cells"]
    data: str
    reference_images: int


class _Card(BaseModel):
    """What is needed of the answer of ``GET /model.json``."""

    name: str
    version: str
    input: InputSpec
    coarse_labels: Annotated[tuple[str, ...], Field(min_length=1)]
    subtypes: Annotated[tuple[Subtype, ...], Field(min_length=1)]
    class_map: _ClassMap


class UrlSource:
    """A running service that answers images by ``POST /predict``.

    Args:
        url: the service's root, for example ``http://127.0.0.1:3000``.
        key: the API key, empty for none.

    Raises:
        UserError: ``url`` is not an HTTP address, or ``key`` not a key.
    """

    def __init__(self, url: str, key: str = "") -> None:
        self._url = url.rstrip("/")
        if not self._url.startswith(("http://", "https://")):
            raise UserError(f"The address {url!r} must begin with http:// or https://.")
        if not (key.isascii() and key.isprintable()):
            raise UserError(
                f"{API_KEY_VARIABLE} holds more than an API key; set it to the key that 'clustnet key' printed."
            )
        self._client = httpx.Client(timeout=TIMEOUT, headers={"X-API-Key": key} if key else {})

    def close(self) -> None:
        """Close the connections to the service."""
        self._client.close()

    @cached_property
    def info(self) -> ModelInfo:
        """What the service says of its model; the first use is a request.

        Raises:
            UserError: the service cannot be reached, refuses, or does not answer as this release expects.
        """
        content = self._content("GET", MODEL)
        try:
            card = _Card.model_validate_json(content)
            names = tuple(subtype.name for subtype in card.subtypes)
            groups = {label: [s.name for s in card.subtypes if s.coarse_label == label] for label in card.coarse_labels}
            grouping = CoarseGrouping.from_mapping(groups, names)
        except ValueError as error:
            raise self._unexpected("GET", MODEL, error) from None
        return ModelInfo(
            model=ModelName(card.name, card.version),
            input=card.input,
            class_names=names,
            grouping=grouping,
            named=any(subtype.named for subtype in card.subtypes),
            class_map=card.class_map.model_dump(),
        )

    def answer(self, images: NDArray[np.uint8]) -> Answers:
        """Answer N images in one request: uint8 [N, H, W] or [N, H, W, 3].

        Raises:
            UserError: the service cannot be reached, refuses, changed its model, or does not answer as this release
                expects.
        """
        info = self.info
        content = self._content("POST", PREDICT, {"images": images.tolist()})
        try:
            answer = _Answer.model_validate_json(content)
            _check_model(ModelName(answer.model.name, answer.model.version), info.model)
            return _arrays(answer.predictions, len(images), info)
        except UserError:
            raise
        except ValueError as error:
            raise self._unexpected("POST", PREDICT, error) from None

    def description(self) -> dict[str, Any]:
        """Return the service's address."""
        return {"url": self._url}

    def _content(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        """Return the content of an answer; a service that is busy gets the request again after ``_wait`` seconds."""
        for retry in range(RETRIES + 1):
            response = self._request(method, path, body)
            if response.status_code not in BUSY or retry == RETRIES:
                break
            time.sleep(_wait(response.headers.get("Retry-After"), retry))
        if response.status_code != HTTPStatus.OK:
            reason = f"{_refusal(method, path, response)}{_key_hint(response.status_code)}"
            through = _proxy(self._url) if response.status_code in OF_A_PROXY else ""
            raise UserError(f"The service at {self._url}{through} {reason}")
        return response.content

    def _request(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        """Return the answer of one request."""
        try:
            return self._client.request(method, f"{self._url}{path}", json=body)
        except httpx.TimeoutException:
            raise UserError(
                f"The service at {self._url} did not answer in time{_proxy(self._url)}; check whether it is overloaded."
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UserError(
                f"The service at {self._url} cannot be reached{_proxy(self._url)} ({error}); start it with "
                "'make serve' or check --url."
            ) from None

    def _unexpected(self, method: str, path: str, error: Exception) -> UserError:
        """Return the error for an answer that this release cannot read."""
        return UserError(
            f"The service at {self._url} does not answer {method} {path} as this release expects "
            f"({_first_line(error)}); check --url and the service's version."
        )


def _check_model(found: ModelName, expected: ModelName) -> None:
    """Raise if the model that answers is not the one that the service described."""
    if found != expected:
        names = f"from {' '.join(expected)} to {' '.join(found)}"
        raise UserError(f"The service changed its model during the evaluation ({names}); evaluate it again.")


def _arrays(found: list[_Prediction], images: int, info: ModelInfo) -> Answers:
    """Return the predictions for so many images as arrays.

    They are float32, as the model computes, so that none is altered however a service writes its floats.

    Raises:
        ValueError: they are not answers of the model for so many images.
    """
    labels, names = info.grouping.labels, info.class_names
    if len(found) != images:
        raise ValueError(f"{len(found)} predictions for {images} images")
    coarse = _matrix([prediction.coarse.probabilities for prediction in found], len(labels))
    guess = np.array([_index(prediction.guess.label, names) for prediction in found])
    for row, prediction in zip(coarse, found, strict=True):
        if labels[row.argmax()] != prediction.coarse.label:
            raise ValueError(f"the coarse label {prediction.coarse.label!r} is not the most probable one")
    return Answers(
        model=info.model,
        coarse_labels=labels,
        coarse_probability=coarse,
        routing=_matrix([prediction.routing for prediction in found], len(found[0].routing)),
        class_probability=_matrix([prediction.class_probabilities for prediction in found], len(names)),
        guess=guess,
        confidence=np.array([prediction.confidence for prediction in found], np.float32),
        abstain=np.array([prediction.abstain for prediction in found]),
    )


def _matrix(rows: list[list[float]], columns: int) -> NDArray[np.float32]:
    """Return rows of numbers as float32 [N, columns]."""
    for row in rows:
        if len(row) != columns:
            raise ValueError(f"{len(row)} numbers where {columns} are expected")
    return np.array(rows, np.float32)


def _index(name: str, names: tuple[str, ...]) -> int:
    """Return the index of a class by its name."""
    if name not in names:
        raise ValueError(f"the guess {name!r} is not a class of {MODEL}")
    return names.index(name)


def _wait(retry_after: str | None, retry: int) -> float:
    """Return how many seconds to wait: what the service says, within limits, or else twice as long each time."""
    if retry_after is None:
        return 0.5 * 2.0**retry
    seconds = float(retry_after) if retry_after.isdecimal() else _seconds_until(retry_after)
    return min(max(seconds, 0.0), MAX_WAIT_SECONDS)


def _seconds_until(date: str) -> float:
    """Return the seconds until an HTTP date, or 1 if it is not one."""
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return 1.0


def _refusal(method: str, path: str, response: httpx.Response) -> str:
    """Return what a service answered instead of a result, with its own explanation."""
    status = f"{response.status_code} {response.reason_phrase}".strip()
    try:
        body = response.json()
    except ValueError:
        body = response.text
    reason = str(body.get("error", body) if isinstance(body, dict) else body).strip()
    # A page of a proxy says no more than the status.
    if reason in ("", response.reason_phrase) or reason.startswith("<"):
        return f"answered {method} {path} with {status}; check --url and the service's log."
    return f"answered {method} {path} with {status}: {reason[:MAX_REASON_CHARACTERS]}"


def _proxy(url: str) -> str:
    """Return which proxy of the environment requests go through, without its password; empty for none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    for scheme in (parts.scheme, "all"):
        proxy = getproxies().get(scheme)
        if proxy and not proxy_bypass(parts.netloc):
            shown = proxy.rpartition("@")[2].rpartition("//")[2]
            return (
                f" through the proxy {shown}, which {scheme.upper()}_PROXY names (set NO_PROXY={parts.hostname} to go "
                "without it)"
            )
    return ""


def _key_hint(status: int) -> str:
    """Return how to give a key, if the service refused for lack of one; otherwise an empty string."""
    hint = f" (set the environment variable {API_KEY_VARIABLE} to a key with the scope 'predict')"
    return hint if status in LOCKED else ""


def _first_line(error: Exception) -> str:
    """Return what is wrong with an answer, in one line."""
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False, include_context=False)[0]
        return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ")
    return str(error)
