"""The WebSocket transport (RFC 6455) on any trio byte stream, by `websockets`' Sans-I/O protocol.

`websockets.trio` itself deadlocks when both ends send more than the socket buffers hold: its reader
waits for the send lock. Here the reader never writes; the protocol's own replies (Pong, Close) wait
in `pending` for the writer. permessage-deflate is never offered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
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
from tunnel.gather import send_now, send_rest
from tunnel.payload import Buffer
from tunnel.streams import Frame
from tunnel.websocket_codec import Decoder, Read, encode, masks

BUFFER_BYTES = 262_144 + MAX_FRAME_BYTES  # 64 -> 256 KiB reads halve their cost (measured)
END_OF_HEAD = b"\r\n\r\n"
TUNNEL_PATH = "/tunnel"
NORMAL, UNSUPPORTED = 1000, 1003  # RFC 6455, 7.4.1

# At DEBUG websockets logs frames and headers: it gets a logger of no level and no handler.
_SILENT = logging.Logger("tunnel.websocket", level=logging.CRITICAL + 1)


class WebSocketTransport:
    """Frames over an open WebSocket. One task receives, one task sends.

    Args:
        stream: the connected byte stream (TCP, TLS or memory).
        protocol: a Sans-I/O protocol in state OPEN.
    """

    def __init__(self, stream: trio.abc.Stream, protocol: Protocol) -> None:
        self._stream, self._protocol = stream, protocol
        self._decoder = Decoder(protocol)
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._end = 0  # of what the buffer holds
        self._fragments: list[bytes] = []
        self._replies: list[bytes] = []

    @property
    def pending(self) -> bool:
        """See Transport."""
        return bool(self._replies)

    async def receive(self) -> list[memoryview]:
        """See Transport."""
        while not (messages := self._decode()):
            if self._protocol.state is not State.OPEN:
                raise TransportClosed("the WebSocket was closed")
            await self._fill()
        return messages

    async def send(self, frames: list[Frame]) -> None:
        """See Transport."""
        if self._protocol.state is not State.OPEN and frames:
            raise TransportClosed("the WebSocket was closed")
        replies, self._replies = self._replies, []
        own = self._protocol.data_to_send()
        data = encode(frames, mask=masks(self._protocol))
        await self._write([*replies, *own, *data])

    async def handshake(self, settled: Callable[[], bool]) -> None:
        """Feed the library until `settled`; what follows the HTTP head stays here for `receive`."""
        fed, in_head = 0, True
        while not settled():
            if fed == len(self._buffer):
                self._discard(fed)
                fed = 0
            if fed == self._end:
                await self._fill()
            upto = self._end
            if in_head and (found := self._buffer.find(END_OF_HEAD, max(0, fed - 3), upto)) >= 0:
                upto, in_head = found + len(END_OF_HEAD), False
            self._protocol.receive_data(bytes(self._view[fed:upto]))
            fed = upto
        self._discard(fed)

    async def aclose(self) -> None:
        """Send Close if it is still possible, then close the byte stream without waiting."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(NORMAL)
        try:
            with suppress(TransportClosed):
                await self._write([*self._replies, *self._protocol.data_to_send()])
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _fill(self) -> None:
        """Read once, behind what the buffer holds."""
        room = self._view[self._end :]
        try:
            if isinstance(self._stream, trio.SocketStream):  # without a copy in between
                count = await self._stream.socket.recv_into(room)
            else:
                data = await self._stream.receive_some(len(room))
                count = len(data)
                room[:count] = data
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportClosed("the connection broke") from None
        if not count:
            raise TransportClosed("the connection ended without Close")
        self._end += count

    def _decode(self) -> list[memoryview]:
        """Return the messages that have arrived whole; the library gets what is no plain data."""
        messages: list[memoryview] = []
        data, start = self._view[: self._end], 0
        while True:
            what, upto = self._decoder.next(data, start)
            if isinstance(what, bytes):
                messages.append(memoryview(what))
            elif what is Read.OTHER:
                self._protocol.receive_data(bytes(data[start:upto]))
                messages += self._collect()
                self._replies += [reply for reply in self._protocol.data_to_send() if reply]
            else:
                break
            start = upto
        self._discard(start)
        return messages

    def _discard(self, count: int) -> None:
        """Forget the first `count` bytes of the buffer; the rest moves to its beginning."""
        rest = self._end - count
        if count and rest:
            self._view[:rest] = bytes(self._view[count : self._end])
        self._end = rest

    async def _write(self, buffers: list[Buffer]) -> None:
        try:
            sent = send_now(self._stream, buffers)
            if sent < sum(map(len, buffers)):
                await send_rest(self._stream, buffers, sent)
            else:
                await trio.lowlevel.checkpoint()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            raise TransportClosed("the connection broke") from None

    def _collect(self) -> list[memoryview]:
        """Return the binary messages that have arrived whole."""
        messages: list[memoryview] = []
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
    await transport.handshake(lambda: protocol.state is not State.CONNECTING or _failed(protocol))
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
    await transport.handshake(lambda: bool(protocol.events) or _failed(protocol))
    for event in protocol.events_received():
        assert isinstance(event, Request)
        return event
    bad = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    await transport._write([bad])
    raise HandshakeFailed("not an HTTP request", status=400)


def _failed(protocol: Protocol) -> bool:
    return protocol.handshake_exc is not None
