"""The service that ``bentoml serve`` finds, and all code that knows about BentoML.

BentoML starts the workers, and describes ``/predict`` and ``/predict_image`` to its clients; ``serving.app`` answers.
"""

import gc
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NoReturn

import bentoml
import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from clustnet.errors import UserError
from clustnet.feedback.feedback_file import FeedbackFile
from serving.api.responses import PredictImageResponse, PredictResponse
from serving.keys.keys import read_keys
from serving.metrics.folder import choose_folder
from serving.middleware.tracing import exporter_names
from serving.models.models import Models, first_fault
from serving.models.shared import FOLDER, share_folder
from serving.processes import end_with_parent
from serving.routes import BENTOML_SCHEMA
from serving.settings import Settings, hand_down_paths, load_settings
from serving.wire.address import check_address, check_free, say_address
from serving.wire.process import ignore_hangup, raise_descriptor_limit
from serving.wire.telemetry import stop_reports

# The exit code for wrong usage or input.
WRONG_INPUT = 2
# The number of new objects after which Python looks for cycles. Its default of 700 would mean a look every few
# requests, when the objects of waiting requests are all new.
COLLECT_AFTER_OBJECTS = 50_000


def stop(error: UserError) -> NoReturn:
    """Exit while the server starts, with one sentence instead of a traceback."""
    print(f"clustnet: {error}", file=sys.stderr)
    raise SystemExit(WRONG_INPUT)


def _settings() -> Settings:
    try:
        return load_settings()
    except UserError as error:
        stop(error)


stop_reports()
SETTINGS = _settings()
# The error of the methods below, which only describe endpoints that are answered over HTTP.
OVER_HTTP = "Serve this service with 'bentoml serve', and send requests with bentoml.SyncHTTPClient."


class Served(bentoml.Service):  # type: ignore[misc] # BentoML loads it lazily, so untyped
    """A BentoML service whose requests are answered by this project's application instead of BentoML's.

    BentoML's makes a request of one image 18 % more expensive (benchmarks/README.md), and reshapes, coerces and
    fetches what clients send.
    """

    def to_asgi(self, is_main: bool = True) -> ASGIApp:  # noqa: ARG002 - BentoML's
        """Return the application; a worker calls this before it listens."""
        _prepare_worker()
        # Only now, because it imports prometheus_client, which looks for its folder when imported.
        from serving.app import build_app

        try:
            app = build_app(SETTINGS, {BENTOML_SCHEMA: self._show_schema})
        except UserError as error:
            stop(error)
        gc.set_threshold(COLLECT_AFTER_OBJECTS)
        gc.collect()
        # The objects that exist now stay; looking through them again would delay requests by a tenth of a second.
        gc.freeze()
        return app

    async def _show_schema(self, _: Request) -> Response:
        """Answer with the description that BentoML's clients read."""
        return JSONResponse(self.schema())


def _prepare_worker() -> None:
    end_with_parent()
    raise_descriptor_limit()
    choose_folder(os.environ.get(FOLDER) if SETTINGS.workers > 1 else None)
    from serving.wire.http_protocol import use_bounded_protocol

    use_bounded_protocol()
    if SETTINGS.workers > 1 and find_spec("uvloop"):
        from serving.wire.accepting import share_connections

        share_connections()


class ClustNet:
    """The endpoints as BentoML describes them to its clients, and what it calls before it starts workers."""

    @bentoml.api(output_spec=PredictResponse)  # type: ignore[untyped-decorator]
    def predict(self, images: np.ndarray[Any, np.dtype[np.float64]]) -> PredictResponse:  # noqa: ARG002
        """Predict the coarse label, the expert and the class of each image."""
        raise UserError(OVER_HTTP)

    @bentoml.api(output_spec=PredictImageResponse)  # type: ignore[untyped-decorator]
    def predict_image(self, image: Path) -> PredictImageResponse:  # noqa: ARG002
        """Prepare an image file as the model's training images were, and predict it."""
        raise UserError(OVER_HTTP)

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check_bundles() -> None:
        """Check the address, the keys and the bundles once, so that no worker fails on them again and again.

        BentoML calls this just before it sets up the workers. Loading the bundles also writes what all workers are to
        serve. In a container that BentoML has built, it would not replace a worker that dies, which leaves a service
        that answers nothing.
        """
        os.environ.pop("BENTOML_CONTAINERIZED", None)
        ignore_hangup()
        hand_down_paths(SETTINGS)
        share_folder()
        try:
            check_address()
            if SETTINGS.grpc_port:
                check_free(SETTINGS.grpc_host, SETTINGS.grpc_port)
            if SETTINGS.api_keys_file:
                read_keys(SETTINGS.api_keys_file)
            exporter_names()
            _check_models()
            if SETTINGS.feedback:
                FeedbackFile(SETTINGS.feedback, SETTINGS.feedback_rows).close()
        except UserError as error:
            stop(error)
        say_address()


def _check_models() -> None:
    """Load every model once: on the CPU or, if CUDA is required, in a process that frees the GPU when it ends."""
    if SETTINGS.device != "cuda":
        Models(SETTINGS.model_copy(update={"device": "cpu"}))
        return
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        fault = pool.submit(first_fault, SETTINGS).result()
    if fault:
        raise UserError(fault)


service = bentoml.service(
    name="clustnet",
    service_class=Served,
    workers=SETTINGS.workers,
    # BentoML's own metrics would label each request with its raw path.
    metrics={"enabled": False},
)(ClustNet)
