"""A timer that wakes uvloop to within microseconds; uvloop's own count whole milliseconds and would bunch requests."""

import asyncio
import ctypes
import os
import time

# How long before the moment to wake, since waking up takes as long.
AWAKE_SECONDS = 0.00005


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Timer:
    """Linux's timerfd, which Python itself has from 3.13 on; use it in the loop that is running when it is made.

    Raises:
        OSError: the timer cannot be made, as when too many files are open.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._file = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file < 0:
            raise _fault()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._file, self._ring)
        self._rung = asyncio.Event()

    async def until(self, moment: float) -> None:
        """Wait until a moment of ``time.monotonic``; other tasks of the loop run at least once."""
        await asyncio.sleep(0)
        if moment - time.monotonic() > AWAKE_SECONDS:
            self._rung.clear()
            self._set(moment - AWAKE_SECONDS)
            await self._rung.wait()
        while time.monotonic() < moment:
            await asyncio.sleep(0)

    def close(self) -> None:
        """Close the file."""
        self._loop.remove_reader(self._file)
        os.close(self._file)

    def _set(self, moment: float) -> None:
        absolute, once = 1, _Timespec(0, 0)  # TFD_TIMER_ABSTIME
        when = _Itimerspec(once, _Timespec(*divmod(int(moment * 1e9), 10**9)))
        if self._libc.timerfd_settime(self._file, absolute, ctypes.byref(when), None):
            raise _fault()

    def _ring(self) -> None:
        os.read(self._file, 8)
        self._rung.set()


def _fault() -> OSError:
    return OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
