"""Whether a report follows from its own evidence: every verdict is worked out anew."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from planesplit.proof import claims
from planesplit.proof.canaries import SECRET_CHARS, Kind, derived
from planesplit.proof.detectors import DETECTORS
from planesplit.proof.find import Find
from planesplit.proof.options import AS_CLAIMED, DEVIATES, NOT_DRIVEN, Proof, RowProof
from planesplit.proof.sabotage.outcome import Matrix
from planesplit.proof.verdict import ROWS
from planesplit.residency import CLAIMS as WORDS
from planesplit.residency import Counted

TABLE, DRIVE = "table", "drive"


def complaints(proof: Proof) -> Iterator[str]:
    """Yield what in a report does not follow from its evidence."""
    yield from _detectors(proof)
    yield from _deviations(proof)
    yield from _rows(proof)
    yield from _counters(proof)
    yield from _canaries(proof)


def complaints_of_matrix(matrix: Matrix, proof: Proof) -> Iterator[str]:
    """Yield what in the negative controls cannot be; what follows from trials is checked before."""
    known = {detector.name for detector in proof.detectors}
    if set(matrix.detectors) != known:
        yield "the controls were looked at by other detectors than the report"
    for trial in matrix.trials:
        kind = f"{trial.leak}, {'sealed' if trial.sealed else 'unsealed'}"
        if not set(trial.detectors) <= known:
            yield f"{kind}: found by an unknown detector"
        if not 0 <= trial.refused <= trial.tries:
            yield f"{kind}: more tries refused than made"
        if not trial.started and trial.tries:
            yield f"{kind}: tried by a plane that did not start"


def _detectors(proof: Proof) -> Iterator[str]:
    names = [detector.name for detector in proof.detectors]
    if sorted(names) != sorted(each.name for each in DETECTORS):
        yield "its detectors are not those of this version"
    for detector in proof.detectors:
        if any(find.detector != detector.name for find in detector.finds):
            yield f"{detector.name}: a find of another detector"
        if not detector.looked_at or not detector.blind_to:
            yield f"{detector.name}: does not say what it looked at, or is blind to"


def _deviations(proof: Proof) -> Iterator[str]:
    """Compare what was found or missing with what is said to deviate."""
    said = {(each.detector, each.row, each.kind) for each in proof.deviations}
    finds = all_finds(proof)
    misplaced = {
        (find.detector, find.row, find.kind)
        for find in finds
        if not claims.allowed(find.row, find.kind, find.store)
    }
    for detector, row, kind in sorted(misplaced - said):
        yield f"{detector} found {kind or 'something'} {row} where none may be, and nobody says so"
    told = {each for each in said if each[0] not in (TABLE, DRIVE)}
    for detector, row, kind in sorted(told - misplaced):
        yield f"{detector} is said to have found {kind or 'something'} {row}, and did not"
    missing = {(TABLE, *pair) for pair in _missing(proof, finds)}
    for _, row, kind in sorted(missing ^ {each for each in said if each[0] == TABLE}):
        yield f"{row}: {kind} is missing and not said to be, or the other way round"
    for row, kind in _undelivered(proof):
        if (DRIVE, row, kind) not in said:
            yield f"{row}: {kind} did not arrive, and nobody says so"


def all_finds(proof: Proof) -> list[Find]:
    """Return every find of every detector."""
    return [find for detector in proof.detectors for find in detector.finds]


def _wanted(proof: Proof) -> Iterator[tuple[Kind, frozenset[str]]]:
    """Yield each kind that was to be driven, and the stores where it must be."""
    for kind, claim in claims.CLAIMS.items():
        if kind.row in proof.environment.get("rows", ()) and claim.must:
            yield kind, _must(proof, claim)


def _must(proof: Proof, claim: claims.Claim) -> frozenset[str]:
    """Return where a kind must be found: not in a ClickHouse that the split did not have."""
    planes = proof.environment["planes"]
    there = any(str(plane).startswith(claims.CLICKHOUSE) for plane in planes)
    return claim.must if there else claim.must - {claims.CLICKHOUSE}


def _missing(proof: Proof, finds: list[Find]) -> Iterator[tuple[str, str]]:
    there = {(find.row, find.kind, find.store) for find in finds}
    for kind, must in _wanted(proof):
        if any((kind.row, kind.name, store) not in there for store in must):
            yield kind.row, kind.name


def _undelivered(proof: Proof) -> Iterator[tuple[str, str]]:
    counts = {(row.id, name): count for row in proof.rows for name, count in row.kinds.items()}
    for kind, _ in _wanted(proof):
        if not counts.get((kind.row, kind.name)):
            yield kind.row, kind.name


def _rows(proof: Proof) -> Iterator[str]:
    if [row.id for row in proof.rows] != [row.id for row in ROWS]:
        yield "its rows are not the white paper's"
        return
    for row, paper in zip(proof.rows, ROWS, strict=True):
        if (row.data, row.claim) != (paper.data, WORDS[paper.transits]):
            yield f"{row.id}: claims other than the white paper"
        yield from _row(proof, row)


def _row(proof: Proof, row: RowProof) -> Iterator[str]:
    why = tuple(each.text for each in proof.deviations if each.row == row.id)
    if row.why != why:
        yield f"{row.id}: its deviations are not those of the report"
    driven = row.id in proof.environment.get("rows", ())
    verdict = NOT_DRIVEN if not driven else DEVIATES if why else AS_CLAIMED
    if row.verdict != verdict:
        yield f"{row.id}: the verdict is '{verdict}' by the evidence, and another in the report"
    where = {
        claims.PLACES.get(find.store) or find.place
        for find in all_finds(proof)
        if find.row == row.id
    }
    if row.found_where != tuple(sorted(where)):
        yield f"{row.id}: found elsewhere than its finds say"
    stores = {store for claim in claims.of_row(row.id).values() for store in _must(proof, claim)}
    if row.expected_where != tuple(sorted(claims.PLACES[store] for store in stores)):
        yield f"{row.id}: expected elsewhere than is claimed"


def _counters(proof: Proof) -> Iterator[str]:
    """Hold every row's bytes against its claim, as the counters' detector did."""
    told = {find.row for find in all_finds(proof) if find.detector == "rows"}
    for row, paper in zip(proof.rows, ROWS, strict=False):
        numbers = [row.path.get(hop, 0) for hop in ("relay", "control", "direct")]
        if any(number < 0 for number in numbers):
            yield f"{row.id}: a counter is negative"
        elif row.path and Counted(paper, *numbers).as_claimed == (row.id in told):
            yield f"{row.id}: the verdict on its counters does not follow from them"


def _canaries(proof: Proof) -> Iterator[str]:
    """Make the canaries' secret anew from nonce and salt, if it was made of these."""
    said = proof.canaries
    if said.get("chosen_by_reviewer") != "no":
        return
    try:
        salt = bytes.fromhex(said.get("salt", ""))
        secret = derived(said.get("challenge", ""), salt)[:SECRET_CHARS]
    except ValueError:
        yield "the canaries' nonce or salt is not hexadecimal"
        return
    if hashlib.sha256(secret.encode()).hexdigest() != said.get("sha256"):
        yield "the canaries were not made of this nonce and salt"
