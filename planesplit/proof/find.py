"""What a detector reports: where something is, never the thing itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Find:
    """A canary, or another trace, in one place.

    Args:
        detector: who saw it.
        place: where, for people.
        encoding: how it was written there; for a trace that is no canary, what it is.
        row, kind: of the canary; empty where the find is no canary, or one that is cut short.
        store: what the place belongs to, see `planesplit.proof.claims`; empty where no payload may
            ever be.
    """

    detector: str
    place: str
    encoding: str
    row: str = ""
    kind: str = ""
    store: str = ""

    def as_json(self) -> dict[str, str]:
        """Return the fields that say something."""
        fields = ("detector", "place", "encoding", "row", "kind", "store")
        return {name: value for name in fields if (value := getattr(self, name))}
