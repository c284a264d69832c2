"""An in-memory transport pair for one-process mode and tests, with faults on demand."""

from __future__ import annotations

from collections import deque

import trio

from tunnel.errors import TransportClosed
from tunnel.scheduler import joined
from tunnel.streams import Frame

MAX_IN_FLIGHT_BYTES = 1_048_576  # about what two loopback socket buffers hold


class MemoryLink:
    """The wire between two ends. `cut` ends it; `freeze` keeps it silent until `thaw`."""

    def __init__(self) -> None:
        self.closed = False
        self.frozen = False
        self._ends: list[MemoryTransport] = []

    def attach(self, end: MemoryTransport) -> None:
        """Register one of the two ends."""
        self._ends.append(end)

    def cut(self) -> None:
        """End the connection; what was in flight is lost."""
        self.closed = True
        for end in self._ends:
            end.drop()
        self.wake()

    def freeze(self) -> None:
        """Deliver nothing until thaw."""
        self.frozen = True

    def thaw(self) -> None:
        """Deliver again."""
        self.frozen = False
        self.wake()

    def wake(self) -> None:
        """Let both ends look again."""
        for end in self._ends:
            end.changed.set()


class MemoryTransport:
    """One end of a MemoryLink."""

    def __init__(self, link: MemoryLink) -> None:
        self._link = link
        self._inbox: deque[bytes] = deque()
        self._in_flight = 0
        self._other = self
        self._unsent: list[Frame] = []
        self.changed = trio.Event()
        link.attach(self)

    def join(self, other: MemoryTransport) -> None:
        """Name the far end."""
        self._other = other

    def drop(self) -> None:
        """Lose what is in flight towards this end."""
        self._inbox.clear()
        self._in_flight = 0

    @property
    def pending(self) -> bool:
        """See Transport."""
        return bool(self._unsent)

    async def receive(self) -> list[memoryview]:
        """See Transport."""
        while self._link.frozen or not self._inbox:
            if self._link.closed:
                raise TransportClosed("the in-memory link was closed")
            await self._wait()
        await trio.lowlevel.checkpoint()
        frames = [memoryview(data) for data in self._inbox]
        self.drop()
        self._other.changed.set()
        return frames

    async def send(self, frames: list[Frame]) -> None:
        """See Transport."""
        other = self._other
        unsent, self._unsent = self._unsent, []
        for frame in (*unsent, *frames):
            while other._in_flight >= MAX_IN_FLIGHT_BYTES and not self._link.closed:
                await self._wait()
            if self._link.closed:
                raise TransportClosed("the in-memory link was closed")
            data = bytes(joined(frame))
            other._inbox.append(data)
            other._in_flight += len(data)
            other.changed.set()
        await trio.lowlevel.checkpoint()

    def send_now(self, frames: list[Frame]) -> None:
        """See Transport."""
        self._unsent += frames

    async def aclose(self) -> None:
        """Close the link in order: what was sent before can still be received."""
        self._link.closed = True
        self._link.wake()
        await trio.lowlevel.checkpoint()

    async def _wait(self) -> None:
        event = self.changed
        await event.wait()
        if self.changed is event:  # reader and writer share it: the first one awake renews it
            self.changed = trio.Event()


def memory_transport_pair() -> tuple[MemoryTransport, MemoryTransport, MemoryLink]:
    """Return both ends and the link between them."""
    link = MemoryLink()
    one, two = MemoryTransport(link), MemoryTransport(link)
    one.join(two)
    two.join(one)
    return one, two, link
