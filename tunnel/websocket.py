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
from tunnel.frames import MAX_FRAME_BYTES, FrameType
from tunnel.gather import deepen, send_now, send_rest, skip
from tunnel.http.guard import Ambiguous, Dialect, check_partial, read_head
from tunnel.intake import READ_BYTES, can_read_now, read_into, shared
from tunnel.payload import Buffer
from tunnel.streams import Frame
from tunnel.websocket_codec import Decoder, Read, encode, masks
from tunnel.wipe import wipe, wipe_all

IN_A_ROW = 2  # reads or writes until the others have their turn (1 MiB)
UNSENT_BYTES = 262_144  # the kernel is busy while a batch is made; 40 ms at 50 Mbit/s
# Of one read, decoded until the others have their turn: a read of 256 KiB may hold 17,000 frames of
# one byte, 0.2 s of work (measured); 512 are a few ms.
FRAMES_IN_A_TURN = 512
OTHER_FRAME = 16  # what a frame for the library counts for: it costs that much more
COSTLY_IN_A_TURN = 32  # frames other than DATA and MARK: opening a stream takes 0.1 ms (measured)
MAX_PONGS = 1_024  # that wait to be written; a peer that pings and does not read ends itself
MAX_FRAGMENTS = 1_024  # of one message; no known client cuts 64 KiB into pieces below 64 bytes
END_OF_HEAD = b"\r\n\r\n"
TUNNEL_PATH = "/tunnel"
NORMAL, UNSUPPORTED, POLICY = 1000, 1003, 1008  # RFC 6455, 7.4.1
UPGRADE = Dialect(upgrades=True)
PAYLOAD_FRAMES = frozenset((int(FrameType.DATA), int(FrameType.MARK)))

# At DEBUG websockets logs frames and headers: it gets a logger of no level and no handler.
_SILENT = logging.Logger("tunnel.websocket", level=logging.CRITICAL + 1)


class _Turn:
    """Lets the others run after a few reads or writes: a checkpoint costs as much as 30 KiB."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = IN_A_ROW

    async def over(self) -> None:
        """One was done: a point to cancel at, and now and then a checkpoint."""
        self._left -= 1
        if self._left:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            self._left = IN_A_ROW
            await trio.lowlevel.checkpoint()


class WebSocketTransport:
    """Frames over an open WebSocket. One task receives, one task sends.

    Args:
        stream: the connected byte stream (TCP, TLS or memory).
        protocol: a Sans-I/O protocol in state OPEN.
    """

    def __init__(self, stream: trio.abc.Stream, protocol: Protocol) -> None:
        deepen(stream, UNSENT_BYTES)
        self._stream, self._protocol = stream, protocol
        self._decoder = Decoder(protocol)
        self._ahead = b""  # what came with the handshake and was not looked at yet
        self._rest = bytearray()  # the beginning of a frame that has not arrived whole
        self._backlog: memoryview | None = None  # whole frames that wait for the next turn
        self._held: list[memoryview] = []  # messages that do
        self._fragments: list[bytes] = []
        self._fragment_count = 0  # empty ones are not kept, but cost time too
        self._pongs = 0  # that wait in `_replies`
        self._replies: list[Buffer] = []  # the protocol's own, and what `send_now` left
        self._reading, self._writing = _Turn(), _Turn()

    @property
    def pending(self) -> bool:
        """See Transport."""
        return bool(self._replies)

    async def receive(self) -> list[memoryview]:
        """See Transport."""
        messages: list[memoryview] = []
        while not messages:
            if self._protocol.state is not State.OPEN and not (self._ahead or self._held):
                raise TransportClosed("the WebSocket was closed")
            messages = self._portion(await self._next())
            if self._replies and self._protocol.state is State.OPEN:
                break  # a Pong does not wait for the peer's next message
        return messages

    async def send(self, frames: list[Frame]) -> None:
        """See Transport."""
        await self._write(self._outgoing(frames))

    def send_now(self, frames: list[Frame]) -> None:
        """See Transport."""
        buffers = self._outgoing(frames)
        try:
            self._replies = skip(buffers, send_now(self._stream, buffers))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportClosed("the connection broke") from None

    async def read_head(self) -> bytes:
        """Read a request's head; what follows it stays here for `receive`.

        Raises:
            Ambiguous: it is too long, or no HTTP/1.1 that only one reading has.
            TransportClosed: the connection broke.
        """
        data, seen = b"", 0
        while (end := data.find(END_OF_HEAD, max(0, seen - 3), UPGRADE.max_head_bytes)) < 0:
            check_partial(data, max(0, seen - 1), UPGRADE)
            if (seen := len(data)) >= UPGRADE.max_head_bytes:
                raise Ambiguous
            data += await self._read_some()
        read_head(data[:end], UPGRADE)
        upto = end + len(END_OF_HEAD)
        self._ahead = data[upto:]
        return data[:upto]

    async def handshake(self, settled: Callable[[], bool]) -> None:
        """Feed the library until `settled`; what follows the HTTP head stays here for `receive`."""
        before, in_head = b"", True  # the end of what was fed: the head may end across two reads
        while not settled():
            data = self._ahead or await self._read_some()
            upto, known = len(data), before + data
            if in_head and (found := known.find(END_OF_HEAD)) >= 0:
                upto, in_head = found + len(END_OF_HEAD) - len(before), False
            before = known[1 - len(END_OF_HEAD) :]
            self._protocol.receive_data(data[:upto])
            self._ahead = data[upto:]

    async def aclose(self) -> None:
        """Send Close if it is still possible, then close the byte stream without waiting."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(NORMAL)
        try:
            with suppress(TransportClosed):
                await self._write([*self._replies, *self._protocol.data_to_send()])
        finally:
            for left in (self._rest, self._backlog or b"", *self._held):
                wipe(left)
            shared.wipe()
            await trio.aclose_forcefully(self._stream)

    def _outgoing(self, frames: list[Frame]) -> list[Buffer]:
        """Return all that is to be written: what waits in `pending`, then frames."""
        if self._protocol.state is not State.OPEN and frames:
            raise TransportClosed("the WebSocket was closed")
        replies, self._replies, self._pongs = self._replies, [], 0
        own = self._protocol.data_to_send()
        return [*replies, *own, *encode(frames, mask=masks(self._protocol))]

    async def _next(self) -> list[memoryview]:
        """Read once, or go on with the last read; return the messages that are whole now."""
        if self._held:
            await trio.lowlevel.checkpoint()
            return self._held
        if self._backlog is not None:
            await trio.lowlevel.checkpoint()
            return self._decode(self._backlog)
        if self._ahead:
            data, self._ahead = self._ahead, b""
        elif can_read_now(self._stream):
            return await self._next_shared()
        else:
            data = await self._read_some()
        whole = memoryview(self._rest + data)
        wipe(data)
        try:
            return self._decode(whole)
        finally:
            wipe(whole)

    async def _next_shared(self) -> list[memoryview]:
        """Read into the buffer that all transports share: nobody else runs until it is decoded."""
        await self._reading.over()
        end = len(self._rest)
        try:
            count = await read_into(self._stream, end)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportClosed("the connection broke") from None
        if not count:
            raise TransportClosed("the connection ended without Close")
        shared.view[:end] = self._rest
        return self._decode(shared.view[: end + count])

    async def _read_some(self) -> bytes:
        try:
            data = await self._stream.receive_some(READ_BYTES)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportClosed("the connection broke") from None
        if not data:
            raise TransportClosed("the connection ended without Close")
        return bytes(data)

    def _decode(self, data: memoryview) -> list[memoryview]:
        """Return the messages that are whole, copied out; the library gets what is no plain data.

        What remains is kept for the next read: less than a frame, or for the next turn.
        """
        messages: list[memoryview] = []
        start = others = 0
        while (most := FRAMES_IN_A_TURN - len(messages) - others) > 0:
            start = self._decoder.plain(data, start, messages, most)
            what, upto = self._decoder.next(data, start)
            if isinstance(what, bytes):
                messages.append(memoryview(what))
            elif what is Read.OTHER:
                piece = bytes(data[start:upto])
                self._protocol.receive_data(piece)
                wipe(piece)
                messages += self._collect()
                self._reply()
                others += OTHER_FRAME
            else:
                break
            start = upto
        self._keep(data, start, whole=most <= 0)
        return messages

    def _keep(self, data: memoryview, start: int, *, whole: bool) -> None:
        """Keep what was not decoded: `whole` frames for the next turn, else less than a frame."""
        if whole and self._backlog is not None:
            wipe(data[:start])
            self._backlog = data[start:]
            return
        rest = bytearray(data[start:])
        wipe(self._rest)
        if self._backlog is not None:
            wipe(self._backlog)  # which is `data`
        self._rest, self._backlog = (bytearray(), memoryview(rest)) if whole else (rest, None)

    def _portion(self, messages: list[memoryview]) -> list[memoryview]:
        """Return what is for this turn; the rest is held back."""
        self._held = []
        if len(messages) > COSTLY_IN_A_TURN:
            costly = [at for at, m in enumerate(messages) if not m or m[0] not in PAYLOAD_FRAMES]
            if len(costly) > COSTLY_IN_A_TURN:
                upto = costly[COSTLY_IN_A_TURN]
                messages, self._held = messages[:upto], messages[upto:]
        return messages

    def _reply(self) -> None:
        """Keep what the library answers, for the writer."""
        replies = [reply for reply in self._protocol.data_to_send() if reply]
        self._replies += replies
        self._pongs += len(replies)
        if self._pongs > MAX_PONGS:
            self._protocol.fail(POLICY)

    async def _write(self, buffers: list[Buffer]) -> None:
        try:
            sent = send_now(self._stream, buffers)
            if sent < sum(map(len, buffers)):
                await send_rest(self._stream, buffers, sent)
            else:
                await self._writing.over()
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
                self._fragment_count += 1
                if event.data:
                    self._fragments.append(bytes(event.data))
                if event.fin:
                    messages.append(memoryview(bytearray().join(self._fragments)))
                    wipe_all(self._fragments)
                    self._fragments, self._fragment_count = [], 0
                elif self._fragment_count >= MAX_FRAGMENTS:
                    self._protocol.fail(POLICY)
                    break
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
    with suppress(Ambiguous):
        protocol.receive_data(await transport.read_head())
        for event in protocol.events_received():
            assert isinstance(event, Request)
            return event
    bad = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    await transport._write([bad])
    raise HandshakeFailed("not an HTTP request", status=400)


def _failed(protocol: Protocol) -> bool:
    return protocol.handshake_exc is not None
