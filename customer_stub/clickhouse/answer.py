"""An answer over HTTP: held back as asked, joined, compressed; a failure never ends it cleanly.

An error before the first byte is an HTTP error. Later ones are written as ClickHouse does since
25.11, marked by the tag of the X-ClickHouse-Exception-Tag header, and the connection is cut without
the end of the chunked body, so that also a client that knows no tags sees a broken answer.
"""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Awaitable, Callable
from typing import Any

from customer_stub.clickhouse import formats
from customer_stub.clickhouse.compression import Encoder, encoder
from customer_stub.clickhouse.engine import Chunk
from customer_stub.clickhouse.errors import QueryError

PIECE_BYTES = 262_144  # of a body message: the server copies it, and a leaver is noticed between
TAG_LETTERS = 16

Header = tuple[bytes, bytes]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Broken(Exception):
    """Raised after an error was written into a running answer: the server has to cut it."""


class Answer:
    """One answer being written.

    Args:
        send: ASGI's.
        query_id: for the head.
        version: the engine's, shown in errors.
        common: headers of every answer of this server.
        coding: content coding, empty for none.
    """

    def __init__(
        self,
        send: Send,
        *,
        query_id: str,
        version: str,
        common: list[Header],
        coding: str = "",
    ) -> None:
        self._send, self._version, self._coding = send, version, coding
        self._tag = "".join(secrets.choice(string.ascii_lowercase) for _ in range(TAG_LETTERS))
        self._headers = [
            *common,
            (b"x-clickhouse-query-id", query_id.encode()),
            (b"x-clickhouse-exception-tag", self._tag.encode()),
        ]
        self._encoder: Encoder | None = None
        self._joiner = formats.Joiner("")
        self._held: list[bytes] = []
        self._held_bytes = self._hold_bytes = 0
        self._started = False
        self._format = ""
        self._progress = Progress()

    def prepare(self, name: str, *, hold_bytes: int) -> None:
        """Say what follows.

        Args:
            name: the format.
            hold_bytes: how much to hold back, so that an error meanwhile is an HTTP error.
        """
        self._format, self._hold_bytes = name, hold_bytes
        self._joiner = formats.Joiner(name)

    async def add(self, chunk: Chunk) -> None:
        """Take a piece of the answer."""
        self._progress.add(chunk)
        data = self._joiner.add(chunk.data)
        if not self._started and self._held_bytes + len(data) <= self._hold_bytes:
            self._held.append(data)
            self._held_bytes += len(data)
            return
        await self._start()
        await self._write(data)

    async def end(self) -> None:
        """Finish a complete answer."""
        await self._start()
        await self._write(self._joiner.end())
        last = self._encoder.end() if self._encoder else b""
        await self._body(last, more=False)

    async def fail(self, error: QueryError) -> None:
        """Tell an error.

        Raises:
            Broken: the answer had begun.
        """
        message = error.message(self._version)
        if not self._started:
            kind = (b"content-type", b"text/plain; charset=UTF-8")
            code = (b"x-clickhouse-exception-code", str(error.code).encode())
            length = (b"content-length", str(len(message)).encode())
            await self._head(error.status, [kind, code, length])
            await self._body(message, more=False)
            return
        tag = self._tag.encode()
        tail = b"%d %b\r\n__exception__\r\n" % (len(message), tag)
        await self._write(b"\r\n__exception__\r\n%b\r\n%b%b" % (tag, message, tail))
        raise Broken

    async def _start(self) -> None:
        if self._started:
            return
        self._started = True
        self._encoder = encoder(self._coding)
        headers = [
            (b"content-type", formats.media_type(self._format).encode()),
            (b"x-clickhouse-format", self._format.encode()),
            (b"x-clickhouse-summary", self._progress.summary()),
        ]
        if self._encoder is not None:
            headers.append((b"content-encoding", self._coding.encode()))
            headers.append((b"vary", b"accept-encoding"))
        await self._head(200, headers)
        held, self._held = self._held, []
        for data in held:
            await self._write(data)

    async def _head(self, status: int, headers: list[Header]) -> None:
        self._started = True
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*self._headers, *headers],
            }
        )

    async def _write(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE_BYTES):
            piece = data[start : start + PIECE_BYTES]
            await self._body(self._encoder.add(piece) if self._encoder else piece, more=True)

    async def _body(self, data: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


class Progress:
    """What a query has read and returned so far."""

    def __init__(self) -> None:
        self._rows = self._bytes = self._read_rows = self._read_bytes = 0
        self._written_rows = self._written_bytes = 0

    def add(self, chunk: Chunk) -> None:
        """Count a piece."""
        self._rows += chunk.rows
        self._bytes += len(chunk.data)
        self._read_rows = max(self._read_rows, chunk.read_rows)
        self._read_bytes = max(self._read_bytes, chunk.read_bytes)
        self._written_rows += chunk.written_rows
        self._written_bytes += chunk.written_bytes

    def summary(self) -> bytes:
        """Return X-ClickHouse-Summary: complete if the answer was held back, else so far."""
        numbers = {
            "read_rows": self._read_rows,
            "read_bytes": self._read_bytes,
            "written_rows": self._written_rows,
            "written_bytes": self._written_bytes,
            "total_rows_to_read": 0,
            "result_rows": self._rows,
            "result_bytes": self._bytes,
        }
        return json.dumps({name: str(value) for name, value in numbers.items()}).encode()
