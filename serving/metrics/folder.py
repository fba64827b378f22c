"""The folder of the workers' metrics, where a full disk must not end all workers.

prometheus_client only sets the length of its files. A worker that then writes where the disk has no space is killed.
"""

import logging
import os
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# The files of a process: one for each type of metric and, for gauges, for each mode.
KINDS = ("counter", "histogram", "gauge_livesum", "gauge_livemax")
# The size of a file as prometheus_client makes it, enough for some 5,000 series.
FILE_BYTES = 2**20

logger = logging.getLogger("bentoml.clustnet")


def choose_folder(folder: str | None) -> None:
    """Let this process share its metrics with other workers in a folder, or keep them to itself.

    Call this before prometheus_client is imported, which looks for the folder then. Without space for its files, a
    worker serves without the others' metrics and logs an error.

    Args:
        folder: a folder of the server's own, as BentoML's is for all servers of a user; None for a single worker.
    """
    os.environ.pop(VARIABLE, None)
    if folder is None:
        return
    try:
        for kind in KINDS:
            _take_space(Path(folder) / f"{kind}_{os.getpid()}.db")
    except OSError as error:
        logger.error(
            "The folder %s has no space for a worker's metrics (%s), so /metrics shows one worker at a time; "
            "free space there, and start the service again.",
            folder,
            error.strerror,
        )
        return
    os.environ[VARIABLE] = folder


def _take_space(path: Path) -> None:
    try:
        with path.open("a+b") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, FILE_BYTES)
    except OSError:
        # An empty file could not be read with the others.
        path.unlink(missing_ok=True)
        raise
