"""Writes container logs as a kubelet and its runtime do: pieces, rotation, compression."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

PIECE_BYTES = 16_384


def stamp(ns: int) -> bytes:
    second = datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{second}.{ns % 10**9:09d}Z".encode()


def records(content: bytes, ns: int, stream: bytes, piece_bytes: int = PIECE_BYTES) -> bytes:
    """One output line as CRI records."""
    pieces = [content[i : i + piece_bytes] for i in range(0, len(content), piece_bytes)] or [b""]
    head = stamp(ns) + b" " + stream
    return b"".join(
        head + (b" F " if at == len(pieces) - 1 else b" P ") + piece + b"\n"
        for at, piece in enumerate(pieces)
    )


class CriLog:
    """One container's log.

    Args:
        root: log root.
        restart: which life.
        kept: how many files stay after a rotation.
    """

    def __init__(self, root: Path, *, pod: str = "ns_pod_uid", restart: int = 0, kept: int = 5):
        self.directory = root / pod / "main"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.restart, self.kept = restart, kept
        self.path = self.directory / f"{restart}.log"
        self.rotations = 0
        self.ns = 1_700_000_000 * 10**9
        self.written = 0

    def raw(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)
        self.written += len(data)

    def write(self, content: bytes, stream: bytes = b"stdout") -> None:
        self.ns += 1000
        self.raw(records(content, self.ns, stream))

    def write_all(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            self.write(line)

    def rotated(self) -> list[Path]:
        return sorted(self.directory.glob(f"{self.restart}.log.*"))

    def rotate(self) -> None:
        """Rename, compress the one before, delete the oldest, begin a new file."""
        self.rename()
        self.compress()
        self.delete_oldest()
        self.path.touch()

    def rename(self) -> None:
        self.rotations += 1
        self.path.rename(self.path.with_name(f"{self.path.name}.20250101-{self.rotations:06d}"))

    def compress(self) -> None:
        for path in self.rotated()[:-1]:
            if path.suffix != ".gz":
                packed = path.with_name(path.name + ".gz")
                packed.write_bytes(gzip.compress(path.read_bytes(), 1))
                path.unlink()

    def delete_oldest(self) -> None:
        for path in self.rotated()[: -(self.kept - 1)]:
            path.unlink()
