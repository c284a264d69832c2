"""Byte counters: every hop's own account of which row's bytes it carried."""

from __future__ import annotations

from planesplit.proof.detectors.base import Detector
from planesplit.proof.find import Find
from planesplit.proof.stage import Stage
from planesplit.residency import Counted, CountersAway


class Rows(Detector):
    """Compares the counters of relay, control plane and customer with the white paper's table."""

    name = "rows"
    blind_to = "a plane that lies: counters are its own account"

    async def look(self, stage: Stage) -> list[Find]:
        """Read the counters of the planes' present lives, and keep them for the table."""
        try:
            await stage.count()
        except CountersAway as error:
            return [Find(self.name, str(error), "counters")]
        self.looked = f"{len(stage.hops)} rows on 3 hops"
        return [
            Find(self.name, f"{row.row.id}: {_path(row)}", "bytes where none may be", row.row.id)
            for row in stage.hops.values()
            if not row.as_claimed
        ]


def _path(row: Counted) -> str:
    return f"relay {row.relay} B, control plane {row.control} B, direct {row.direct} B"
