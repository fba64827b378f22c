"""Try out a bundle in a process of its own: ``python -m serving.models.trial FOLDER EXPERTS``.

onnxruntime cannot be stopped while it opens a graph, and folds constants of any size into memory. A process can be
killed, and its memory is bounded, so that a graph that never ends or is far too large harms no worker.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.predictor import Experts, Predictor
from clustnet.errors import UserError
from serving.processes import end_with_parent

# Time for a process to start, open the graph and run it on two images.
MAX_SECONDS = 20.0
# Memory for Python, onnxruntime and the run, besides the bundle's own files.
MAX_BYTES = 2**30
# Copies of the bundle's files that onnxruntime makes while it opens them.
COPIES = 4
# The exit codes for an input that cannot be used, and for a process that runs out of memory.
WRONG_INPUT, NO_MEMORY = 2, 3


def try_in_process(folder: Path, experts: Experts) -> None:
    """Open a bundle on the CPU in another process, and run it once.

    Raises:
        UserError: the bundle does not run, or takes too long or too much memory.
    """
    command = [sys.executable, "-m", "serving.models.trial", str(folder), experts]
    own = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MAX_SECONDS, env=own)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise _fault(folder, f"it takes over {MAX_SECONDS:g} seconds to open and run") from None
    if done.returncode == WRONG_INPUT:
        raise UserError(done.stderr.splitlines()[-1])
    if done.returncode:
        raise _fault(folder, "it takes too much memory, or crashes the process that tries it")


def main(arguments: list[str]) -> None:
    """Run the trial; the exit code and the last line on stderr say what is wrong."""
    end_with_parent()
    folder = Path(arguments[0])
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    limit = MAX_BYTES + COPIES * size
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        Predictor(Bundle(folder), "cpu", 1, arguments[1]).try_out()  # type: ignore[arg-type]
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(NO_MEMORY if "bad_alloc" in str(error) else WRONG_INPUT) from None
    except MemoryError:
        raise SystemExit(NO_MEMORY) from None


def _fault(folder: Path, fault: str) -> UserError:
    return UserError(f"The model in {folder} cannot be served ({fault}); export it again.")


if __name__ == "__main__":
    main(sys.argv[1:])
