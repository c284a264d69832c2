"""Two WebSocket echo servers for Autobahn|Testsuite: the tunnel's transport, and `websockets`.

`python tests/autobahn/testee.py` prints their ports as JSON and serves until it is ended.

The tunnel speaks binary messages and refuses text with 1003. So that the suite's text cases say
something too, this end hears and echoes text as `websockets` does (RFC 6455, 8.1: what is not UTF-8
is refused with 1007); everything else is the transport as it is.
"""

from __future__ import annotations

import codecs
import json
import sys
from functools import partial

import trio
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Event, State
from websockets.server import ServerProtocol
from websockets.trio.server import ServerConnection, serve

from tunnel.errors import TransportClosed
from tunnel.frames import MAX_FRAME_BYTES
from tunnel.websocket import WebSocketTransport

NOT_UTF8 = 1007  # RFC 6455, 7.4.1
LINGER_S = 1.0  # for the peer to read our Close and hang up
LOOPBACK = "127.0.0.1"


class TextToo(ServerProtocol):
    """The library's protocol; text messages are echoed here, and the transport sees the rest."""

    _decoder: codecs.IncrementalDecoder | None = None  # of a text message that is not whole
    _text = ""

    def events_received(self) -> list[Event]:
        """Return what came, but no text."""
        return [event for event in super().events_received() if not self._took(event)]

    def _took(self, event: Event) -> bool:
        if not isinstance(event, Frame):
            return False
        if event.opcode is Opcode.TEXT:
            self._decoder, self._text = codecs.getincrementaldecoder("utf-8")(), ""
        if event.opcode not in (Opcode.TEXT, Opcode.CONT) or self._decoder is None:
            return False
        try:
            self._text += self._decoder.decode(bytes(event.data), event.fin)
        except UnicodeDecodeError:
            self.fail(NOT_UTF8)
            return True
        if event.fin:
            self._decoder = None
            if self.state is State.OPEN:
                self.send_text(self._text.encode())
        return True


async def ours(stream: trio.SocketStream) -> None:
    """Echo over the tunnel's transport."""
    protocol = TextToo(max_size=MAX_FRAME_BYTES)
    transport = WebSocketTransport(stream, protocol)
    try:
        await transport.handshake(lambda: bool(protocol.events))
        (request,) = protocol.events_received()
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        await transport.send([])
        while True:
            messages = await transport.receive()
            if protocol.state is State.OPEN:
                await transport.send([[message] for message in messages])
    except TransportClosed:
        await _linger(transport, stream)
    finally:
        await transport.aclose()


async def _linger(transport: WebSocketTransport, stream: trio.SocketStream) -> None:
    with trio.move_on_after(LINGER_S):
        try:
            await transport.send([])
            await stream.send_eof()
            while await stream.receive_some(65_536):
                pass
        except (TransportClosed, trio.BrokenResourceError):
            pass


async def theirs(connection: ServerConnection) -> None:
    """Echo over the library's own connection."""
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass


async def main() -> None:
    """Serve both."""
    both = [(await trio.open_tcp_listeners(0, host=LOOPBACK)) for _ in range(2)]
    ports = [listeners[0].socket.getsockname()[1] for listeners in both]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, ours, both[0])
        nursery.start_soon(
            partial(serve, theirs, listeners=both[1], compression=None, max_size=None)
        )
        sys.stdout.write(json.dumps(dict(zip(("ours", "websockets"), ports, strict=True))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    trio.run(main)
