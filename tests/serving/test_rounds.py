import asyncio
import socket
from functools import partial

import pytest

from serving.rounds import Rounds


def test_each_round_calls_a_few_in_order() -> None:
    async def story() -> list[list[int]]:
        rounds, called = Rounds(max_calls=3), list[int]()
        for number in range(8):
            rounds.call(partial(called.append, number))
        seen = [list(called)]
        while len(called) < 8:
            await asyncio.sleep(0)
            seen.append(list(called))
        return seen

    assert asyncio.run(story()) == [list(range(count)) for count in (3, 6, 8)]


def test_whoever_comes_later_waits_behind_the_others() -> None:
    async def story() -> list[str]:
        rounds, called = Rounds(max_calls=1), list[str]()
        for name in "ab":
            rounds.call(partial(called.append, name))
        await asyncio.sleep(0)
        rounds.call(partial(called.append, "c"))
        assert called == ["a", "b"]
        for _ in range(3):
            await asyncio.sleep(0)
        # It is called at once, as none waits any more.
        rounds.call(partial(called.append, "d"))
        return called

    assert asyncio.run(story()) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("most", "expected"), [(1, 2), (100, 20)])
def test_connections_are_read_between_rounds(most: int, expected: int) -> None:
    async def story() -> int:
        loop, rounds, called = asyncio.get_running_loop(), Rounds(most), list[int]()
        here, there = socket.socketpair()
        with here, there:
            readable = loop.create_future()
            loop.add_reader(here, lambda: readable.done() or readable.set_result(len(called)))
            there.send(b"x")
            for number in range(20):
                rounds.call(partial(called.append, number))
            try:
                return await readable
            finally:
                loop.remove_reader(here)

    assert asyncio.run(story()) == expected
