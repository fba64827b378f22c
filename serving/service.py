"""The service that ``bentoml serve`` finds: one bundle, predictions over HTTP."""

import logging
import os
import sys
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, NoReturn, TypeVar

import bentoml
import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from clustnet.bundle import Bundle
from clustnet.errors import UserError
from clustnet.predictor import CUDA, Predictor
from clustnet.preparation import ImageError, prepare
from clustnet.settings import Settings, load_settings
from serving.access import Access, needed_scope
from serving.card import card_of
from serving.cors import cors_options
from serving.deadline import Deadline
from serving.inference import predict_counted
from serving.inputs import quote, read_images
from serving.key_file import KeyFile
from serving.limits import BodyLimits
from serving.metrics import RequestMetrics, announce, refused
from serving.openapi import describe
from serving.pages import FILES, PAGE_PATHS, PAGES, pages
from serving.paths import GET, POST, KnownPaths
from serving.refusals import Refusal
from serving.request_log import PathPatterns, RequestLog
from serving.requests import Body, PredictImageInput, PredictInput
from serving.responses import PredictImageResponse, Prediction, PredictResponse, model_of, predictions_of
from serving.turns import TakeTurns, Turns
from serving.uploads import read_upload
from serving.v2.routes import INDEX, INFER, PROTOCOL, PROTOCOL_PATHS, ServedModel, protocol

TIMEOUT_SECONDS = 30.0
LAST_RESORT_SECONDS = 35.0  # BentoML holds about 5 KB of each request for as long, so not its default of 60
WRONG_INPUT = 2

logger = logging.getLogger("bentoml.clustnet")
R = TypeVar("R")


def stop(error: UserError) -> NoReturn:
    """End the start of the server with one sentence instead of a traceback."""
    print(f"clustnet: {error}", file=sys.stderr)
    raise SystemExit(WRONG_INPUT)


def _settings() -> tuple[Settings, KeyFile | None]:
    try:
        settings = load_settings()
        return settings, KeyFile(settings.api_keys_file) if settings.api_keys_file else None
    except UserError as error:
        stop(error)


SETTINGS, KEYS = _settings()


def refusing(method: Callable[..., R]) -> Callable[..., R | Response]:
    """Answer a ``Refusal`` with its reason; BentoML would log a traceback and wrap the reason in a list."""

    @wraps(method)
    def answer(*args: Any, **kwargs: Any) -> R | Response:
        try:
            return method(*args, **kwargs)
        except Refusal as refusal:
            return refused(refusal)

    return answer


class ClustNet:
    """One bundle and the endpoints that ask it.

    Args:
        settings: the bundle, the device and the limits.

    Raises:
        UserError: the bundle cannot be used.
    """

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.settings = settings
        self.predictor = Predictor(Bundle(settings.bundles), settings.device, settings.threads)
        self.manifest = self.predictor.manifest
        self.model = model_of(self.manifest)
        self.fault = _device_fault(settings, self.predictor.provider)
        if self.fault:
            logger.error(self.fault)
        announce(self.manifest, self.predictor.provider)
        pages.state.document = describe(self.manifest, settings)
        pages.state.card = card_of(self.predictor.bundle)
        protocol.state.model = ServedModel(self.predictor, self.fault, settings.max_images, settings.max_body_bytes)
        self.predictor.predict(np.zeros((1, *self.manifest.input.shape), np.uint8))  # the first run is slow

    @bentoml.api(input_spec=PredictInput, output_spec=PredictResponse)  # type: ignore[untyped-decorator]
    @refusing
    def predict(self, images: Body) -> PredictResponse:
        """Predict the coarse label, the expert and the fine class of each image."""
        self._check_ready()
        _check_json(images.content_type)
        pixels = read_images(images.content, self.manifest.input.shape, self.settings.max_images)
        return PredictResponse(model=self.model, predictions=self._predictions(pixels))

    @bentoml.api(input_spec=PredictImageInput, output_spec=PredictImageResponse)  # type: ignore[untyped-decorator]
    @refusing
    def predict_image(self, image: Body) -> PredictImageResponse:
        """Prepare an image file as the model's training images were, and predict it."""
        self._check_ready()
        try:
            prepared = prepare(read_upload(image.content_type, image.content), self.manifest.input)
        except ImageError as error:
            raise Refusal(422, error.reason, str(error)) from None
        (prediction,) = self._predictions(prepared[None])
        return PredictImageResponse(model=self.model, prediction=prediction, prepared=prepared.tolist())

    async def __is_ready__(self) -> bool:  # BentoML's hook for /readyz
        if self.fault:
            raise HTTPException(503, self.fault)
        return True

    def _predictions(self, images: NDArray[np.uint8]) -> list[Prediction]:
        """Predict and count uint8 [N, *input shape]."""
        return predictions_of(predict_counted(self.predictor, images), self.manifest)

    def _check_ready(self) -> None:
        if self.fault:
            raise Refusal(503, "not_ready", self.fault)

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check_bundle() -> None:
        """Check the bundle once, before any worker starts and fails again and again.

        BentoML calls this just before it sets up the workers; in a container that it has built it would not replace
        one that dies, and leave a service that is silent.
        """
        os.environ.pop("BENTOML_CONTAINERIZED", None)
        try:
            card_of(Predictor(Bundle(SETTINGS.bundles), "cpu").bundle)
        except UserError as error:
            stop(error)


def _device_fault(settings: Settings, provider: str) -> str | None:
    """Return why the service is not what its operator asked for, None where it is."""
    if settings.device != "cuda" or provider == CUDA:
        return None
    return (
        f"CLUSTNET_DEVICE is cuda, but onnxruntime fell back to {provider}; "
        "install NVIDIA's driver, CUDA and cuDNN for onnxruntime, or set CLUSTNET_DEVICE to auto."
    )


def computes(path: str) -> bool:
    """Tell whether requests to ``path`` are more than a look-up, so that they take turns."""
    return path in PREDICT or path == INDEX or any(pattern.fullmatch(path) for pattern in INFER.values())


def _check_json(content_type: str) -> None:
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "content_type", f"The content type is {quote(content_type)}; send application/json.")


service = bentoml.service(
    name="clustnet",
    workers=SETTINGS.workers,
    traffic={"timeout": LAST_RESORT_SECONDS},
    # Each of these costs a request more than its inference does; serving/metrics.py counts the requests.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)(ClustNet)
PREDICT = frozenset(f"/{name}" for name in service.apis)
BENTOML = ("/livez", "/readyz", "/healthz", "/schema.json")  # its own; its client asks for the last
PATHS = PathPatterns([*PREDICT, *BENTOML, *PAGE_PATHS, *PROTOCOL_PATHS])
METHODS = dict.fromkeys(PREDICT, POST) | dict.fromkeys([*BENTOML, *PAGES, PROTOCOL], GET)
TURNS = Turns()  # one for all protocols
service.mount_asgi_app(pages)
service.mount_asgi_app(protocol)
service.add_asgi_middleware(RequestLog, which=SETTINGS.log_requests, patterns=PATHS)
service.add_asgi_middleware(RequestMetrics, paths=PREDICT, patterns=INFER)
if SETTINGS.cors_origins:  # outside all that refuses, so that a page can read why
    service.add_asgi_middleware(CORSMiddleware, **cors_options(SETTINGS.cors_origins))
service.add_asgi_middleware(Deadline, seconds=TIMEOUT_SECONDS)
if KEYS:
    service.add_asgi_middleware(Access, keys=KEYS, needs=partial(needed_scope, metrics_open=SETTINGS.metrics_open))
service.add_asgi_middleware(KnownPaths, methods=METHODS, mounts=(f"{PROTOCOL}/", FILES))
service.add_asgi_middleware(BodyLimits, max_bytes=SETTINGS.max_body_bytes)
service.add_asgi_middleware(TakeTurns, turns=TURNS, takes_part=computes)  # after BodyLimits: the body is whole
