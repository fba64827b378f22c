"""The file of API keys while the service runs: read again when it changes."""

import logging
import time
from pathlib import Path

from clustnet.errors import UserError
from clustnet.files import stamp_of
from serving.keys.keys import Key, find_key, read_keys

LOOK_SECONDS = 1.0

logger = logging.getLogger("bentoml.clustnet")


class KeyFile:
    """The keys of a file, at most ``look_seconds`` old.

    A file that breaks leaves the keys as they were, and one sentence in the log.

    Args:
        path: the file.
        look_seconds: how long no change is looked for after a look.

    Raises:
        UserError: the file cannot be used.
    """

    def __init__(self, path: Path, look_seconds: float = LOOK_SECONDS) -> None:
        self.path = path
        self.look_seconds = look_seconds
        # Before the file is read, so that a change in between is noticed.
        self._stamp = stamp_of(path)
        self._keys = read_keys(path)
        self._looked = time.monotonic()

    def find(self, secret: str) -> Key | None:
        """Return the key of a header's value, None where it is unknown."""
        self._look()
        # As HTTP decodes headers.
        return find_key(self._keys, secret.encode("latin-1"))

    def _look(self) -> None:
        if time.monotonic() - self._looked < self.look_seconds:
            return
        self._looked = time.monotonic()
        stamp = stamp_of(self.path)
        if stamp == self._stamp:
            return
        # Also of a broken file, so that it is reported once.
        self._stamp = stamp
        try:
            self._keys = read_keys(self.path)
        except UserError as error:
            logger.error("The API keys stay as they were: %s", error)
