"""zstd and gzip of single messages, as Connect negotiates them; decoding is bounded.

Connect compresses message by message (https://connectrpc.com/docs/protocol): whatever passes them
on sees whole envelopes and needs no dictionary of what came before.
"""

from __future__ import annotations

import sys
import zlib
from typing import Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_WBITS = 31  # zlib's way to say gzip (RFC 1952); it writes no time, so output is reproducible
LEVEL = 1  # logs: 7 to 10 times smaller at either level; higher ones cost several times the CPU
WINDOW_LOG_MAX = 23  # 8 MiB: a message is at most 4 MiB, and RFC 8878 asks for that much


class Undecodable(ValueError):
    """A message is damaged, or too large when decompressed."""


class Encoding(Protocol):
    """One way to compress messages."""

    def name(self) -> str:
        """Return its name in headers."""
        ...

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        """Compress a message."""
        ...

    def decompress(
        self, data: bytes | bytearray | memoryview, read_max_bytes: int | None = None
    ) -> bytes:
        """Decompress a message.

        Args:
            data: a whole message.
            read_max_bytes: most bytes of the result; no more is ever produced.

        Raises:
            Undecodable: it is damaged or larger.
        """
        ...


class Zstd:
    """RFC 8878."""

    def name(self) -> str:
        """Return its name in headers."""
        return "zstd"

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        """Compress a message."""
        return zstd.compress(data, LEVEL)

    def decompress(
        self, data: bytes | bytearray | memoryview, read_max_bytes: int | None = None
    ) -> bytes:
        """Decompress a message, see `Encoding`."""
        options = {zstd.DecompressionParameter.window_log_max.value: WINDOW_LOG_MAX}
        decoder = zstd.ZstdDecompressor(options=options)
        try:
            found = decoder.decompress(data, _asked(read_max_bytes))
        except zstd.ZstdError:
            raise Undecodable("a zstd message is damaged") from None
        return _whole(found, read_max_bytes, done=decoder.eof, rest=decoder.unused_data)


class Gzip:
    """RFC 1952."""

    def name(self) -> str:
        """Return its name in headers."""
        return "gzip"

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        """Compress a message."""
        return zlib.compress(data, LEVEL, GZIP_WBITS)

    def decompress(
        self, data: bytes | bytearray | memoryview, read_max_bytes: int | None = None
    ) -> bytes:
        """Decompress a message, see `Encoding`."""
        decoder = zlib.decompressobj(GZIP_WBITS)
        most = 0 if read_max_bytes is None else read_max_bytes + 1  # 0: no limit
        try:
            found = decoder.decompress(data, most)
        except zlib.error:
            raise Undecodable("a gzip message is damaged") from None
        return _whole(found, read_max_bytes, done=decoder.eof, rest=decoder.unused_data)


ENCODINGS: dict[str, Encoding] = {each.name(): each for each in (Zstd(), Gzip())}
"""By name, the preferred one first."""


def _asked(read_max_bytes: int | None) -> int:
    return -1 if read_max_bytes is None else read_max_bytes + 1


def _whole(found: bytes, read_max_bytes: int | None, *, done: bool, rest: bytes) -> bytes:
    if read_max_bytes is not None and len(found) > read_max_bytes:
        raise Undecodable(f"a message of more than {read_max_bytes} bytes when decompressed")
    if not done or rest:
        raise Undecodable("a compressed message is cut, or something follows it")
    return found
