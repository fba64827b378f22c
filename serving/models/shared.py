"""The workers' shared folder: it holds their metrics and a small file that says what all of them serve.

A request to load or unload a model reaches one worker. It writes what is served from then on; the others see that the
file has changed, and follow.
"""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from clustnet.files import stamp_of, write_text
from serving.processes import lives
from serving.refusals import Refusal

# Not a setting: the server's first process sets it for its workers.
FOLDER = "CLUSTNET_SHARED_FOLDER"
FILE = "served.json"
LOCK = "lock"
# What stands in a folder's name before the number of the process that made it.
PREFIX = "clustnet-"


class Served(BaseModel):
    """One version of a model: its folder, and the digest of its manifest, which holds those of all its files."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    version: str
    digest: str


class Agreement(BaseModel):
    """What all workers serve.

    Args:
        generation: grows by one with each change.
        default: the model that answers if a request names none.
        models: the versions of each model, newest first.
        unloaded: the versions that each unloaded model had.
    """

    model_config = ConfigDict(frozen=True)

    generation: int
    default: str
    models: dict[str, tuple[Served, ...]]
    unloaded: dict[str, tuple[str, ...]]


class SharedFile:
    """The workers' agreement, in a folder that they share.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._lock = folder / LOCK
        self._stamp: tuple[int, ...] | None = None

    def read(self) -> Agreement | None:
        """Return the agreement, None before there is one."""
        try:
            return Agreement.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return None

    def write(self, agreement: Agreement) -> None:
        """Replace the agreement, whole or not at all.

        Raises:
            Refusal: 503, the file cannot be written.
        """
        with _written(self.path):
            write_text(self.path, agreement.model_dump_json())

    def changed(self) -> bool:
        """Return whether the file has been replaced since the last call; this costs one look at the folder."""
        before, self._stamp = self._stamp, stamp_of(self.path)
        return self._stamp != before

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait for the workers' lock and hold it in the block; a worker that dies in the block releases it.

        Raises:
            Refusal: 503, the lock file cannot be written.
        """
        with _written(self._lock):
            file = self._lock.open("w")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def share_folder() -> None:
    """Make the folder for the workers that this process will start; it is removed when this process ends."""
    os.environ[FOLDER] = str(_new_folder())


def shared_folder() -> Path:
    """Return the folder that the server's first process made, or a new one if this process is alone."""
    return Path(os.environ[FOLDER]) if FOLDER in os.environ else _new_folder()


def _new_folder() -> Path:
    _remove_left_overs()
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _remove_left_overs() -> None:
    """Remove the folders of servers that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}[0-9]*-*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and not lives(int(owner)):
            # Folders of other users cannot be removed, and stay.
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"The workers' shared file {path} cannot be written ({error.strerror}); free space there, or set "
        raise Refusal(503, "failed", f"{message}TMPDIR to another folder.") from None
