"""Reads into one buffer that all connections of a thread share, without awaiting what is there.

The buffer is in use from a read to the decoding after it and never across an await. What was read
is wiped when a read would wait, which costs nothing under load, and when a connection ends.
"""

from __future__ import annotations

import os
import threading

import trio

from tunnel.frames import MAX_FRAME_BYTES
from tunnel.heap import blank
from tunnel.tls import TlsStream
from tunnel.wipe import wipe

READ_BYTES = 532_480  # two turns of a sender; 1 MiB delays credit on long links (decision 32)
BUFFER_BYTES = READ_BYTES + MAX_FRAME_BYTES


class Shared(threading.local):
    """One read buffer a thread.

    A buffer of its own would cost a busy transport 0.6 MB, a relay of 1,000 tunnels 600 MB.
    """

    def __init__(self) -> None:
        self.view = blank(BUFFER_BYTES)
        self._used = 0

    def used(self, count: int) -> None:
        """Note that the first `count` bytes hold something."""
        if count > self._used:
            self._used = count

    def wipe(self) -> None:
        """Zero what was used."""
        if self._used:
            wipe(self.view[: self._used])
            self._used = 0


shared = Shared()


def can_read_now(stream: trio.abc.ReceiveStream) -> bool:
    """Whether `read_now` can be used on a stream: a socket, or TLS on one."""
    if isinstance(stream, TlsStream):
        return stream.socket is not None
    return isinstance(stream, trio.SocketStream)


async def read_into(stream: trio.abc.ReceiveStream, start: int = 0, limit: int = READ_BYTES) -> int:
    """Read into the shared buffer from `start` on; returns the count, 0 at the end of the stream.

    Only for streams of which `can_read_now`. There is no checkpoint while something is there.

    Raises:
        trio.BrokenResourceError, trio.ClosedResourceError, HandshakeFailed: as `receive_some`.
    """
    while True:
        try:
            return read_at_once(stream, start, limit)
        except BlockingIOError:
            pass
        await trio.lowlevel.wait_readable(socket_of(stream))


def read_at_once(stream: trio.abc.ReceiveStream, start: int = 0, limit: int = READ_BYTES) -> int:
    """As `read_into`, but never waits.

    Raises:
        BlockingIOError: nothing is there.
        trio.BrokenResourceError, trio.ClosedResourceError, HandshakeFailed: as `receive_some`.
    """
    try:
        count = _read_now(stream, shared.view[start : start + limit])
    except BaseException:
        shared.wipe()
        raise
    shared.used(start + count)
    return count


def socket_of(stream: trio.abc.ReceiveStream) -> trio.socket.SocketType:
    """The socket below a stream of which `can_read_now`."""
    socket = stream.socket if isinstance(stream, TlsStream) else _socket(stream)
    assert socket is not None
    return socket


def _read_now(stream: trio.abc.ReceiveStream, view: memoryview) -> int:
    if isinstance(stream, TlsStream):
        return stream.read_now(view)
    descriptor = _socket(stream).fileno()
    if descriptor < 0:
        raise trio.ClosedResourceError("the stream was closed")
    try:
        return os.readv(descriptor, [view])
    except BlockingIOError:
        raise
    except OSError:
        raise trio.BrokenResourceError("the connection broke") from None


def _socket(stream: trio.abc.ReceiveStream) -> trio.socket.SocketType:
    assert isinstance(stream, trio.SocketStream)
    return stream.socket
