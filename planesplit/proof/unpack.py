"""Opens what is compressed, by its magic bytes anywhere in the data, within bounds."""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator

import lz4.frame  # type: ignore[import-untyped]

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_INFLATED_BYTES = 16 * 1024 * 1024  # of one stream; a canary repeats, so its start suffices
MAX_XZ_BYTES = 128 * 1024 * 1024  # memory of a decoder; a stream may ask for 4 GiB
MAX_TRIES = 256  # of one kind in one piece of data: two bytes of magic turn up by accident
MAX_DEPTH = 2  # a compressed file in a compressed archive

BAD_STREAM = (
    zlib.error,
    zstd.ZstdError,
    lzma.LZMAError,
    RuntimeError,  # lz4
    OSError,  # bzip2
    EOFError,
    ValueError,
)
Opener = Callable[[memoryview], bytes]


def _inflate(data: memoryview) -> bytes:
    return zlib.decompressobj(wbits=47).decompress(data, MAX_INFLATED_BYTES)  # zlib or gzip


def _zstd(data: memoryview) -> bytes:
    return zstd.ZstdDecompressor().decompress(data, MAX_INFLATED_BYTES)


def _lz4(data: memoryview) -> bytes:
    opened: bytes = lz4.frame.LZ4FrameDecompressor().decompress(data, MAX_INFLATED_BYTES)
    return opened


def _bzip2(data: memoryview) -> bytes:
    return bz2.BZ2Decompressor().decompress(data, MAX_INFLATED_BYTES)


def _xz(data: memoryview) -> bytes:
    return lzma.LZMADecompressor(memlimit=MAX_XZ_BYTES).decompress(data, MAX_INFLATED_BYTES)


MAGICS: tuple[tuple[str, bytes, Opener], ...] = (
    ("gzip", b"\x1f\x8b\x08", _inflate),
    ("zstd", b"\x28\xb5\x2f\xfd", _zstd),
    ("lz4", b"\x04\x22\x4d\x18", _lz4),
    ("bzip2", b"BZh", _bzip2),
    ("xz", b"\xfd7zXZ\x00", _xz),
    ("zlib", b"\x78\x01", _inflate),
    ("zlib", b"\x78\x5e", _inflate),
    ("zlib", b"\x78\x9c", _inflate),
    ("zlib", b"\x78\xda", _inflate),
)


def unpacked(data: bytes, depth: int = MAX_DEPTH) -> Iterator[tuple[str, bytes]]:
    """Yield how it was wrapped, and the content, of everything compressed in `data`."""
    if not depth:
        return
    for name, magic, opener in MAGICS:
        for content in _opened(data, magic, opener):
            yield name, content
            for inner, deeper in unpacked(content, depth - 1):
                yield f"{name} {inner}", deeper


def _opened(data: bytes, magic: bytes, opener: Opener) -> Iterator[bytes]:
    at, view = data.find(magic), memoryview(data)
    for _ in range(MAX_TRIES):
        if at < 0:
            return
        try:
            content = opener(view[at:])
        except BAD_STREAM:
            content = b""
        if content:
            yield content
        at = data.find(magic, at + 1)
