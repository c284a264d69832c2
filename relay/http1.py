"""One HTTP/1.1 connection, server side: heads by h11, bodies by us, so that they are touched least.

Answers are joined into one send a batch. The socket is watched for the peer's leaving while an
answer streams.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus

import trio

from relay.http_head import (
    END_OF_HEAD,
    MAX_CHUNK_LINE_BYTES,
    BadRequest,
    Request,
    check_start,
    chunk_size,
    parse_head,
)
from relay.metrics import Reason
from relay.read_ahead import ReadAhead
from relay.settings import RelaySettings
from tunnel.errors import HandshakeFailed
from tunnel.exchange import Headers
from tunnel.gather import deepen, send_now, send_rest, skip
from tunnel.http.patience import Patience
from tunnel.intake import can_read_now, read_at_once, read_into, shared, socket_of
from tunnel.payload import Buffer
from tunnel.wipe import Owned, joined, wipe, wipe_all

READ_BYTES = 65_536
LINGER_BYTES = 262_144  # what is read and thrown away so that a last error isn't lost to a RST
LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"  # RFC 9110, 10.1.1
_BODYLESS = (204, 304)
GONE = (trio.BrokenResourceError, trio.ClosedResourceError, HandshakeFailed)


class Stalled(Exception):
    """The peer has not read for `write_stall_s`."""


class Http1:
    """A connection and the exchange under way on it.

    Args:
        stream: connected byte stream, TLS included; who serves it closes it.
        settings: limits.
        common: headers on every answer.
    """

    __slots__ = (
        "_buffer", "_chunk_ends", "_chunked", "_common", "_expects_continue", "_left", "_patience",
        "_settings", "_stream", "_unsent", "close", "finished", "started", "torn", "written_at",
    )  # fmt: skip

    def __init__(
        self, stream: trio.abc.Stream, settings: RelaySettings, common: Headers = ()
    ) -> None:
        deepen(stream, settings.batch_bytes)
        self._stream, self._settings = stream, settings
        self._common = common
        self._buffer = ReadAhead()
        # Bytes of body still to come, -1 while a head is; None: chunked, between chunks.
        self._left: int | None = -1
        self._chunked = False
        self._chunk_ends = False  # whether a chunk's CRLF is due
        self._expects_continue = False
        self._patience: Patience | None = None  # while a body is read
        self.close = False
        self.started = self.finished = self.torn = False
        self.written_at = trio.current_time()
        self._unsent: Sequence[Buffer] = ()

    # The request.

    async def next_request(self, wait_s: float) -> Request | None:
        """Wait for a request's head; None when the peer was silent for `wait_s`.

        Raises:
            BadRequest: the head is unacceptable, too large or too slow.
            trio.BrokenResourceError: the peer has left.
        """
        if not self._buffer:
            with trio.move_on_after(wait_s):
                await self._fill()
        if not self._buffer:
            return None
        await trio.lowlevel.checkpoint()  # a read may hold thousands of requests
        self.started = self.finished = False  # a head that is refused has no answer yet
        with trio.move_on_after(self._settings.handshake_s):
            self._left = -1
            head = await self._head()
            try:
                request = parse_head(head, max_headers=self._settings.max_headers)
            finally:
                wipe(head)
            self._begin(request)
            return request
        raise BadRequest(408, Reason.SLOW, "the request head took too long")

    async def invite(self) -> None:
        """Tell a peer that waits for it to send its body; before anything of the answer is sent.

        Raises:
            Stalled: the peer does not read.
            trio.BrokenResourceError: the peer has left.
        """
        expects, self._expects_continue = self._expects_continue, False
        if expects and not self._buffer:
            await self._send([CONTINUE])

    async def body(self) -> Owned:
        """Return some of the request's body, to be wiped by who is done with it; empty at its end.

        Raises:
            BadRequest: malformed chunks, or too slow.
            Stalled: see `invite`.
            trio.BrokenResourceError: the peer left in the middle of it.
        """
        if self._left == 0:
            return Owned()
        await self.invite()
        if self._patience is None:
            settings = self._settings
            self._patience = Patience(settings.body_idle_s, settings.body_rate_bytes_s)
        with self._patience.scope():
            if self._left is None:
                await trio.lowlevel.checkpoint()  # a read may hold thousands of chunks
                await self._begin_chunk()
            piece = await self._piece() if self._left else Owned()
            self._patience.got(len(piece))
            if self._left == 0:
                self._patience = None
            return piece
        raise BadRequest(408, Reason.SLOW, "the request body took too long")

    async def whole_body(self, limit_bytes: int) -> Owned:
        """Return the request's body, to be wiped by the caller.

        Raises:
            BadRequest: longer than `limit_bytes`, malformed, or too slow.
        """
        parts: list[Owned] = []
        size = 0
        try:
            while part := await self.body():
                parts.append(part)
                size += len(part)
                if size > limit_bytes:
                    text = f"at most {limit_bytes} bytes of body are accepted"
                    raise BadRequest(413, Reason.BODY_TOO_LARGE, text)
            return joined(parts)
        finally:
            wipe_all(parts)

    @property
    def body_read(self) -> bool:
        """Whether the request's body has ended."""
        return self._left == 0

    async def gone(self) -> None:
        """Return when the peer has left, or sends more ahead than a next request's head."""
        try:
            while len(self._buffer) <= self._settings.max_head_bytes:
                await self._fill()
        except GONE:
            return

    @property
    def descriptor(self) -> int | None:
        """The socket's, for `left`; None where there is no socket."""
        return socket_of(self._stream).fileno() if can_read_now(self._stream) else None

    def left(self) -> bool:
        """Read what is there: whether the peer has left, or sends too much ahead; as `gone`."""
        try:
            while len(self._buffer) <= self._settings.max_head_bytes:
                self._took(read_at_once(self._stream, limit=READ_BYTES))
        except BlockingIOError:
            return False
        except GONE:
            pass
        return True

    # The answer.

    async def answer(self, status: int, headers: Headers = (), body: Buffer = b"") -> None:
        """Send a whole answer."""
        if status not in _BODYLESS:
            headers = (*headers, ("content-length", str(len(body))))
        await self._send([self._head_bytes(status, headers), body])
        self.finished = True

    async def write(
        self,
        parts: Sequence[Buffer],
        size: int,
        *,
        head: tuple[int, Headers] | None = None,
        last: bool = False,
    ) -> None:
        """Send a piece of a chunked answer in one go; returns when the kernel took it.

        Args:
            parts: buffers of `size` bytes together; none are fine.
            head: status and headers, with the first piece.
            last: whether the answer ends with this piece.
        """
        pieces: list[Buffer] = []
        if head is not None:
            pieces.append(self._head_bytes(head[0], (*head[1], ("transfer-encoding", "chunked"))))
        if size:
            pieces += (b"%x\r\n" % size, *parts, b"\r\n")
        if last:
            pieces.append(LAST_CHUNK)
        if pieces:
            await self._send(pieces)
        self.finished = last

    def write_now(self, parts: Sequence[Buffer], size: int) -> bool:
        """Send a piece of a chunked answer as far as the kernel takes it at once.

        Returns:
            Whether it took all. If not, `flush` has to follow before anything else is written.

        Raises:
            trio.BrokenResourceError: the peer has left.
        """
        return self._send_now([b"%x\r\n" % size, *parts, b"\r\n"])

    async def flush(self) -> None:
        """Send what `write_now` has left.

        Raises:
            Stalled: the peer does not read.
            trio.BrokenResourceError: the peer has left.
        """
        rest, self._unsent = self._unsent, ()
        self.torn = True
        with trio.move_on_after(self._settings.write_stall_s) as stall:
            await send_rest(self._stream, rest, 0)
        if stall.cancelled_caught:
            raise Stalled
        self._sent()

    async def refuse(self, error: BadRequest) -> None:
        """Tell the peer what is wrong with its request; the connection closes afterwards."""
        self.close = True
        code = "resource_exhausted" if error.status in (413, 431) else "invalid_argument"
        body = json.dumps({"code": code, "message": error.message}).encode()
        await self.answer(error.status, (("content-type", "application/json"),), body)

    async def hang_up(self) -> None:
        """Close in order, within `close_s`."""
        with trio.move_on_after(self._settings.close_s):
            if not self.body_read:
                await self._linger()
            await self._stream.aclose()

    def forget(self) -> None:
        """Wipe what nobody has taken."""
        self._buffer.clear()
        shared.wipe()

    # Private.

    def _begin(self, request: Request) -> None:
        self._left, self._chunked = request.length, request.length is None
        self._chunk_ends, self._expects_continue = False, request.expects_continue
        self._patience = None
        self.close = self.close or request.close
        self.started = self.finished = self.torn = False
        self.written_at = trio.current_time()

    async def _linger(self) -> None:
        """Read what is under way: unread bytes would turn our close into a RST, our answer lost."""
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            await self._stream.send_eof()
        left = LINGER_BYTES
        with suppress(*GONE):
            while left > 0:
                await self._fill()
                left -= len(self._buffer)
                self._buffer.clear()

    async def _fill(self) -> None:
        if can_read_now(self._stream):
            await trio.lowlevel.checkpoint()
            self._took(await read_into(self._stream, limit=READ_BYTES))
            return
        data = await self._stream.receive_some(READ_BYTES)
        self._buffer.put(memoryview(data))
        wipe(data)
        if not data:
            raise trio.BrokenResourceError("the peer has left")

    def _took(self, count: int) -> None:
        self._buffer.put(shared.view[:count])
        shared.wipe()
        if not count:
            raise trio.BrokenResourceError("the peer has left")

    async def _head(self) -> Owned:
        limit, seen = self._settings.max_head_bytes, 0
        while (end := self._buffer.find(END_OF_HEAD, limit)) < 0:
            check_start(self._buffer.view, seen)
            seen = len(self._buffer)
            if len(self._buffer) >= limit:
                raise BadRequest(
                    431, Reason.HEAD_TOO_LARGE, f"at most {limit} bytes of head are accepted"
                )
            await self._fill()
        return self._buffer.take(end + len(END_OF_HEAD))

    async def _line(self) -> Owned:
        while (end := self._buffer.find(b"\r\n", MAX_CHUNK_LINE_BYTES)) < 0:
            if (
                len(self._buffer) >= MAX_CHUNK_LINE_BYTES
                or self._buffer.find(b"\n", MAX_CHUNK_LINE_BYTES) >= 0
            ):
                raise BadRequest(400, Reason.SMUGGLING, "a chunk begins with its size alone")
            await self._fill()
        line = self._buffer.take(end)
        self._buffer.take(2)
        return line

    async def _begin_chunk(self) -> None:
        if self._chunk_ends and await self._line():
            raise BadRequest(400, Reason.SMUGGLING, "a chunk ends in CRLF")
        self._chunk_ends = False
        size = chunk_size(await self._line())
        if size == 0 and await self._line():
            raise BadRequest(400, Reason.SMUGGLING, "trailers are not accepted")
        self._left = size  # not before: a body that stops within its last line has not ended

    async def _piece(self) -> Owned:
        assert self._left
        if not self._buffer:
            await self._fill()
        data = self._buffer.take(self._left)
        self._left -= len(data)
        if self._left == 0 and self._chunked:
            self._left, self._chunk_ends = None, True
        return data

    def _head_bytes(self, status: int, headers: Headers) -> bytes:
        self.started = True
        self.close = self.close or not self.body_read
        phrase = HTTPStatus(status).phrase if status in _STATUSES else ""
        closing: Headers = (("connection", "close"),) if self.close else ()
        lines = [
            f"{name}: {value}\r\n" for name, value in (*headers, *self._common, *_ALWAYS, *closing)
        ]
        return f"HTTP/1.1 {status} {phrase}\r\n{''.join(lines)}\r\n".encode("latin-1")

    async def _send(self, pieces: list[Buffer]) -> None:
        if not self._send_now(pieces):
            await self.flush()

    def _send_now(self, pieces: list[Buffer]) -> bool:
        sent = send_now(self._stream, pieces)
        if sent == sum(map(len, pieces)):
            self._sent()
            return True
        self._unsent = skip(pieces, sent)
        self.torn = sent > 0
        return False

    def _sent(self) -> None:
        self.torn = False
        self.written_at = trio.current_time()


_ALWAYS: Headers = (("cache-control", "no-store"),)
_STATUSES = {int(status) for status in HTTPStatus}
