import asyncio
import threading

import pytest

from serving.refusals import Refusal
from serving.v2.turns import Turns


def test_one_runs_at_a_time_and_too_many_are_refused_at_once() -> None:
    running = threading.Lock()
    opened = threading.Event()

    def compute(value: int) -> int:
        assert opened.wait(20)
        assert running.acquire(blocking=False)
        try:
            return value
        finally:
            running.release()

    async def ask_five() -> list[int | BaseException]:
        turns = Turns(most_waiting=2)
        pending = asyncio.gather(*(turns.run(compute, i) for i in range(5)), return_exceptions=True)
        await asyncio.sleep(0)  # all have asked in the same round of the event loop
        opened.set()
        return await pending

    *served, fourth, fifth = asyncio.run(ask_five())
    assert served == [0, 1, 2]
    for refused in (fourth, fifth):
        assert isinstance(refused, Refusal)
        assert (refused.status, refused.reason) == (503, "overloaded")


def test_a_computation_that_fails_frees_its_turn() -> None:
    async def fail_then_succeed() -> int:
        turns = Turns(most_waiting=0)
        with pytest.raises(ZeroDivisionError):
            await turns.run(divmod, 1, 0)
        return await turns.run(max, 1, 2)

    assert asyncio.run(fail_then_succeed()) == 2
