"""What every detector is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from planesplit.proof.find import Find
from planesplit.proof.stage import Stage


class Detector(ABC):
    """Looks into one kind of place.

    Attributes:
        name: of the detector.
        blind_to: what it cannot see, a sentence.
        looked: what it looked through in the last run, with numbers.
    """

    name: str
    blind_to: str
    looked: str = "nothing yet"

    async def arm(self, stage: Stage) -> None:  # noqa: B027 - many only look afterwards
        """Get ready before payload flows; what must watch meanwhile runs in `stage.nursery`."""

    @abstractmethod
    async def look(self, stage: Stage) -> list[Find]:
        """Return everything found, also what is as claimed; called when all streams are closed."""
