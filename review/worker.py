"""Another process for what takes seconds, so that the page answers in the meantime; it ends with the server."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import active_children, get_context
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
SECONDS = 1.0


class Worker:
    """One process, which starts at the first call and does one thing after the other."""

    def __init__(self) -> None:
        self._last: Future[Any] | None = None
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), _leave_with, (os.getpid(),))

    def do(self, work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> "Future[T]":
        """Do something in the process."""
        self._last = found = self._pool.submit(work, *arguments, **options)
        return found

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        # One that has nothing to do ends by itself.
        if self._last is not None and not self._last.done():
            for process in active_children():
                process.terminate()
        self._pool.shutdown(cancel_futures=True)


def _leave_with(parent: int) -> None:
    """Let this process end if the server is killed and so cannot end it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
