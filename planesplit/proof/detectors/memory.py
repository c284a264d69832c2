"""Memory of the vendor's processes: some canaries while they pass, none when all streams closed."""

from __future__ import annotations

import trio

from planesplit.proof import claims
from planesplit.proof.canaries import Kind
from planesplit.proof.detectors.base import Detector
from planesplit.proof.find import Find
from planesplit.proof.stage import Stage
from planesplit.split.options import CONTROL, RELAY

STORES = {RELAY: claims.RELAY_MEMORY, CONTROL: claims.CONTROL_MEMORY}


class Memory(Detector):
    """Scans all readable private memory of relay and control plane."""

    name = "memory"
    blind_to = (
        "memory that the process hides by encoding it; kernel buffers, swap, the memory of peers;"
        " what was there between two scans"
    )

    async def look(self, stage: Stage) -> list[Find]:
        """Scan when all streams are closed: nothing that is only relayed may be left."""
        if reason := stage.unseen.get(self.name):
            self.looked = f"nothing: {reason}"
            return []
        finds: list[Find] = []
        size = 0
        for plane in STORES:
            scanned, found = await scan_memory(stage, plane)
            size += scanned
            finds += found
        self.looked = f"{size / 1e6:.0f} MB of {len(STORES)} processes"
        if not size:
            finds.append(Find(self.name, "no plane has handed its memory over", "no access"))
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
    memory = stage.split.memory(plane)
    for mapping, piece in memory.regions() if memory else ():
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
