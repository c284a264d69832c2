"""The reference transport: `websockets`' Sans-I/O protocol for everything, no way of our own.

The product's transport has to do what this one does; both run the same suite, also against each
other.
"""

from __future__ import annotations

import logging

import trio
from websockets.client import ClientProtocol
from websockets.frames import Frame as WebSocketFrame
from websockets.http11 import Request
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from tunnel.errors import TransportClosed
from tunnel.frames import MAX_FRAME_BYTES
from tunnel.scheduler import joined
from tunnel.streams import Frame
from tunnel.websocket import TUNNEL_PATH

READ_BYTES = 65_536
_SILENT = logging.Logger("reference", level=logging.CRITICAL + 1)


class ReferenceTransport:
    """See Transport. One task receives, one task sends."""

    def __init__(self, stream: trio.abc.Stream, protocol: Protocol) -> None:
        self._stream, self._protocol = stream, protocol
        self._replies: list[bytes] = []

    @property
    def pending(self) -> bool:
        """See Transport."""
        return bool(self._replies)

    async def receive(self) -> list[memoryview]:
        """See Transport."""
        while not (messages := self._messages()):
            if self._protocol.state is not State.OPEN:
                raise TransportClosed("the WebSocket was closed")
            await self.feed()
        return messages

    async def send(self, frames: list[Frame]) -> None:
        """See Transport."""
        if self._protocol.state is not State.OPEN and frames:
            raise TransportClosed("the WebSocket was closed")
        for frame in frames:
            self._protocol.send_binary(bytes(joined(frame)))
        data, self._replies = [*self._replies, *self._protocol.data_to_send()], []
        try:
            await self._stream.send_all(b"".join(data))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportClosed("the connection broke") from None

    def send_now(self, frames: list[Frame]) -> None:
        """See Transport."""
        if self._protocol.state is not State.OPEN:
            raise TransportClosed("the WebSocket was closed")
        for frame in frames:
            self._protocol.send_binary(bytes(joined(frame)))
        self._replies += self._protocol.data_to_send()

    async def aclose(self) -> None:
        """See Transport."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
        try:
            await self.send([])
        except TransportClosed:
            pass
        finally:
            await trio.aclose_forcefully(self._stream)

    async def feed(self) -> None:
        """Read once and give it to the library."""
        try:
            data = await self._stream.receive_some(READ_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportClosed("the connection broke") from None
        if not data:
            raise TransportClosed("the connection ended without Close")
        self._protocol.receive_data(bytes(data))
        self._replies += [reply for reply in self._protocol.data_to_send() if reply]

    def _messages(self) -> list[memoryview]:
        events = self._protocol.events_received()
        frames = [event for event in events if isinstance(event, WebSocketFrame)]
        return [memoryview(bytes(frame.data)) for frame in frames if frame.opcode.name == "BINARY"]


async def connect_reference(stream: trio.abc.Stream) -> ReferenceTransport:
    """Open a WebSocket as a client."""
    uri = parse_uri(f"ws://relay:1{TUNNEL_PATH}")
    protocol = ClientProtocol(uri, max_size=MAX_FRAME_BYTES, logger=_SILENT)
    protocol.send_request(protocol.connect())
    transport = ReferenceTransport(stream, protocol)
    await transport.send([])
    while protocol.state is State.CONNECTING:
        await transport.feed()
    return transport


async def accept_reference(stream: trio.abc.Stream) -> ReferenceTransport:
    """Open a WebSocket as the server."""
    protocol = ServerProtocol(origins=[None], max_size=MAX_FRAME_BYTES, logger=_SILENT)
    transport = ReferenceTransport(stream, protocol)
    while not (events := protocol.events_received()):
        await transport.feed()
    assert isinstance(events[0], Request)
    protocol.send_response(protocol.accept(events[0]))
    await transport.send([])
    return transport
