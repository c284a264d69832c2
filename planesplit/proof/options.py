"""What a proof is asked to do, and what it found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from planesplit.proof.find import Find
from planesplit.split.options import SplitOptions
from tunnel.rows import ROWS

SCHEMA = "planesplit.proof/1"
ALL_ROWS = frozenset(ROWS)
SECOND_CLUSTER = "c2"  # so that what goes to every cluster has several to go to
AS_CLAIMED, DEVIATES, NOT_DRIVEN = "as claimed", "DEVIATES", "not driven"


@dataclass(frozen=True, slots=True)
class ProofOptions:
    """What a proof is asked to do.

    Args:
        split: how the split is started.
        rows: which rows are driven, `A1` to `A12` and `B`.
        canary: a reviewer's own value; a random one if empty.
        challenge: a reviewer's nonce in hexadecimal.
        planted: leaks by plane; none in a clean run.
        faults: cut, stall and restart while payload flows, and provoke errors.
    """

    split: SplitOptions = field(default_factory=lambda: SplitOptions(clusters=(SECOND_CLUSTER,)))
    rows: frozenset[str] = ALL_ROWS
    canary: str = ""
    challenge: str = ""
    planted: Mapping[str, str] = field(default_factory=dict)
    faults: bool = True


@dataclass(frozen=True, slots=True)
class Deviation:
    """One thing that is not as claimed.

    Args:
        detector: who saw it; `table` for what is missing, `drive` for what could not be driven.
        text: for people.
        row, kind: of the canary, where it is one.
    """

    detector: str
    text: str
    row: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class RowProof:
    """One row of the table.

    Args:
        id, data, claim: the white paper's.
        path: bytes by hop: `relay`, `control`, `direct`.
        kinds: payload that was driven, and how often each arrived.
        found_where: stores and other places where canaries of this row are.
        expected_where: stores where they must be.
        verdict: `as claimed`, `DEVIATES`, or `not driven`.
        why: what deviates.
    """

    id: str
    data: str
    claim: str
    path: Mapping[str, int]
    kinds: Mapping[str, int]
    found_where: tuple[str, ...]
    expected_where: tuple[str, ...]
    verdict: str
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DetectorProof:
    """What one detector did.

    Args:
        name: of the detector.
        looked_at: what it looked through, with numbers.
        finds: everything it found, also what is as claimed.
        blind_to: what it cannot see.
    """

    name: str
    looked_at: str
    finds: tuple[Find, ...]
    blind_to: str


@dataclass(frozen=True, slots=True)
class Proof:
    """The result of one run.

    Args:
        rows: the white paper's twelve, then the signed URLs.
        detectors: all of them.
        seal: level that the relay announced, or `unsealed`.
        environment: versions, commit, machine and configuration.
        started: RFC 3339.
        seconds: duration.
        deviations: everything that is not as claimed; empty in a clean run.
        canaries: what names this run's canaries: digest, salt, challenge.
        blind_spots, not_shown: what no detector sees, and what no run can show.
        unseen: what this run could not look at or drive: the split ran already.
    """

    rows: tuple[RowProof, ...]
    detectors: tuple[DetectorProof, ...]
    seal: str
    environment: Mapping[str, Any]
    started: str
    seconds: float
    deviations: tuple[Deviation, ...]
    canaries: Mapping[str, str]
    blind_spots: tuple[str, ...] = ()
    not_shown: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether everything is as claimed."""
        return not self.deviations

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        fields = dataclasses.asdict(self)
        for mine, detector in zip(fields["detectors"], self.detectors, strict=True):
            mine["finds"] = [find.as_json() for find in detector.finds]
        return {"schema": SCHEMA, "clean": self.clean, **fields}
