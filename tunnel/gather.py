"""Sends many buffers in one go, without joining them or awaiting when a socket takes them."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress

import trio

from tunnel.payload import Buffer
from tunnel.wipe import wipe

MAX_BUFFERS = 512  # writev takes 1,024 (IOV_MAX); beyond this, small buffers join faster


class SendsNow(trio.abc.SendStream):
    """A stream other than a socket that takes what it can without waiting."""

    @abstractmethod
    def send_now(self, buffers: Sequence[Buffer]) -> int:
        """See `send_now`. What it has not taken has to follow, by `send_rest` or by another call.

        Raises:
            trio.BrokenResourceError, trio.ClosedResourceError: the stream cannot be used.
        """

    @abstractmethod
    async def send_rest(self, buffers: Sequence[Buffer]) -> None:
        """Send it all."""


def deepen(stream: trio.abc.Stream, unsent_bytes: int) -> None:
    """Let the kernel hold so much unsent, if a socket carries the stream.

    trio sets TCP_NOTSENT_LOWAT to 16 KiB, so that nearly every batch goes in pieces, each with a
    task to wake: a sixth of the relay's CPU and a fifth of the agent's (measured).
    """
    socket = getattr(stream, "socket", None)
    if socket is not None and hasattr(trio.socket, "TCP_NOTSENT_LOWAT"):
        with suppress(OSError):  # a Unix socket has no such option
            socket.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NOTSENT_LOWAT, unsent_bytes)


def send_now(stream: trio.abc.SendStream, buffers: Sequence[Buffer]) -> int:
    """Hand over what a socket, or TLS on one, takes at once; returns the bytes.

    Any other stream takes none.

    A trio call costs about 15 us over the system call (measured), and mostly the socket has room.

    Raises:
        trio.BrokenResourceError: the connection ended.
    """
    if not isinstance(stream, trio.SocketStream):
        return stream.send_now(buffers) if isinstance(stream, SendsNow) else 0
    if len(buffers) > MAX_BUFFERS:
        return 0
    descriptor = stream.socket.fileno()
    if descriptor < 0:
        raise trio.ClosedResourceError("the stream was closed")
    try:
        return os.writev(descriptor, buffers)
    except BlockingIOError:
        return 0
    except OSError:
        raise trio.BrokenResourceError("the connection broke") from None


async def send_rest(stream: trio.abc.SendStream, buffers: Sequence[Buffer], sent: int) -> None:
    """Send what `send_now` left; returns when the layer below took it.

    Raises:
        trio.BrokenResourceError: the connection ended.
    """
    rest = skip(buffers, sent)
    if isinstance(stream, SendsNow):
        await stream.send_rest(rest)
        return
    if not isinstance(stream, trio.SocketStream) or len(buffers) > MAX_BUFFERS:
        whole = bytearray().join(rest)
        try:
            await stream.send_all(whole)
        finally:
            wipe(whole)
        return
    while rest:
        await trio.lowlevel.wait_writable(stream.socket)
        rest = skip(rest, send_now(stream, rest))


def skip(buffers: Sequence[Buffer], count: int) -> list[Buffer]:
    """Return what follows the first `count` bytes, without a copy."""
    for index, buffer in enumerate(buffers):
        if count < len(buffer):
            return [memoryview(buffer)[count:], *buffers[index + 1 :]]
        count -= len(buffer)
    return []
