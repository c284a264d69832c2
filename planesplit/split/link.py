"""The hop from agent to relay as a forwarder that can be cut, frozen, slowed and refused.

It stands where the network stands: it sees ciphertext, keeps its port while the relay restarts, and
fails the way networks do (reset, clean end, silence). Emulated, since not every kernel has netem,
and so that it works on streams in memory too.
"""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

import trio

from planesplit.split.memory_stream import MemoryStream
from planesplit.split.shaping import CLEAR, Flight, Lane, LinkProfile

DIAL_S = 5.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER 0: close() sends RST

Ending = Literal["reset", "end"]
Dial = Callable[[], Awaitable[trio.abc.HalfCloseableStream]]


class Tap:
    """Sees what passes in one direction of one connection; this one looks away."""

    def entered(self, data: bytes) -> None:
        """Bytes have come to the link."""

    def left(self, count: int) -> None:
        """So many more bytes have left it."""


@dataclass(slots=True, eq=False)
class _Pair:
    """One forwarded connection: its two ends and the scope of its pumps."""

    agent: trio.abc.HalfCloseableStream
    relay: trio.abc.HalfCloseableStream
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ending: Ending = "end"


class Link:
    """Forwards connections of the agent to the relay.

    Args:
        dial: connects to the relay as it is at that moment; raises OSError if it is not there.
        profile: how long and how wide the link is.
        tap: makes what sees a connection's bytes from agent to relay.
        wait_until: waits for a time of trio's clock, which is a millisecond late at worst.
    """

    def __init__(
        self,
        dial: Dial,
        profile: LinkProfile = CLEAR,
        *,
        tap: Callable[[], Tap] = Tap,
        wait_until: Callable[[float], Awaitable[None]] = trio.sleep_until,
    ) -> None:
        self._dial, self._tap, self._wait_until = dial, tap, wait_until
        self._lanes = Lane(profile, "up"), Lane(profile, "down")
        self._pairs: set[_Pair] = set()
        self._thawed = trio.Event()
        self._thawed.set()
        self._cut_at: float = math.inf
        self._cut_ending: Ending = "reset"
        self._was_cut = trio.Event()
        self.port = 0
        self.delay_s = 0.0
        self.refusing = False
        self.connections = 0
        self.cuts = 0
        self.forwarded_bytes = 0

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen on a loopback port that the system chooses (`port`) until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self.forward, listeners)
            task_status.started()

    def cut(self, ending: Ending = "reset") -> int:
        """Cut every connection now; return how many there were.

        Args:
            ending: `reset` sends RST and drops what is queued, `end` closes with FIN.
        """
        self._cut_at = math.inf
        count = len(self._pairs)
        for pair in self._pairs:
            pair.ending = ending
            pair.scope.cancel()
        if count:
            self.cuts += count
            self._was_cut.set()
            self._was_cut = trio.Event()
        return count

    def cut_after(self, count_bytes: int, ending: Ending = "reset") -> None:
        """Cut once, exactly when `count_bytes` more bytes have passed, both directions together."""
        self._cut_at = self.forwarded_bytes + count_bytes
        self._cut_ending = ending

    async def wait_cut(self, cuts: int) -> None:
        """Wait until there were more than `cuts` cuts."""
        while self.cuts <= cuts:
            await self._was_cut.wait()

    def freeze(self) -> None:
        """Let nothing through, and say nothing: what a half-open connection looks like."""
        if self._thawed.is_set():
            self._thawed = trio.Event()

    def thaw(self) -> None:
        """Let everything through again, in order."""
        self._thawed.set()

    def heal(self) -> None:
        """Let everything through, at once; connections stay."""
        self._cut_at = math.inf
        self.delay_s, self.refusing = 0.0, False
        self.thaw()

    async def forward(self, agent: trio.abc.HalfCloseableStream) -> None:
        """Forward one connection of the agent's until it ends."""
        async with agent:
            self.connections += 1
            await self._thawed.wait()
            if self.refusing:
                _reset_on_close(agent)
                return
            try:
                with trio.fail_after(DIAL_S):
                    relay = await self._dial()
            except (OSError, trio.TooSlowError):
                _reset_on_close(agent)  # what a port without a listener answers
                return
            async with relay:
                await self._pump(_Pair(agent, relay))

    async def _pump(self, pair: _Pair) -> None:
        self._pairs.add(pair)
        ways = (pair.agent, pair.relay, self._tap()), (pair.relay, pair.agent, Tap())
        try:
            with pair.scope:
                async with trio.open_nursery() as nursery:
                    for (source, sink, tap), lane in zip(ways, self._lanes, strict=True):
                        flight = Flight()
                        nursery.start_soon(self._read, source, lane, flight, tap)
                        nursery.start_soon(self._write, flight, sink, tap)
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pair.ending = "reset"
        finally:
            self._pairs.discard(pair)
            if pair.ending == "reset":
                _reset_on_close(pair.agent)
                _reset_on_close(pair.relay)

    async def _read(
        self, source: trio.abc.ReceiveStream, lane: Lane, flight: Flight, tap: Tap
    ) -> None:
        try:
            while data := bytes(await source.receive_some(lane.piece_bytes)):
                tap.entered(data)
                now_s = trio.current_time()
                if (room_s := lane.room_s(now_s, len(data))) > now_s:
                    await self._wait_until(room_s)
                due_s = lane.admit(trio.current_time(), len(data))
                await flight.put(due_s + self.delay_s, data)
        finally:
            flight.end()

    async def _write(self, flight: Flight, sink: trio.abc.HalfCloseableStream, tap: Tap) -> None:
        while (due_s := await flight.next_s()) is not None:
            if due_s > trio.current_time():
                await self._wait_until(due_s)
            await self._thawed.wait()
            data = flight.take(trio.current_time())
            room = self._cut_at - self.forwarded_bytes
            passing = data if len(data) < room else data[: int(room)]
            self.forwarded_bytes += len(passing)
            await sink.send_all(passing)
            tap.left(len(passing))
            if self.forwarded_bytes >= self._cut_at:
                self.cut(self._cut_ending)
        await sink.send_eof()


def _reset_on_close(stream: trio.abc.Stream) -> None:
    if isinstance(stream, trio.SocketStream):
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    elif isinstance(stream, MemoryStream):
        stream.reset_on_close()
