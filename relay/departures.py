"""Looks after viewers whose answers are quiet: one task for all of them.

It notices those that leave, for which a task and a nursery each would cost an idle stream 5.3 KiB,
and has the calls rest that have had nothing to do for a while, which spares them 3 KiB of frames
and scopes (measured: decisions 31 and 34).
"""

from __future__ import annotations

import math
import select

import trio

from relay.calls import Call
from relay.downlink import REST_S

LEAVE_AT_ONCE = 16  # their work is undone side by side, and needs memory that stays with the heap


class Departures:
    """Sockets of viewers whose requests have been read, in a poll set of their own.

    The set is made at once: a sealed relay can make none.
    """

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._calls: dict[int, Call] = {}
        self._running = False
        self._wait = trio.CancelScope()

    async def run(self) -> None:
        """Watch for ever."""
        self._running = True
        try:
            looked_at = trio.current_time()
            while True:
                until = looked_at + REST_S if self._calls else math.inf
                with trio.CancelScope(deadline=until) as self._wait:
                    await trio.lowlevel.wait_readable(self._poll.fileno())
                for descriptor, _ in self._poll.poll(0, LEAVE_AT_ONCE):
                    self._look(descriptor)
                if trio.current_time() >= looked_at + REST_S:
                    looked_at = trio.current_time()
                    self._rest(looked_at - REST_S)
        finally:
            self._running = False

    def watch(self, call: Call) -> int | None:
        """Have a call cancelled when its caller leaves, or sends more than a next request's head.

        Returns:
            What `forget` takes; None if it has to be watched by a task of its own.
        """
        descriptor = call.http.descriptor
        if not self._running or descriptor is None:
            return None
        self._poll.register(descriptor, select.EPOLLIN)
        if not self._calls:
            self._wait.deadline = trio.current_time() + REST_S
        self._calls[descriptor] = call
        self._look(descriptor)  # TLS may have decrypted more than was asked for
        return descriptor

    def forget(self, descriptor: int) -> None:
        """Watch no longer; the socket is still open."""
        if self._calls.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def _look(self, descriptor: int) -> None:
        call = self._calls[descriptor]
        if call.http.left():
            self.forget(descriptor)
            call.cancel()

    def _rest(self, since: float) -> None:
        for call in self._calls.values():
            if call.scope is not None and call.resumable and call.http.written_at <= since:
                call.resumable.rest()
