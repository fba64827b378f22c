"""Where a run's scores, pictures and histograms are shown while it trains: accelerate's trackers.

https://huggingface.co/docs/accelerate/usage_guides/tracking. All of them keep what they record in the run's folder,
``tensorboard/``, ``mlflow/`` and ``wandb/``, and send nothing anywhere unless the environment names a server.
"""

import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from accelerate.tracking import MLflowTracker, TensorBoardTracker, WandBTracker
from numpy.typing import NDArray

from clustnet.errors import UserError
from clustnet.files import write_text
from training.recipe.recipe import BaseRecipe
from training.runs.run_folder import Row, RunFolder, flat

Pictures = Mapping[str, NDArray[np.uint8]]
Histograms = Mapping[str, NDArray[np.floating]]

PROJECT = "clustnet"
# The ids of a run in MLflow and in Weights & Biases, with which a resumed run continues the same records.
IDS = "tracking.json"
# What a name in MLflow may not hold.
NOT_IN_MLFLOW = re.compile(r"[^\w\-. :/]")
# Nothing is reported to the makers of these packages, and nothing is sent to a server that nobody named.
QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
}
INSTALL = {"mlflow": "mlflow-skinny"}


class Tracker(Protocol):
    """What a run tells a tracker; ``step`` is the epoch."""

    def start(self) -> None:
        """Begin, or go on with, the record of the run."""

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Record the keys of the recipe."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Record numbers."""

    def pictures(self, values: Pictures, step: int) -> None:
        """Record pictures, uint8 [H, W, 3] each."""

    def histograms(self, values: Histograms, step: int) -> None:
        """Record distributions, float [N] each."""

    def finish(self) -> None:
        """End the record."""


class TensorBoard(TensorBoardTracker):  # type: ignore[misc]
    """TensorBoard's event files in ``RUN/tensorboard``."""

    @classmethod
    def of(cls, folder: RunFolder, done: int) -> "TensorBoard":
        """Return the tracker of a run of which ``done`` epochs are finished; what it holds of later ones is hidden."""
        return cls(folder.tensorboard.name, folder.path, purge_step=done + 1)

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Record nothing, as the recipe is beside the event files."""

    def pictures(self, values: Pictures, step: int) -> None:
        """Record pictures, uint8 [H, W, 3] each."""
        self.log_images({key: picture[None] for key, picture in values.items()}, step, dataformats="NHWC")

    def histograms(self, values: Histograms, step: int) -> None:
        """Record distributions, float [N] each."""
        for key, numbers in values.items():
            self.writer.add_histogram(key, numbers, step)


class MLflow(MLflowTracker):  # type: ignore[misc]
    """An MLflow run in ``RUN/mlflow``, or on the server that ``MLFLOW_TRACKING_URI`` names; it has no histograms."""

    @classmethod
    def of(cls, folder: RunFolder, done: int) -> "MLflow":  # noqa: ARG003 - MLflow hides nothing
        """Return the tracker of a run."""
        tracker = cls(PROJECT, run_id=_read_ids(folder).get("mlflow"), run_name=folder.path.resolve().name)
        tracker.folder = folder
        return tracker

    def start(self) -> None:
        """Begin, or go on with, the record of the run."""
        import mlflow

        if "MLFLOW_TRACKING_URI" not in os.environ:
            # Files can lie in the run's folder without a database.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            mlflow.set_tracking_uri((self.folder.path / "mlflow").resolve().as_uri())
        super().start()
        _keep_id(self.folder, "mlflow", self.active_run.info.run_id)

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Record the keys of the recipe."""
        super().store_init_configuration(_for_mlflow(values))

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Record numbers."""
        super().log(_for_mlflow(values), step, **kwargs)

    def pictures(self, values: Pictures, step: int) -> None:
        """Record pictures, uint8 [H, W, 3] each."""
        import mlflow

        for key, picture in _for_mlflow(values).items():
            mlflow.log_image(picture, key=key, step=step)

    def histograms(self, values: Histograms, step: int) -> None:
        """Record nothing."""


class WeightsAndBiases(WandBTracker):  # type: ignore[misc]
    """A run of Weights & Biases in ``RUN/wandb``; it is sent only with ``WANDB_MODE=online`` or by ``wandb sync``."""

    @classmethod
    def of(cls, folder: RunFolder, done: int) -> "WeightsAndBiases":  # noqa: ARG003 - a step that exists is passed over
        """Return the tracker of a run."""
        number = _read_ids(folder).get("wandb", uuid.uuid4().hex[:8])
        tracker = cls(PROJECT, id=number, name=folder.path.resolve().name, dir=str(folder.path), resume="allow")
        tracker.folder = folder
        return tracker

    def start(self) -> None:
        """Begin, or go on with, the record of the run."""
        super().start()
        _keep_id(self.folder, "wandb", self.run.id)

    def pictures(self, values: Pictures, step: int) -> None:
        """Record pictures, uint8 [H, W, 3] each."""
        self.log_images({key: [picture] for key, picture in values.items()}, step)

    def histograms(self, values: Histograms, step: int) -> None:
        """Record distributions, float [N] each."""
        import wandb

        self.log({key: wandb.Histogram(numbers) for key, numbers in values.items()}, step)


Kind = type[TensorBoard | MLflow | WeightsAndBiases]
KINDS: dict[str, Kind] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WeightsAndBiases}


class Tracking:
    """The trackers of a run, told of every epoch.

    Args:
        trackers: those that its recipe names, started.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = trackers

    def scores(self, rows: Sequence[Row], epoch: int) -> None:
        """Record the scores of an epoch, ``SPLIT/SCORE``."""
        numbers = {
            f"{row['split']}/{key}": value for row in rows for key, value in row.items() if isinstance(value, float)
        }
        for tracker in self.trackers:
            tracker.log(numbers, epoch)

    def show(self, pictures: Pictures, histograms: Histograms, epoch: int) -> None:
        """Record pictures, uint8 [H, W, 3] each, and distributions, float [N] each, of an epoch."""
        for tracker in self.trackers:
            tracker.pictures(pictures, epoch)
            tracker.histograms(histograms, epoch)


def check_trackers(names: Sequence[str]) -> None:
    """Check that the packages of trackers are installed.

    Raises:
        UserError: one is not.
    """
    for name in names:
        if find_spec(name) is None:
            raise UserError(
                f"tracking has {name}, which is not installed; install it with: pip install {INSTALL.get(name, name)}, "
                f"or leave {name} out of tracking."
            )


@contextmanager
def tracking(recipe: BaseRecipe, folder: RunFolder, done: int) -> Iterator[Tracking]:
    """Yield the trackers of a run, and end their records after the block.

    Args:
        recipe: names the trackers.
        folder: folder of the run.
        done: how many epochs are finished.
    """
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    trackers: list[Tracker] = [KINDS[name].of(folder, done) for name in recipe.tracking]
    keys = {".".join(key): value for key, value in flat(recipe.model_dump(mode="json")).items()}
    started: list[Tracker] = []
    try:
        for tracker in trackers:
            tracker.start()
            started.append(tracker)
            if not done:
                tracker.store_init_configuration(keys)
        yield Tracking(started)
    finally:
        for tracker in started:
            tracker.finish()


def _for_mlflow(values: Mapping[str, Any]) -> dict[str, Any]:
    return {NOT_IN_MLFLOW.sub("_", key): value for key, value in values.items()}


def _read_ids(folder: RunFolder) -> dict[str, str]:
    path = folder.path / IDS
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _keep_id(folder: RunFolder, name: str, number: str) -> None:
    write_text(folder.path / IDS, json.dumps(_read_ids(folder) | {name: number}) + "\n")
