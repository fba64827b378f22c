"""The file of API keys, which is read again when it changes while the service runs."""

import logging
import math
import time
from pathlib import Path

from clustnet.files import stamp_of
from serving.keys.keys import Key, find_key, usable_keys

LOOK_SECONDS = 1.0

logger = logging.getLogger("bentoml.clustnet")


class KeyFile:
    """The keys of a file, read again at most ``look_seconds`` after it changed.

    A wrong line makes only its own key invalid, and without a right line no key is valid; the log says what is wrong.
    A worker that replaces another meanwhile starts all the same.

    Args:
        path: the file.
        look_seconds: the pause between two looks at the file.
    """

    def __init__(self, path: Path, look_seconds: float = LOOK_SECONDS) -> None:
        self.path = path
        self.look_seconds = look_seconds
        # The stamp of no file, so that the first look reads it.
        self._stamp: tuple[int, ...] | None = ()
        self._keys: tuple[Key, ...] = ()
        self._looked = -math.inf

    def find(self, secret: str) -> Key | None:
        """Return the key whose secret is in a header, None if it is unknown."""
        self._look()
        # The bytes that the client sent: headers are decoded as latin-1.
        return find_key(self._keys, secret.encode("latin-1"))

    def _look(self) -> None:
        if time.monotonic() - self._looked < self.look_seconds:
            return
        self._looked = time.monotonic()
        # Taken before the file is read, so that a change in between is noticed.
        stamp = stamp_of(self.path)
        if stamp == self._stamp:
            return
        # Kept for a wrong file too, so that it is reported only once.
        self._stamp = stamp
        self._keys, faults = usable_keys(self.path)
        for fault in faults:
            logger.error("Of the API keys, %d are valid: %s", len(self._keys), fault)
