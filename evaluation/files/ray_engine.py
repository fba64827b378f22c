"""Units scored by Ray Data, on all cores of this machine or of a cluster.

What goes through Ray is the number of a unit one way and its part the other, a few kilobytes: the workers read the
images themselves, so that none is in the object store, and a unit whose worker was killed is scored again from its
files, by the worker that Ray starts in its place.
"""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyarrow import fs

from clustnet.bundles.predictor import Device
from clustnet.errors import UserError
from evaluation.files.evaluation import Part, Worker
from evaluation.files.units import Unit

# Both are read when Ray is imported: it reports nothing to its makers, and an actor's start is no error.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
# Ray Data sets options of its own that it has deprecated.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import ray
    import ray.data
    from ray.exceptions import RayError

    ray.data.DataContext.get_current()

# Ray would set 30 % of the memory aside.
OBJECT_STORE_BYTES = 128 * 2**20


class _Actor:
    """A worker of Ray's; ``map_batches`` gives and takes arrays by name."""

    def __init__(self, bundle: Path, device: Device, filesystem: fs.FileSystem, units: list[Unit]) -> None:
        self._worker = Worker(bundle, device, filesystem)
        self._units = units

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        parts = np.empty(len(batch["item"]), object)
        parts[:] = [self._worker(self._units[index]) for index in batch["item"]]
        return {"part": parts}


def score_on_ray(
    bundle: Path, device: Device, filesystem: fs.FileSystem, units: list[Unit], workers: int | None = None
) -> Iterator[Part]:
    """Yield the parts of units scored on Ray, as they are done; an ``Engine``.

    With ``RAY_ADDRESS`` that cluster is used, otherwise one is started here and stopped at the end.

    Args:
        bundle: its folder, which every machine of the cluster must have.
        device: ``auto`` or ``cpu``.
        filesystem: where the units' files are, as seen from every machine.
        units: what to score.
        workers: how many processes; by default one for each of the cluster's CPUs.

    Raises:
        UserError: Ray cannot be started or joined, or it gave up.
    """
    # What Ray prints of killed workers is no result.
    with redirect_stdout(sys.stderr), cluster_of(workers):
        size = workers or int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
        numbers = ray.data.from_items(list(range(len(units))), override_num_blocks=max(len(units), 1))
        scored = numbers.map_batches(
            _Actor,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(size, max(len(units), 1))),
            fn_constructor_args=(bundle.resolve(), device, filesystem, units),
            num_cpus=1,
        )
        try:
            for row in scored.iter_rows():
                yield row["part"]
        except RayError as error:
            raise UserError(f"Ray gave up: {_cause(error)}") from None


@contextmanager
def cluster_of(workers: int | None) -> Iterator[None]:
    """Start or join a cluster, without dashboard, progress bars or chatter; one that is joined already stays.

    Args:
        workers: CPUs of a cluster that is started here; by default this machine's.

    Raises:
        UserError: it cannot be started within Ray's 30 seconds, or joined.
    """
    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    here: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **({} if "RAY_ADDRESS" in os.environ else here))
    except Exception as error:  # noqa: BLE001 - a start that takes too long is a bare Exception of Ray's
        raise UserError(f"Ray cannot be started or joined: {_cause(error)}") from None
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    try:
        yield
    finally:
        ray.shutdown()


def _cause(error: BaseException) -> str:
    """Return the last line of what Ray says, where the exception itself is."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
