"""Answers of the product's own APIs: nothing is told to whom it does not concern."""

from __future__ import annotations

from planesplit.proof.canaries import Kind
from planesplit.proof.detectors.base import Detector
from planesplit.proof.find import Find
from planesplit.proof.stage import Stage


class Answers(Detector):
    """Looks through everything that clients received, against what each asked for and may see."""

    name = "answers"
    blind_to = "answers to calls that the drive does not make, and what goes to the vendor's staff"

    async def look(self, stage: Stage) -> list[Find]:
        """Scan every answer."""
        finds: list[Find] = []
        for answer in stage.answers:
            place = f"answer to {answer.who}: {answer.what}"
            finds += [
                find
                for find in stage.canaries.scan(place, answer.body, self.name)
                if Kind(find.row, find.kind) not in answer.allowed
            ]
        size = sum(len(answer.body) for answer in stage.answers)
        self.looked = f"{len(stage.answers)} answers, {size} bytes"
        return finds
