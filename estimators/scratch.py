"""The folder of a run that nobody wants to keep."""

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any


class Scratch:
    """A temporary folder, which goes when nothing refers to this object any more; copies of it refer to it no longer.

    Attributes:
        path: the folder.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="clustnet-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy has, in this process or in another."""
        return {"path": self.path}
