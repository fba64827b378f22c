"""Ends inferences that take too long: a graph may be quick on the images of its trial and endless on others."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import onnxruntime

# Time for an inference: some, and more for each image, but in all less than the service's deadline.
SECONDS, SECONDS_PER_IMAGE, MAX_SECONDS = 2.0, 0.5, 25.0
LOOK_SECONDS = 0.25


class Watchdog:
    """Watches this process' inferences from its own thread; a timer for each would cost as much as an inference."""

    def __init__(self) -> None:
        # By number: when each inference must have ended, and its options.
        self._running: dict[int, tuple[float, onnxruntime.RunOptions]] = {}
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watched(self, images: int) -> Iterator[onnxruntime.RunOptions]:
        """Yield options for an inference on so many images; their ``terminate`` is set if it takes too long."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        options, number = onnxruntime.RunOptions(), next(self._numbers)
        self._running[number] = time.monotonic() + min(SECONDS + SECONDS_PER_IMAGE * images, MAX_SECONDS), options
        try:
            yield options
        finally:
            del self._running[number]

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(LOOK_SECONDS):
            now = time.monotonic()
            for end, options in list(self._running.values()):
                if now > end:
                    options.terminate = True


WATCHDOG = Watchdog()
