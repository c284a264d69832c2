"""The WebSocket transport (RFC 6455) on any trio byte stream, by `websockets`' Sans-I/O protocol.

`websockets.trio` itself deadlocks when both ends send more than the socket buffers hold: its reader
waits for the send lock. Here the reader never writes; the protocol's own replies (Pong, Close) wait
in `pending` for the writer. permessage-deflate is never offered.
"""

from __future__ import annotations

import logging
from contextlib import suppress

import trio
from websockets.client import ClientProtocol
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from tunnel.errors import HandshakeFailed, TransportClosed
from tunnel.frames import MAX_FRAME_BYTES
from tunnel.scheduler import joined
from tunnel.streams import Frame

READ_BYTES = 262_144
TUNNEL_PATH = "/tunnel"
NORMAL, UNSUPPORTED = 1000, 1003  # RFC 6455, 7.4.1

# At DEBUG websockets logs frames and headers: it gets a logger of no level and no handler.
_SILENT = logging.Logger("tunnel.websocket", level=logging.CRITICAL + 1)


def mask_in_c() -> bool:
    """Whether websockets' C extension is there; without it the relay costs twice (measured)."""
    try:
        import websockets.speedups  # noqa: F401
    except ImportError:
        return False
    return True


class WebSocketTransport:
    """Frames over an open WebSocket. One task receives, one task sends.

    Args:
        stream: the connected byte stream (TCP, TLS or memory).
        protocol: a Sans-I/O protocol in state OPEN.
    """

    def __init__(self, stream: trio.abc.Stream, protocol: Protocol) -> None:
        self._stream, self._protocol = stream, protocol
        self._fragments: list[bytes] = []
        self._replies: list[bytes] = []

    @property
    def pending(self) -> bool:
        """See Transport."""
        return bool(self._replies)

    async def receive(self) -> list[memoryview]:
        """See Transport."""
        while not (frames := self._collect()):
            if self._protocol.state is not State.OPEN:
                raise TransportClosed("the WebSocket was closed")
            self._protocol.receive_data(await self._read())
            self._replies += [reply for reply in self._protocol.data_to_send() if reply]
        return frames

    async def send(self, frames: list[Frame]) -> None:
        """See Transport."""
        if self._protocol.state is not State.OPEN and frames:
            raise TransportClosed("the WebSocket was closed")
        for frame in frames:
            self._protocol.send_binary(joined(frame))
        replies, self._replies = self._replies, []
        await self._write(b"".join([*replies, *self._protocol.data_to_send()]))

    async def aclose(self) -> None:
        """Send Close if it is still possible, then close the byte stream without waiting."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(NORMAL)
        try:
            with suppress(TransportClosed):
                await self._write(b"".join([*self._replies, *self._protocol.data_to_send()]))
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _read(self) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(READ_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportClosed("the connection broke") from None
        if not data:
            raise TransportClosed("the connection ended without Close")
        return data

    async def _write(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            raise TransportClosed("the connection broke") from None

    def _collect(self) -> list[memoryview]:
        """Return the binary messages that have arrived whole."""
        messages = []
        for event in self._protocol.events_received():
            if not isinstance(event, WebSocketFrame):
                continue  # the HTTP response; frames may have come in the same read
            if event.opcode is Opcode.TEXT:
                self._protocol.fail(UNSUPPORTED)
                break
            if event.opcode is Opcode.BINARY and event.fin:
                messages.append(memoryview(event.data))
            elif event.opcode in (Opcode.BINARY, Opcode.CONT):
                if event.data:  # empty fragments are legal, without end and not limited
                    self._fragments.append(bytes(event.data))
                if event.fin:
                    messages.append(memoryview(b"".join(self._fragments)))
                    self._fragments = []
        return messages


async def connect_websocket(
    stream: trio.abc.Stream, *, host: str, path: str = TUNNEL_PATH
) -> WebSocketTransport:
    """Open a WebSocket as a client on a connected byte stream. The caller sets the deadline.

    Args:
        stream: to the server, TLS done.
        host: `host:port` for the Host header.
        path: request target.

    Raises:
        HandshakeFailed: the server refused; `status` tells how.
        TransportClosed: the connection broke.
    """
    uri = parse_uri(f"ws://{host}{path}")
    protocol = ClientProtocol(uri, max_size=MAX_FRAME_BYTES, logger=_SILENT)
    protocol.send_request(protocol.connect())
    transport = WebSocketTransport(stream, protocol)
    await transport.send([])
    while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
        protocol.receive_data(await transport._read())
    if protocol.handshake_exc is not None:
        status = getattr(getattr(protocol.handshake_exc, "response", None), "status_code", 0)
        raise HandshakeFailed("the server refused the WebSocket", status=status)
    return transport


async def accept_websocket(
    stream: trio.abc.Stream, *, path: str = TUNNEL_PATH
) -> WebSocketTransport:
    """Open a WebSocket as the server. The caller sets the deadline.

    Browsers (an Origin header) are refused: agents are no browsers.

    Raises:
        HandshakeFailed: it was no proper upgrade to `path`; the peer has been answered.
        TransportClosed: the connection broke.
    """
    protocol = ServerProtocol(origins=[None], max_size=MAX_FRAME_BYTES, logger=_SILENT)
    transport = WebSocketTransport(stream, protocol)
    request = await _read_request(transport, protocol)
    response = protocol.accept(request)
    if request.path != path:
        response = protocol.reject(404, "")
    protocol.send_response(response)
    await transport.send([])
    if protocol.state is not State.OPEN:
        raise HandshakeFailed("not an upgrade that is served here", status=response.status_code)
    return transport


async def _read_request(transport: WebSocketTransport, protocol: ServerProtocol) -> Request:
    while True:
        protocol.receive_data(await transport._read())
        for event in protocol.events_received():
            assert isinstance(event, Request)
            return event
        if protocol.handshake_exc is not None:
            bad = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            await transport._write(bad)
            raise HandshakeFailed("not an HTTP request", status=400)
