"""A report as a clean run gives it, made without a run, for tests of what is done with it."""

from __future__ import annotations

import hashlib

from planesplit.proof import claims
from planesplit.proof.canaries import SECRET_CHARS, derived
from planesplit.proof.detectors import DETECTORS
from planesplit.proof.find import Find
from planesplit.proof.options import AS_CLAIMED, NOT_DRIVEN, DetectorProof, Proof, RowProof
from planesplit.proof.sabotage.outcome import CLEAN, Matrix, Trial
from planesplit.proof.verdict import ROWS
from planesplit.residency import CLAIMS as WORDS

SALT, CHALLENGE = bytes(range(16)), "c0ffee"
WANTED = ("A1", "A8", "A9")
NAMES = tuple(detector.name for detector in DETECTORS)


def report() -> Proof:
    """Return a clean report of some rows."""
    finds = tuple(
        Find("stores", f"in {store}", "plain", kind.row, kind.name, store)
        for kind, claim in claims.CLAIMS.items()
        if kind.row in WANTED
        for store in sorted(claim.must)
    )
    secret = derived(CHALLENGE, SALT)[:SECRET_CHARS]
    return Proof(
        rows=tuple(_row(paper.id, finds) for paper in ROWS),
        detectors=tuple(
            DetectorProof(name, "3 places", finds if name == "stores" else (), "much")
            for name in NAMES
        ),
        seal="full",
        environment={
            "rows": list(WANTED),
            "planes": ["relay", "control_stub", "customer_stub", "clickhouse", "compute_agent"],
            "tls": True,
            "faults": False,
        },
        started="2026-01-01T00:00:00Z",
        seconds=7.5,
        deviations=(),
        canaries={
            "sha256": hashlib.sha256(secret.encode()).hexdigest(),
            "salt": SALT.hex(),
            "challenge": CHALLENGE,
            "chosen_by_reviewer": "no",
        },
        blind_spots=("much",),
        not_shown=("more",),
    )


def _row(row: str, finds: tuple[Find, ...]) -> RowProof:
    paper = next(each for each in ROWS if each.id == row)
    kinds = claims.of_row(row)
    expected = {claims.PLACES[store] for claim in kinds.values() for store in claim.must}
    return RowProof(
        id=row,
        data=paper.data,
        claim=WORDS[paper.transits],
        path={"relay": 0, "control": 0, "direct": 0},
        kinds={kind.name: 3 for kind in kinds} if row in WANTED else {},
        found_where=tuple(sorted({claims.PLACES[f.store] for f in finds if f.row == row})),
        expected_where=tuple(sorted(expected)),
        verdict=AS_CLAIMED if row in WANTED else NOT_DRIVEN,
    )


def trial(leak: str, *, sealed: bool, found: tuple[str, ...] = (), tries: int = 3) -> Trial:
    """Return a trial that the kernel stopped, or that `found` saw."""
    refused = tries if sealed and not found else 0
    return Trial(leak, sealed, found, tries, refused, 27 if refused else 0, True, "", 1.5)


def matrix() -> Matrix:
    """Return a campaign of one leak that went as it should."""
    trials = (
        trial(CLEAN, sealed=True, tries=0),
        trial("temp-file", sealed=True),
        trial(CLEAN, sealed=False, tries=0),
        trial("temp-file", sealed=False, found=("files",)),
    )
    return Matrix(trials, NAMES, "full", 12.5)
