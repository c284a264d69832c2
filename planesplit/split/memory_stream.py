"""Byte streams in memory that behave as sockets do: bounded, half-closeable, and resettable.

trio's own in-memory pairs are unbounded, or break when a send is cancelled.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager

import trio

MAX_BUFFERED_BYTES = 65_536  # one way; then the sender waits, as on a full socket
RECEIVE_BYTES = 65_536


class _Pipe:
    """One direction."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._changed = trio.Event()
        self._sending = self._receiving = False
        self.ended = False  # nothing more will be sent
        self.left = False  # nothing more will be received
        self.broken = False  # reset

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        with _one_at_a_time(self, "_sending"):
            await trio.lowlevel.checkpoint()
            rest = memoryview(data)
            while True:
                if self.ended:
                    raise trio.ClosedResourceError
                if self.left or self.broken:
                    raise trio.BrokenResourceError
                count = min(len(rest), MAX_BUFFERED_BYTES - len(self._buffer))
                self._buffer += rest[:count]
                rest = rest[count:]
                self.wake()
                if not rest:
                    return
                await self._changed.wait()

    async def receive(self, max_bytes: int) -> bytes:
        with _one_at_a_time(self, "_receiving"):
            await trio.lowlevel.checkpoint()
            while not self._buffer:
                if self.left:
                    raise trio.ClosedResourceError
                if self.broken:
                    raise trio.BrokenResourceError
                if self.ended:
                    return b""
                await self._changed.wait()
            data = bytes(self._buffer[:max_bytes])
            del self._buffer[:max_bytes]
            self.wake()
            return data

    async def room(self) -> None:
        with _one_at_a_time(self, "_sending"):
            await trio.lowlevel.checkpoint()
            while len(self._buffer) >= MAX_BUFFERED_BYTES and not (self.left or self.broken):
                if self.ended:
                    raise trio.ClosedResourceError
                await self._changed.wait()
            if self.ended:
                raise trio.ClosedResourceError

    def leave(self) -> None:
        self.left = True
        self._buffer.clear()
        self.wake()

    def end(self) -> None:
        self.ended = True
        self.wake()

    def reset(self) -> None:
        self.broken = True
        self._buffer.clear()
        self.wake()

    def wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


@contextmanager
def _one_at_a_time(pipe: _Pipe, flag: str) -> Iterator[None]:
    if getattr(pipe, flag):
        raise trio.BusyResourceError("another task is using this stream")
    setattr(pipe, flag, True)
    try:
        yield
    finally:
        setattr(pipe, flag, False)


class MemoryStream(trio.abc.HalfCloseableStream):
    """One end of a pair; see `memory_stream_pair`."""

    def __init__(self, outward: _Pipe, inward: _Pipe) -> None:
        self._outward, self._inward = outward, inward
        self._resets = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio.abc.SendStream."""
        await self._outward.send(data)

    async def wait_send_all_might_not_block(self) -> None:
        """See trio.abc.SendStream."""
        await self._outward.room()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See trio.abc.ReceiveStream."""
        limit = RECEIVE_BYTES if max_bytes is None else operator.index(max_bytes)
        if limit < 1:
            raise ValueError("max_bytes must be at least 1")
        return await self._inward.receive(limit)

    async def send_eof(self) -> None:
        """See trio.abc.HalfCloseableStream."""
        with _one_at_a_time(self._outward, "_sending"):
            await trio.lowlevel.checkpoint()
            if self._inward.left:
                raise trio.ClosedResourceError
            self._outward.end()

    def reset_on_close(self) -> None:
        """Let `aclose` break the far end and drop what is under way, as a TCP reset does."""
        self._resets = True

    async def aclose(self) -> None:
        """See trio.abc.AsyncResource."""
        if self._resets:
            self._outward.reset()
            self._inward.reset()
        self._outward.end()
        self._inward.leave()
        await trio.lowlevel.checkpoint()


def memory_stream_pair() -> tuple[MemoryStream, MemoryStream]:
    """Return two streams; what is sent on one is received on the other, 64 KiB ahead at most."""
    there, back = _Pipe(), _Pipe()
    return MemoryStream(there, back), MemoryStream(back, there)
