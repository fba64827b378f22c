"""Parallel work with Ray Data, on all cores of this machine or of a cluster.

Only the items and their results pass through Ray; each worker reads everything else itself. When a worker is killed,
Ray starts another, which works on the same item again.
"""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clustnet.errors import UserError

# Ray reads both when it is imported: no usage statistics are sent, and the start of an actor is not shown as an error.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
# Ray Data itself sets options that it has deprecated.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import ray
    import ray.data
    from ray.exceptions import RayError

    ray.data.DataContext.get_current()

# By default Ray would reserve 30 % of the memory.
OBJECT_STORE_BYTES = 128 * 2**20

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Actor:
    """A Ray worker; ``map_batches`` passes and expects arrays by name."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        self._work = make()

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        results = np.empty(len(batch["number"]), object)
        results[:] = [self._work(item) for item in batch["item"]]
        return {"number": batch["number"], "result": results}


def on_ray(
    make: Callable[[], Callable[[Item], Result]], items: Sequence[Item], workers: int | None = None
) -> Iterator[tuple[int, Result]]:
    """Yield the number of each item and its result, in the order in which they are done.

    The cluster at ``RAY_ADDRESS`` is used if that is set; otherwise one is started here and stopped at the end.

    Args:
        make: returns the function that is applied to each item; each worker calls ``make`` once.
        items: the items to work on.
        workers: the number of processes; by default one for each of the cluster's CPUs.

    Raises:
        UserError: Ray cannot be started or joined, or gave up, or the work itself raised this error.
    """
    if not items:
        return
    # What Ray prints about killed workers must not mix with the results.
    with redirect_stdout(sys.stderr), cluster_of(workers):
        size = workers or int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
        rows = [{"number": number, "item": item} for number, item in enumerate(items)]
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Actor,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(size, len(rows))),
            fn_constructor_args=(make,),
            num_cpus=1,
        )
        try:
            for row in done.iter_rows():
                yield int(row["number"]), row["result"]
        except RayError as error:
            raise _sentence(error) from None


@contextmanager
def cluster_of(workers: int | None) -> Iterator[None]:
    """Start or join a cluster, without dashboard, progress bars or log messages, and leave it at the end.

    If Ray is already connected to a cluster, that one is used and stays connected.

    Args:
        workers: the number of CPUs of a cluster that is started here; by default those of this machine.

    Raises:
        UserError: the cluster cannot be joined, or started within Ray's 30 seconds.
    """
    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    here: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **({} if "RAY_ADDRESS" in os.environ else here))
    except Exception as error:  # noqa: BLE001 - a start that takes too long is a bare Exception of Ray's
        raise UserError(f"Ray cannot be started or joined: {_cause(error)}") from None
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    try:
        yield
    finally:
        ray.shutdown()


def _sentence(error: BaseException) -> UserError:
    """Return the ``UserError`` that the work raised, or else one that says that Ray gave up."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return UserError(str(getattr(cause, "cause", cause)))
        cause = getattr(cause, "cause", None) or cause.__cause__
    return UserError(f"Ray gave up: {_cause(error)}")


def _cause(error: BaseException) -> str:
    """Return the last line of Ray's message, which names the exception itself."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
