"""The service that ``bentoml serve`` finds: bundles, predictions over HTTP."""

import gc
import logging
import os
import re
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial, wraps
from multiprocessing import get_context
from typing import Any, NoReturn, TypeVar

import bentoml
import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from clustnet.errors import UserError
from clustnet.preparation import ImageError, prepare
from clustnet.settings import Settings, hand_down_paths, load_settings
from serving.access import Access, needed_scope
from serving.admission import Admission
from serving.cors import cors_options
from serving.deadline import Deadline
from serving.http_protocol import BoundedProtocol
from serving.inference import SMALL_BYTES, compute, predict_counted
from serving.inputs import quote, read_images
from serving.key_file import KeyFile
from serving.limits import BodyLimits
from serving.metrics import RequestMetrics, announce, count_unadmitted, label_of, refused
from serving.models import Catalogue, Models, ServedModel, first_fault
from serving.openapi import describe
from serving.pages import FILES, PAGE_PATHS, PAGES, pages
from serving.paths import GET, POST, KnownPaths
from serving.refusals import Refusal
from serving.request_log import PathPatterns, RequestLog
from serving.requests import Body, PredictImageInput, PredictInput
from serving.responses import PredictImageResponse, Prediction, PredictResponse, model_of, predictions_of
from serving.shared import share_folder
from serving.short_cut import ShortCut, predict
from serving.turns import TakeTurns, Turns
from serving.uploads import read_upload
from serving.v2.routes import INDEX, INFER, INFER_PATH, PROTOCOL, PROTOCOL_PATHS, infer, protocol

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


def refusing(method: Callable[..., Awaitable[R]]) -> Callable[..., Awaitable[R | Response]]:
    """Answer a ``Refusal`` with its reason; BentoML would log a traceback and wrap the reason in a list."""

    @wraps(method)
    async def answer(*args: Any, **kwargs: Any) -> R | Response:
        try:
            return await method(*args, **kwargs)
        except Refusal as refusal:
            return refused(refusal)

    return answer


class ClustNet:
    """The models and the endpoints that ask them.

    Args:
        settings: the bundles, the device and the limits.

    Raises:
        UserError: a bundle cannot be used.
    """

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.settings = settings
        self.models = Models(settings, self._show)
        pages.state.models = protocol.state.models = self.models
        protocol.state.settings = settings
        protocol.state.answer = self.answer
        gc.collect()
        gc.freeze()  # what is here stays; to look through it again would hold up requests for a tenth of a second

    @bentoml.api(input_spec=PredictInput, output_spec=PredictResponse)  # type: ignore[untyped-decorator]
    async def predict(self, images: Body) -> PredictResponse | Response:
        """Predict the coarse label, the expert and the fine class of each image."""
        return await self.answer(images)

    @bentoml.api(input_spec=PredictImageInput, output_spec=PredictImageResponse)  # type: ignore[untyped-decorator]
    @refusing
    async def predict_image(self, image: Body) -> PredictImageResponse:
        """Prepare an image file as the model's training images were, and predict it."""
        return await compute(False, self._answer_image, image)  # a small file may hold a large image

    @refusing
    async def answer(self, images: Body) -> PredictResponse:
        """Answer ``/predict``."""
        return await compute(len(images.content) <= SMALL_BYTES, self._answer, images)

    def _answer(self, images: Body) -> PredictResponse:
        model = self._ready_model(images)
        _check_json(images.content_type)
        pixels = read_images(images.content, model.manifest.input.shape, self.settings.max_images)
        return PredictResponse(model=model_of(model.manifest), predictions=_predictions(model, pixels))

    def _answer_image(self, image: Body) -> PredictImageResponse:
        model = self._ready_model(image)
        try:
            prepared = prepare(read_upload(image.content_type, image.content), model.manifest.input)
        except ImageError as error:
            raise Refusal(422, error.reason, str(error)) from None
        (prediction,) = _predictions(model, prepared[None])
        return PredictImageResponse(model=model_of(model.manifest), prediction=prediction, prepared=prepared.tolist())

    async def __is_ready__(self) -> bool:  # BentoML's hook for /readyz
        fault = self.models.now.fault()
        if fault:
            raise HTTPException(503, fault)
        return True

    def _ready_model(self, body: Body) -> ServedModel:
        """Return the model that a request names, or the default one."""
        model = self.models.now.find(body.model, body.version)
        model.check_ready()
        return model

    def _show(self, catalogue: Catalogue) -> None:
        """Tell the log, the metrics and the OpenAPI document of new models; without any the document stays."""
        models = catalogue.all()
        for fault in {model.fault for model in models if model.fault}:
            logger.error(fault)
        manifests = [model.manifest for model in models]
        for manifest in manifests:
            announce(manifest)
        if manifests:
            pages.state.document = describe(manifests[0], self.settings, *manifests[1:])

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check_bundles() -> None:
        """Check the bundles once, before any worker starts and fails again and again, and agree on them.

        BentoML calls this just before it sets up the workers; in a container that it has built it would not replace
        one that dies, and leave a service that is silent.
        """
        os.environ.pop("BENTOML_CONTAINERIZED", None)
        hand_down_paths(SETTINGS)
        share_folder()
        try:
            _check_models()
        except UserError as error:
            stop(error)


def _check_models() -> None:
    """Load every model once, on the CPU; where CUDA is demanded on it, in a process that gives the GPU back."""
    if SETTINGS.device != "cuda":
        Models(SETTINGS.model_copy(update={"device": "cpu"}))
        return
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        fault = pool.submit(first_fault, SETTINGS).result()
    if fault:
        raise UserError(fault)


def _predictions(model: ServedModel, images: NDArray[np.uint8]) -> list[Prediction]:
    """Predict and count uint8 [N, *input shape]."""
    return predictions_of(predict_counted(model.predictor, images), model.manifest)


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
if not SETTINGS.cors_origins:  # whose refusals need headers that only CORSMiddleware gives
    BoundedProtocol.admission = Admission(computes, lambda path: count_unadmitted(label_of(path, PREDICT, INFER)))
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
service.add_asgi_middleware(
    ShortCut, application=protocol, endpoints={re.compile("/predict"): predict, INFER_PATH: infer}
)
