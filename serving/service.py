"""The service that ``bentoml serve`` finds: bundles, predictions over HTTP."""

import gc
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial, wraps
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
from serving.admission import MAX_ADMITTED, Admission
from serving.api.feedback import FeedbackStore, give_feedback
from serving.api.inference import SMALL_BYTES, compute, predict_kept
from serving.api.inputs import check_json, read_images
from serving.api.pages import pages
from serving.api.requests import Body, PredictImageInput, PredictInput
from serving.api.responses import PredictImageResponse, PredictResponse, as_json, model_of, predictions_of
from serving.api.uploads import read_upload
from serving.keys.access import Access, lets_in, needed_scope
from serving.keys.key_file import KeyFile
from serving.keys.keys import read_keys
from serving.metrics.drift import WATCH
from serving.metrics.metrics import announce, count_unadmitted, refused, show_in_flight, show_limit
from serving.middleware.cors import cors_fields, cors_options
from serving.middleware.deadline import Deadline
from serving.middleware.limits import BodyLimits, Reading
from serving.middleware.paths import KnownPaths
from serving.middleware.request_log import RequestLog
from serving.middleware.request_metrics import RequestMetrics
from serving.middleware.tracing import Tracing, exporter_names, new_provider, step
from serving.models.models import Catalogue, Models, ServedModel, first_fault
from serving.models.shared import share_folder
from serving.openapi.service import describe
from serving.refusals import Refusal
from serving.routes import FEEDBACK, INFER, INFER_VERSION, PREDICT, computes, endpoint_of, metric_of
from serving.settings import Settings, hand_down_paths, load_settings
from serving.short_cut import ShortCut, past_bentoml, predict
from serving.turns import TakeTurns, Turns
from serving.v2.routes import infer, protocol
from serving.wire.address import check_address
from serving.wire.http_protocol import BoundedProtocol

TIMEOUT_SECONDS = 30.0
# BentoML keeps about 5 KB of each request for so long, so this is less than its default of 60.
LAST_RESORT_SECONDS = 35.0
# The exit code of wrong usage or input.
WRONG_INPUT = 2
# New objects before Python looks for cycles. Its default of 700 is a look every few requests, while those that wait
# are all new.
COLLECT_AFTER_OBJECTS = 50_000

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
# The scope of a key that a path needs.
NEEDS = partial(needed_scope, metrics_open=SETTINGS.metrics_open)


def refusing(method: Callable[..., Awaitable[R]]) -> Callable[..., Awaitable[R | Response]]:
    """Return the method with each ``Refusal`` as an answer; BentoML would log it and wrap the reason in a list."""

    @wraps(method)
    async def answer(*args: Any, **kwargs: Any) -> R | Response:
        try:
            return await method(*args, **kwargs)
        except Refusal as refusal:
            return refused(refusal)

    return answer


class ClustNet:
    """The models, and the endpoints that predict with them.

    Args:
        settings: the bundles, the device and the limits.

    Raises:
        UserError: a bundle, or the feedback file, cannot be used.
    """

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.settings = settings
        self.feedback = FeedbackStore(settings.feedback, settings) if settings.feedback else None
        self.models = Models(settings, self._show)
        pages.state.models = protocol.state.models = self.models
        protocol.state.settings = settings
        protocol.state.answer = self.answer
        protocol.state.feedback = self.feedback
        show_limit(MAX_ADMITTED)
        gc.set_threshold(COLLECT_AFTER_OBJECTS)
        gc.collect()
        # The objects of this moment stay; to look through them again would delay requests by a tenth of a second.
        gc.freeze()

    @bentoml.api(input_spec=PredictInput, output_spec=PredictResponse)  # type: ignore[untyped-decorator]
    async def predict(self, images: Body) -> Response:
        """Predict the coarse label, the expert and the class of each image."""
        return await self.answer(images)

    @bentoml.api(input_spec=PredictImageInput, output_spec=PredictImageResponse)  # type: ignore[untyped-decorator]
    @refusing
    async def predict_image(self, image: Body) -> Response:
        """Prepare an image file as the model's training images were, and predict it."""
        # Never at once, as a small file may hold a large image.
        return await compute(False, image.gone, self._answer_image, image)

    @refusing
    async def answer(self, images: Body) -> Response:
        """Answer ``/predict``."""
        # A small encoded body may be a large one.
        small = len(images.content) <= SMALL_BYTES and not images.encoding
        return await compute(small, images.gone, self._answer, images)

    def _answer(self, images: Body) -> Response:
        model = self._ready_model(images)
        with step("decode"):
            check_json(images.content_type)
            content = images.plain(self.settings.max_body_bytes)
            pixels = read_images(content, model.manifest.input.shape, self.settings.max_images)
        outputs = predict_kept(model.predictor, pixels, self.feedback, images.kept_id)
        with step("encode"):
            predictions = predictions_of(outputs, model.manifest)
            return as_json(PredictResponse(model=model_of(model.manifest), predictions=predictions))

    def _answer_image(self, image: Body) -> Response:
        model = self._ready_model(image)
        prepared = _prepared(image, model.manifest.input, self.settings.max_body_bytes)
        outputs = predict_kept(model.predictor, prepared[None], self.feedback, image.kept_id)
        with step("encode"):
            (prediction,) = predictions_of(outputs, model.manifest)
            answer = PredictImageResponse(
                model=model_of(model.manifest), prediction=prediction, prepared=prepared.tolist()
            )
            return as_json(answer)

    async def __is_ready__(self) -> bool:
        """Return that the service is ready, for BentoML's ``/readyz``; raise where it is not."""
        fault = self.models.now.fault()
        if fault:
            raise HTTPException(503, fault)
        return True

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def finish(self) -> None:
        """Write and export what waits; uvicorn ends by the signal itself, so that no atexit function runs."""
        Tracing.finish()
        if self.feedback:
            self.feedback.close()

    def _ready_model(self, body: Body) -> ServedModel:
        """Return the model that a request names, or the default one."""
        model = self.models.now.find(body.model, body.version)
        model.check_ready()
        return model

    def _show(self, catalogue: Catalogue) -> None:
        """Show new models in the log, the metrics and the OpenAPI document; without any model the document stays."""
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
        """Check the address, the keys and the bundles once, before any worker fails again and again, and agree on them.

        BentoML calls this just before it sets up the workers. In a container that it has built it would not replace
        a worker that dies, which leaves a service that answers nothing.
        """
        os.environ.pop("BENTOML_CONTAINERIZED", None)
        hand_down_paths(SETTINGS)
        share_folder()
        try:
            check_address()
            if SETTINGS.api_keys_file:
                read_keys(SETTINGS.api_keys_file)
            _check_models()
            if SETTINGS.feedback:
                FeedbackStore(SETTINGS.feedback, SETTINGS).close()
        except UserError as error:
            stop(error)


def _check_models() -> None:
    """Load every model once, on the CPU; where CUDA is required, in a process that gives the GPU back."""
    if SETTINGS.device != "cuda":
        Models(SETTINGS.model_copy(update={"device": "cpu"}))
        return
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        fault = pool.submit(first_fault, SETTINGS).result()
    if fault:
        raise UserError(fault)


def _prepared(image: Body, spec: InputSpec, max_bytes: int) -> NDArray[np.uint8]:
    """Return a model's input from the file of a form."""
    try:
        with step("decode"):
            decoded = decode(read_upload(image.content_type, image.plain(max_bytes)))
        with step("prepare"):
            return prepare_image(decoded, spec)
    except ImageError as error:
        raise Refusal(422, error.reason, str(error)) from None


service = bentoml.service(
    name="clustnet",
    workers=SETTINGS.workers,
    traffic={"timeout": LAST_RESORT_SECONDS},
    # Each of these costs a request more than its inference does; serving/metrics/metrics.py counts the requests.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)(ClustNet)
# All protocols share it.
TURNS = Turns()
BoundedProtocol.admission = Admission(
    computes,
    lambda path: count_unadmitted(metric_of(path)),
    changed=show_in_flight,
    fields=partial(cors_fields, SETTINGS.cors_origins) if SETTINGS.cors_origins else lambda _: "",
    lets_in=partial(lets_in, keys=KEYS, needs=NEEDS) if KEYS else lambda *_: True,
)
service.mount_asgi_app(pages)
service.mount_asgi_app(protocol)
if TRACED:
    # One provider, where the short cut makes a second instance.
    service.add_asgi_middleware(Tracing, provider=cache(new_provider))
service.add_asgi_middleware(RequestLog, which=SETTINGS.log_requests)
service.add_asgi_middleware(RequestMetrics)
# Outside all that refuses, so that a page can read the reason.
if SETTINGS.cors_origins:
    service.add_asgi_middleware(CORSMiddleware, **cors_options(SETTINGS.cors_origins))
service.add_asgi_middleware(Deadline, seconds=TIMEOUT_SECONDS)
if KEYS:
    service.add_asgi_middleware(Access, keys=KEYS, needs=NEEDS)
service.add_asgi_middleware(KnownPaths)
service.add_asgi_middleware(BodyLimits, max_bytes=SETTINGS.max_body_bytes, reading=Reading())
# After BodyLimits, so that the body is whole.
service.add_asgi_middleware(TakeTurns, turns=TURNS, takes_part=computes)
SHORT_CUTS = {PREDICT: predict, INFER: infer, INFER_VERSION: infer, FEEDBACK: give_feedback}
service.add_asgi_middleware(ShortCut, application=protocol, answers=SHORT_CUTS)
BoundedProtocol.way = staticmethod(
    cache(partial(past_bentoml, middlewares=service.middlewares, takes=lambda path: endpoint_of(path) in SHORT_CUTS))
)
