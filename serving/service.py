"""The service that ``bentoml serve`` finds: bundles, predictions over HTTP."""

import gc
import logging
import os
import re
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, lru_cache, partial, wraps
from multiprocessing import get_context
from typing import Any, NoReturn, TypeVar

import bentoml
import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.preparation import ImageError, decode, prepare_image
from clustnet.errors import UserError
from serving.admission import ROOM, Admission
from serving.api.feedback import PATH as FEEDBACK
from serving.api.feedback import Feedback, give_feedback
from serving.api.inference import SMALL_BYTES, compute, predict_kept
from serving.api.inputs import check_json, read_images
from serving.api.pages import FILES, PAGE_PATHS, PAGES, pages
from serving.api.requests import Body, PredictImageInput, PredictInput
from serving.api.responses import PredictImageResponse, PredictResponse, as_json, model_of, predictions_of
from serving.api.uploads import read_upload
from serving.keys.access import Access, needed_scope
from serving.keys.key_file import KeyFile
from serving.metrics.drift import WATCH
from serving.metrics.metrics import (
    MOST_PATHS,
    RequestMetrics,
    announce,
    count_unadmitted,
    refused,
    remembered_labels,
    show_in_flight,
    show_limit,
)
from serving.middleware.cors import cors_fields, cors_options
from serving.middleware.deadline import Deadline
from serving.middleware.limits import BodyLimits, Reading
from serving.middleware.paths import GET, POST, KnownPaths
from serving.middleware.request_log import PathPatterns, RequestLog
from serving.middleware.tracing import Tracing, exporter_names, new_provider, step
from serving.models.models import Catalogue, Models, ServedModel, first_fault
from serving.models.shared import share_folder
from serving.openapi.service import describe
from serving.refusals import Refusal
from serving.settings import Settings, hand_down_paths, load_settings
from serving.short_cut import ShortCut, past_bentoml, predict
from serving.turns import TakeTurns, Turns
from serving.v2.routes import INDEX, INFER, INFER_PATH, PROTOCOL, PROTOCOL_PATHS, infer, protocol
from serving.wire.http_protocol import BoundedProtocol

TIMEOUT_SECONDS = 30.0
LAST_RESORT_SECONDS = 35.0  # BentoML holds about 5 KB of each request for as long, so not its default of 60
WRONG_INPUT = 2
YOUNG_OBJECTS = (
    50_000  # before Python looks for cycles; its 700 are a look every few requests, and those that wait are young
)

logger = logging.getLogger("bentoml.clustnet")
R = TypeVar("R")


def stop(error: UserError) -> NoReturn:
    """End the start of the server with one sentence instead of a traceback."""
    print(f"clustnet: {error}", file=sys.stderr)
    raise SystemExit(WRONG_INPUT)


def _settings() -> tuple[Settings, KeyFile | None, bool]:
    try:
        settings = load_settings()
        keys = KeyFile(settings.api_keys_file) if settings.api_keys_file else None
        return settings, keys, bool(exporter_names())
    except UserError as error:
        stop(error)


SETTINGS, KEYS, TRACED = _settings()


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
        UserError: a bundle, or the feedback file, cannot be used.
    """

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.settings = settings
        self.feedback = Feedback(settings.feedback, settings) if settings.feedback else None
        self.models = Models(settings, self._show)
        pages.state.models = protocol.state.models = self.models
        protocol.state.settings = settings
        protocol.state.answer = self.answer
        protocol.state.feedback = self.feedback
        show_limit(ROOM)
        gc.set_threshold(YOUNG_OBJECTS)
        gc.collect()
        gc.freeze()  # what is here stays; to look through it again would hold up requests for a tenth of a second

    @bentoml.api(input_spec=PredictInput, output_spec=PredictResponse)  # type: ignore[untyped-decorator]
    async def predict(self, images: Body) -> Response:
        """Predict the coarse label, the expert and the fine class of each image."""
        return await self.answer(images)

    @bentoml.api(input_spec=PredictImageInput, output_spec=PredictImageResponse)  # type: ignore[untyped-decorator]
    @refusing
    async def predict_image(self, image: Body) -> Response:
        """Prepare an image file as the model's training images were, and predict it."""
        return await compute(False, image.gone, self._answer_image, image)  # a small file may hold a large image

    @refusing
    async def answer(self, images: Body) -> Response:
        """Answer ``/predict``."""
        return await compute(len(images.content) <= SMALL_BYTES, images.gone, self._answer, images)

    def _answer(self, images: Body) -> Response:
        model = self._ready_model(images)
        with step("decode"):
            check_json(images.content_type)
            pixels = read_images(images.content, model.manifest.input.shape, self.settings.max_images)
        outputs = predict_kept(model.predictor, pixels, self.feedback, images.request_id)
        with step("encode"):
            predictions = predictions_of(outputs, model.manifest)
            return as_json(PredictResponse(model=model_of(model.manifest), predictions=predictions))

    def _answer_image(self, image: Body) -> Response:
        model = self._ready_model(image)
        prepared = _prepared(image, model.manifest.input)
        outputs = predict_kept(model.predictor, prepared[None], self.feedback, image.request_id)
        with step("encode"):
            (prediction,) = predictions_of(outputs, model.manifest)
            named, seen = model_of(model.manifest), prepared.tolist()
            return as_json(PredictImageResponse(model=named, prediction=prediction, prepared=seen))

    async def __is_ready__(self) -> bool:  # BentoML's hook for /readyz
        fault = self.models.now.fault()
        if fault:
            raise HTTPException(503, fault)
        return True

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def finish(self) -> None:
        """Write and send what waits for it; uvicorn ends by the signal itself, so that no atexit would."""
        Tracing.finish()
        if self.feedback:
            self.feedback.close()

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
            if self.feedback:
                self.feedback.announce(manifest)
        WATCH.serve(manifests, self.settings.drift_window)
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
            if SETTINGS.feedback:
                Feedback(SETTINGS.feedback, SETTINGS).close()
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


def _prepared(image: Body, spec: InputSpec) -> NDArray[np.uint8]:
    """Return the file of a form as a model's input."""
    try:
        with step("decode"):
            drawn = decode(read_upload(image.content_type, image.content))
        with step("prepare"):
            return prepare_image(drawn, spec)
    except ImageError as error:
        raise Refusal(422, error.reason, str(error)) from None


@lru_cache(MOST_PATHS)
def computes(path: str) -> bool:
    """Tell whether requests to ``path`` are more than a look-up, so that they take turns."""
    return path in PREDICT or path == INDEX or any(pattern.fullmatch(path) for pattern in INFER.values())


service = bentoml.service(
    name="clustnet",
    workers=SETTINGS.workers,
    traffic={"timeout": LAST_RESORT_SECONDS},
    # Each of these costs a request more than its inference does; serving/metrics/metrics.py counts the requests.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)(ClustNet)
PREDICT = frozenset(f"/{name}" for name in service.apis)
BENTOML = ("/livez", "/readyz", "/healthz", "/schema.json")  # its own; its client asks for the last
PATHS = PathPatterns([*PREDICT, FEEDBACK, *BENTOML, *PAGE_PATHS, *PROTOCOL_PATHS])
METHODS = dict.fromkeys([*PREDICT, FEEDBACK], POST) | dict.fromkeys([*BENTOML, *PAGES, PROTOCOL], GET)
TURNS = Turns()  # one for all protocols
label = remembered_labels(PREDICT, INFER)
BoundedProtocol.admission = Admission(
    computes,
    lambda path: count_unadmitted(label(path)),
    changed=show_in_flight,
    fields=partial(cors_fields, SETTINGS.cors_origins) if SETTINGS.cors_origins else lambda _: "",
)
service.mount_asgi_app(pages)
service.mount_asgi_app(protocol)
if TRACED:
    service.add_asgi_middleware(Tracing, route_of=PATHS.of, provider=cache(new_provider))  # one for both ways
service.add_asgi_middleware(RequestLog, which=SETTINGS.log_requests, patterns=PATHS)
service.add_asgi_middleware(RequestMetrics, paths={*PREDICT, FEEDBACK}, patterns=INFER)
if SETTINGS.cors_origins:  # outside all that refuses, so that a page can read why
    service.add_asgi_middleware(CORSMiddleware, **cors_options(SETTINGS.cors_origins))
service.add_asgi_middleware(Deadline, seconds=TIMEOUT_SECONDS)
if KEYS:
    service.add_asgi_middleware(Access, keys=KEYS, needs=partial(needed_scope, metrics_open=SETTINGS.metrics_open))
service.add_asgi_middleware(KnownPaths, methods=METHODS, mounts=(f"{PROTOCOL}/", FILES))
service.add_asgi_middleware(BodyLimits, max_bytes=SETTINGS.max_body_bytes, reading=Reading())
service.add_asgi_middleware(TakeTurns, turns=TURNS, takes_part=computes)  # after BodyLimits: the body is whole
SHORT = {re.compile("/predict"): predict, INFER_PATH: infer, re.compile(FEEDBACK): give_feedback}
service.add_asgi_middleware(ShortCut, application=protocol, endpoints=SHORT)
takes_short_cut = lru_cache(MOST_PATHS)(lambda path: any(pattern.fullmatch(path) for pattern in SHORT))
BoundedProtocol.way = staticmethod(cache(partial(past_bentoml, middlewares=service.middlewares, takes=takes_short_cut)))
