"""A timer that keeps its time: timerfd, since epoll's own timeout is rounded up to milliseconds."""

from __future__ import annotations

import ctypes
import os
import struct
import time

import trio

_CLOCK_MONOTONIC, _TFD_NONBLOCK, _TFD_CLOEXEC, _ABSOLUTE = 1, 0o4000, 0o2000000, 1
_SPEC = struct.Struct("@qqqq")  # struct itimerspec: interval, value
_libc = ctypes.CDLL(None, use_errno=True)


class Timer:
    """One timer descriptor on the clock of `time.monotonic`."""

    def __init__(self) -> None:
        self._descriptor = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def fileno(self) -> int:
        """The descriptor: readable once the time has come."""
        return int(self._descriptor)

    def set(self, at_s: float) -> None:
        """Fire at that time, at once if it has passed."""
        seconds, nanos = divmod(max(int(at_s * 1e9), 1), 1_000_000_000)
        if _libc.timerfd_settime(
            self._descriptor, _ABSOLUTE, _SPEC.pack(0, 0, seconds, nanos), None
        ):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    async def until(self, at_s: float) -> None:
        """Wait until that time of `time.monotonic`; always a checkpoint."""
        if at_s <= time.monotonic():
            await trio.lowlevel.checkpoint()
            return
        self.set(at_s)
        await trio.lowlevel.wait_readable(self._descriptor)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


async def wait_until(at_s: float) -> None:
    """Wait for a time of trio's clock, by a timer that is not rounded to milliseconds."""
    timer = Timer()
    try:
        await timer.until(time.monotonic() + at_s - trio.current_time())
    finally:
        timer.close()
