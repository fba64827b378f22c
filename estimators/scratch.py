"""The folder of a run that nobody wants to keep."""

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any


class Scratch:
    """A temporary folder, which is removed when this object is garbage-collected; copies do not keep it alive.

    Attributes:
        path: the folder.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="clustnet-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy, in this process or in another."""
        return {"path": self.path}
