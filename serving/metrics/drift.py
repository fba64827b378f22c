"""Drift as metrics: each model's last images compared with the reference in its manifest.

Each worker has a window of its own, of the images that it received. ``PSI`` and ``ALARM`` show the largest value of any
worker, so that the drift of a client that always reaches the same worker is not averaged out; numbers of images are
added up.
"""

import asyncio
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Gauge

from clustnet.bundles.bundle import Manifest
from clustnet.bundles.drift import Observed, Window
from clustnet.bundles.predictor import Predictions
from serving.metrics.metrics import DEFERRED

MODEL = ["model", "version"]
PSI = Gauge(
    "clustnet_drift_psi",
    "Population stability index of the window against the bundle's reference; above 0.25 is much.",
    [*MODEL, "distribution"],
    multiprocess_mode="livemax",
)
ALARM = Gauge(
    "clustnet_drift_alarm",
    "1 where it is certain that the window has drifted from the bundle's reference.",
    [*MODEL, "distribution"],
    multiprocess_mode="livemax",
)
WINDOW = Gauge("clustnet_drift_window_images", "Images in the window now.", MODEL, multiprocess_mode="livesum")
BIN = Gauge(
    "clustnet_drift_bin_images",
    "Images in the window by the bin that they fall into.",
    [*MODEL, "distribution", "bin"],
    multiprocess_mode="livesum",
)

SHOW_SECONDS = 1.0

Note = tuple[Manifest, Predictions, NDArray[np.uint8]]


class Watch:
    """The windows of the models that a service serves."""

    def __init__(self) -> None:
        # By the manifest's id; a manifest lives as long as its entry.
        self._windows: dict[int, tuple[Manifest, Window]] = {}
        # The windows that have changed since they were last shown.
        self._changed: set[int] = set()

    def serve(self, manifests: Iterable[Manifest], images: int) -> None:
        """Watch these models from now on, in windows of ``images`` images; existing windows are kept."""
        before, now = self._windows, {}
        for manifest in manifests:
            if manifest.drift:
                now[id(manifest)] = before.get(id(manifest)) or (manifest, Window(manifest.drift, images))
        self._windows = now
        self._changed |= now.keys() - before.keys()

    def note(self, outputs: Predictions, images: NDArray[np.uint8], manifest: Manifest) -> None:
        """Note a model's outputs for images, uint8 [N, ...]; they reach the window a moment later."""
        if manifest.drift:
            # A copy, because the images themselves may keep a whole request in memory.
            DEFERRED.add(self._add, (manifest, outputs, images.copy()))

    def show(self) -> None:
        """Show the windows that have changed; showing one costs as much as counting three hundred predictions."""
        changed, self._changed = self._changed, set()
        for key in changed & self._windows.keys():
            _show(*self._windows[key])

    async def run(self) -> None:
        """Show changed windows every second, as long as the event loop runs."""
        while True:
            await asyncio.sleep(SHOW_SECONDS)
            self.show()

    def _add(self, notes: list[Note]) -> None:
        for key, (manifest, window) in self._windows.items():
            mine = [(outputs, images) for other, outputs, images in notes if other is manifest]
            if mine:
                outputs, images = zip(*mine, strict=True)
                observed = Observed.of(outputs, images, manifest.membership())
                window.add(observed.bins(window.reference))
                self._changed.add(key)


def _show(manifest: Manifest, window: Window) -> None:
    model = manifest.name, manifest.version
    WINDOW.labels(*model).set(window.images)
    for name, shift in window.shifts().items():
        PSI.labels(*model, name).set(shift.psi)
        ALARM.labels(*model, name).set(shift.alarm)
        for index, count in enumerate(shift.counts.tolist()):
            BIN.labels(*model, name, str(index)).set(count)
