"""What planes write: journals and standard output, of the vendor's planes and the customer's."""

from __future__ import annotations

from planesplit.proof import claims
from planesplit.proof.detectors.base import Detector
from planesplit.proof.find import Find
from planesplit.proof.stage import VENDOR_PLANES, Stage


class Output(Detector):
    """Looks through every line since the proof began, whole, on either stream."""

    name = "output"
    blind_to = "a log that goes elsewhere than to standard output and error, such as a socket"

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    async def arm(self, stage: Stage) -> None:
        """Begin to listen."""
        self._lines = {plane: [] for plane in stage.split.options.planes}
        stage.exits.enter_context(stage.split.hear(self._heard))

    def _heard(self, plane: str, line: str) -> None:
        self._lines.setdefault(plane, []).append(line)

    async def look(self, stage: Stage) -> list[Find]:
        """Scan what was heard, and what the journals keep of the time before."""
        if reason := stage.unseen.get(self.name):
            self.looked = f"nothing: {reason}"
            return []
        finds: list[Find] = []
        for plane, lines in self._lines.items():
            store = claims.JOURNAL if plane in VENDOR_PLANES else claims.CUSTOMER_JOURNAL
            data = "\n".join(lines).encode(errors="replace")
            finds += stage.canaries.scan(f"output of {plane}", data, self.name, store)
        self.looked = f"{sum(map(len, self._lines.values()))} lines of {len(self._lines)} planes"
        return finds
