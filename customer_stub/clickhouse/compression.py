"""Content codings of requests and answers, piece by piece."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Protocol

import lz4.frame  # type: ignore[import-untyped]
from backports import zstd

from customer_stub.clickhouse import errors

GZIP_WBITS = 31
LEVEL = 1  # loopback and fast networks: the cheapest
PREFERRED = ("zstd", "lz4", "gzip", "deflate")
READ_BYTES = 65_536


class Encoder(Protocol):
    """Compresses a stream; every piece can be decoded as soon as it has arrived."""

    def add(self, data: bytes) -> bytes:
        """Return the coded form of a piece, flushed."""

    def end(self) -> bytes:
        """Return what closes the stream."""


class _Zlib:
    def __init__(self, wbits: int) -> None:
        self._coder = zlib.compressobj(LEVEL, zlib.DEFLATED, wbits)

    def add(self, data: bytes) -> bytes:
        return self._coder.compress(data) + self._coder.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._coder.flush()


class _Zstd:
    def __init__(self) -> None:
        self._coder = zstd.ZstdCompressor(level=LEVEL)

    def add(self, data: bytes) -> bytes:
        coded: bytes = self._coder.compress(data, zstd.ZstdCompressor.FLUSH_BLOCK)
        return coded

    def end(self) -> bytes:
        coded: bytes = self._coder.flush()
        return coded


class _Lz4:
    def __init__(self) -> None:
        self._coder: Any = lz4.frame.LZ4FrameCompressor(auto_flush=True)
        self._head: bytes = self._coder.begin()

    def add(self, data: bytes) -> bytes:
        head, self._head = self._head, b""
        return bytes(head + self._coder.compress(data))

    def end(self) -> bytes:
        return bytes(self._head + self._coder.flush())


def chosen(accepted: str) -> str:
    """Return the coding for an Accept-Encoding header, empty for none."""
    names = set()
    for item in accepted.lower().split(","):
        name, _, weight = item.partition(";")
        if weight.strip().replace(" ", "") not in ("q=0", "q=0.0"):
            names.add(name.strip())
    return next((name for name in PREFERRED if name in names), "")


def encoder(name: str) -> Encoder | None:
    """Make the encoder of a coding, None for no coding."""
    match name:
        case "gzip":
            return _Zlib(GZIP_WBITS)
        case "deflate":
            return _Zlib(zlib.MAX_WBITS)
        case "zstd":
            return _Zstd()
        case "lz4":
            return _Lz4()
    return None


class Decoder:
    """Decompresses a request's body, one frame or several, at most so much of it.

    Args:
        name: Content-Encoding, empty for none.
        limit_bytes: most bytes that may come out.

    Raises:
        QueryError: the coding is unknown.
    """

    def __init__(self, name: str, limit_bytes: int) -> None:
        self._name = name.lower().strip()
        self._coder = _decoder(self._name)
        self._begun = False
        self._left = self._limit = limit_bytes

    def add(self, data: bytes) -> Iterator[bytes]:
        """Yield the plain pieces of one coded piece.

        Raises:
            QueryError: damaged, or more than the limit.
        """
        if self._coder is None:
            yield self._count(data)
            return
        try:
            while data:
                self._begun = True
                for piece in _frame(self._coder, data):
                    yield self._count(piece)
                data = self._next_frame()
        except (zlib.error, zstd.ZstdError, RuntimeError, EOFError):
            raise _damaged() from None

    def end(self) -> None:
        """Raise QueryError if the body ended inside a frame."""
        if self._begun:
            raise _damaged()

    def _next_frame(self) -> bytes:
        """Return what follows the end of a frame, nothing inside one."""
        if not self._coder.eof:
            return b""
        rest: bytes = self._coder.unused_data or b""
        self._coder, self._begun = _decoder(self._name), False
        return rest

    def _count(self, piece: bytes) -> bytes:
        self._left -= len(piece)
        if self._left < 0:
            raise errors.too_large(self._limit)
        return piece


def _frame(coder: Any, data: bytes) -> Iterator[bytes]:
    """Yield what a decoder makes of a piece, in pieces of bounded size."""
    while True:
        piece = coder.decompress(data, READ_BYTES)
        yield piece
        data = getattr(coder, "unconsumed_tail", b"")
        full = len(piece) == READ_BYTES or not getattr(coder, "needs_input", True)
        if coder.eof or not (data or (piece and full)):
            return


def _damaged() -> errors.QueryError:
    text = "The request's body cannot be decompressed."
    return errors.QueryError(354, "ZLIB_INFLATE_FAILED", text)


def _decoder(name: str) -> Any:
    match name:
        case "" | "identity":
            return None
        case "gzip":
            return zlib.decompressobj(GZIP_WBITS)
        case "deflate":
            return zlib.decompressobj()
        case "zstd":
            return zstd.ZstdDecompressor()
        case "lz4":
            return lz4.frame.LZ4FrameDecompressor()
    raise errors.QueryError(415, "UNKNOWN_COMPRESSION_METHOD", "Unknown content encoding.")
