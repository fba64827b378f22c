"""Units scored by Ray Data; the workers read the images themselves, so that none goes through the object store."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pyarrow import fs

from clustnet.bundles.predictor import Device
from clustnet.ray_cluster import on_ray
from evaluation.files.evaluation import Part, Worker
from evaluation.files.units import Unit


def score_on_ray(
    bundle: Path, device: Device, filesystem: fs.FileSystem, units: list[Unit], workers: int | None = None
) -> Iterator[Part]:
    """Yield the parts of units scored on Ray, as they are done; an ``Engine``.

    Args:
        bundle: its folder, which every machine of the cluster must have.
        device: ``auto`` or ``cpu``.
        filesystem: where the units' files are, as seen from every machine.
        units: what to score.
        workers: as for ``clustnet.ray_cluster.on_ray``.

    Raises:
        UserError: as for ``clustnet.ray_cluster.on_ray``.
    """
    for _, part in on_ray(partial(Worker, bundle.resolve(), device, filesystem), units, workers):
        yield part
