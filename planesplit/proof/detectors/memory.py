"""Memory of the vendor's processes: some canaries while they pass, none when all streams closed."""

from __future__ import annotations

from collections.abc import Iterator

import trio

from planesplit.proof import claims
from planesplit.proof.canaries import Kind
from planesplit.proof.detectors.base import Detector
from planesplit.proof.find import Find
from planesplit.proof.stage import Stage
from planesplit.split.options import CONTROL, RELAY

PIECE_BYTES = 1024 * 1024
OVERLAP_BYTES = 4096
STORES = {RELAY: claims.RELAY_MEMORY, CONTROL: claims.CONTROL_MEMORY}
Region = tuple[str, bytes | memoryview]


class Memory(Detector):
    """Scans all readable private memory of relay and control plane."""

    name = "memory"
    blind_to = (
        "memory that the process hides by encoding it; kernel buffers, swap, the memory of peers;"
        " what was there between two scans"
    )

    async def look(self, stage: Stage) -> list[Find]:
        """Scan when all streams are closed: nothing that is only relayed may be left."""
        finds: list[Find] = []
        size = 0
        for plane in STORES:
            scanned, found = await scan_memory(stage, plane)
            size += scanned
            finds += found
        self.looked = f"{size / 1e6:.0f} MB of {len(STORES)} processes"
        if not size:
            finds.append(Find(self.name, "memory of no process could be read", "no access"))
        return finds


async def scan_memory(stage: Stage, plane: str) -> tuple[int, list[Find]]:
    """Scan one plane's memory.

    Returns:
        How many bytes that were, and a find for each kind and mapping, with its count.
    """
    return await trio.to_thread.run_sync(_scan, stage, plane)


def _scan(stage: Stage, plane: str) -> tuple[int, list[Find]]:
    counts: dict[tuple[str, str, str, str], int] = {}
    size = 0
    for mapping, piece in _regions(stage, plane):
        size += len(piece)
        data = bytes(piece)
        found = stage.canaries.scan(mapping, data)
        plain = stage.canaries.count(data) if found else {}
        for find in found:
            key = (mapping, find.encoding, find.row, find.kind)
            times = plain.get(Kind(find.row, find.kind), 1) if find.encoding == "plain" else 1
            counts[key] = counts.get(key, 0) + times
    return size, [
        Find(Memory.name, f"{plane}: {mapping}, {times} times", encoding, row, kind, STORES[plane])
        for (mapping, encoding, row, kind), times in counts.items()
    ]


def _regions(stage: Stage, plane: str) -> Iterator[Region]:
    handed = getattr(stage.split, "memory", None)
    memory = handed(plane) if handed else None
    if memory is not None:
        yield from memory.regions()
        return
    yield from _read(stage.vendor_pids[plane])


def _read(pid: int) -> Iterator[Region]:
    """Read another process's memory, which only root may."""
    try:
        with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
            lines = maps.read().splitlines()
        memory = open(f"/proc/{pid}/mem", "rb", buffering=0)  # noqa: SIM115 - closed below
    except OSError:
        return
    with memory:
        for line in lines:
            parts = line.split(maxsplit=5)
            name = parts[5] if len(parts) > 5 else "[anonymous]"
            if parts[1][0] != "r" or parts[1][3] != "p" or parts[1][1] != "w":
                continue
            start, end = (int(part, 16) for part in parts[0].split("-"))
            yield from _pieces(memory, start, end, name)


def _pieces(memory: object, start: int, end: int, name: str) -> Iterator[Region]:
    at = start
    while at < end:
        try:
            memory.seek(at)  # type: ignore[attr-defined]
            data = memory.read(min(PIECE_BYTES, end - at))  # type: ignore[attr-defined]
        except (OSError, ValueError, OverflowError):
            return
        if not data:
            return
        yield name, data
        at += max(1, len(data) - OVERLAP_BYTES) if at + len(data) < end else len(data)
