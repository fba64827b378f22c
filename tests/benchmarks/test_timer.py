import asyncio
import time
from pathlib import Path

import uvloop

from benchmarks.timer import Timer


def test_it_wakes_at_its_moments() -> None:
    rounds = 0

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0.001)

    async def wait() -> list[float]:
        counting = asyncio.ensure_future(count())
        files = open_files()
        timer, late = Timer(), []
        for seconds in (0.0, 0.0103, 0.00002, 0.5007):
            moment = time.monotonic() + seconds
            await timer.until(moment)
            late.append(time.monotonic() - moment)
        timer.close()
        counting.cancel()
        assert open_files() == files
        return late

    computed = time.process_time()
    assert min(uvloop.run(wait())) >= 0
    assert time.process_time() - computed < 0.4
    assert rounds > 10


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
