"""A timer that keeps its time: timerfd, since epoll's own timeout is rounded up to milliseconds."""

from __future__ import annotations

import ctypes
import os
import struct

import trio

_CLOCK_MONOTONIC = 1
_SPEC = struct.Struct("@qqqq")  # struct itimerspec: interval, value
_NANOS = 1_000_000_000


class Timer:
    """One timer descriptor, readable once the time has come.

    Raises:
        OSError: there is none here.
    """

    def __init__(self) -> None:
        try:
            self._libc = ctypes.CDLL(None, use_errno=True)
            create = self._libc.timerfd_create
        except AttributeError:
            raise OSError("no timerfd in the C library") from None
        self._descriptor = int(create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    async def fired(self) -> None:
        """Wait until it has fired."""
        await trio.lowlevel.wait_readable(self._descriptor)

    def set(self, in_s: float) -> None:
        """Fire after so many seconds, at once for none; it is no longer readable until then."""
        seconds, nanos = divmod(max(int(in_s * _NANOS), 1), _NANOS)
        self._libc.timerfd_settime(self._descriptor, 0, _SPEC.pack(0, 0, seconds, nanos), None)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)
