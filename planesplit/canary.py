"""Canaries: values made at run time that are looked for in every place where payload must not rest.

All canaries of a run share one secret prefix, so one scan finds them all, in the encodings that
things at rest usually have. What no scan sees: XOR, double base64, base85, a canary cut by a frame
header.
"""

from __future__ import annotations

import base64
import gzip
import io
import secrets
import string
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX_CHARS = 12  # 71 bits of letters and digits: no accidental match in any realistic scan
MAX_INFLATED_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Find:
    """A canary where none may be: the place, and the encoding it was found in."""

    place: str
    encoding: str


class Canary:
    """One run's canaries.

    Args:
        prefix: the shared secret; random when not given.
    """

    def __init__(self, prefix: str | None = None) -> None:
        self.prefix = prefix or "".join(secrets.choice(_LETTERS) for _ in range(PREFIX_CHARS))
        self._count = 0
        self._patterns = _patterns(self.prefix.encode())

    def __repr__(self) -> str:
        return f"<Canary, {self._count} made>"

    def make(self) -> str:
        """Return a new value that starts with the secret prefix."""
        self._count += 1
        return f"{self.prefix}{self._count:08d}"

    def line(self, repeats: int = 4) -> str:
        """Return a log line full of canaries, one every 24 characters or so."""
        return " ".join(f"v={self.make()}" for _ in range(repeats))

    def scan_bytes(self, place: str, data: bytes) -> list[Find]:
        """Look through bytes, and through what they hold compressed or wrapped."""
        return [
            Find(place, f"{wrapping}{encoding}")
            for wrapping, content in _unwrapped(data)
            for encoding, pattern in self._patterns
            if pattern in content
        ]

    def scan_tree(self, root: Path) -> list[Find]:
        """Look through names and contents of all files below `root`."""
        finds: list[Find] = []
        for path in sorted(root.rglob("*")):
            finds += self.scan_bytes(f"name:{path}", path.name.encode())
            if path.is_file() and not path.is_symlink():
                finds += self.scan_bytes(str(path), path.read_bytes())
        return finds


def _patterns(secret: bytes) -> list[tuple[str, bytes]]:
    text = secret.decode()
    return [
        ("plain", secret),
        ("utf-16", text.encode("utf-16-le")),
        ("reversed", secret[::-1]),
        ("hex", secret.hex().encode()),
        ("HEX", secret.hex().upper().encode()),
        ("url", "".join(f"%{byte:02X}" for byte in secret).encode()),
        *(("base64", _aligned_base64(secret, shift)) for shift in range(3)),
    ]


def _aligned_base64(secret: bytes, shift: int) -> bytes:
    """The characters of base64 that depend on the secret alone when `shift` bytes come before."""
    encoded = base64.b64encode(bytes(shift) + secret)
    start = (0, 2, 3)[shift]
    end = len(encoded) - (0, 3, 2)[(shift + len(secret)) % 3]
    return encoded[start:end].rstrip(b"=")


def _unwrapped(data: bytes) -> Iterator[tuple[str, bytes]]:
    yield "", data
    if b"\n" in data:
        yield "wrapped ", data.replace(b"\r", b"").replace(b"\n", b"")
    if data[:2] == b"\x1f\x8b":
        yield "gzip ", _gunzip(data)
    elif data[:1] == b"\x78":
        yield "zlib ", _inflate(data)


def _gunzip(data: bytes) -> bytes:
    try:
        with gzip.open(io.BytesIO(data)) as file:
            return file.read(MAX_INFLATED_BYTES)
    except (OSError, EOFError, zlib.error):
        return b""


def _inflate(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, MAX_INFLATED_BYTES)
    except zlib.error:
        return b""
