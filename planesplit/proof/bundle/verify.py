"""Checks a bundle, on any machine: signature, schema, consistency; and repeats the run if asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from planesplit.proof import claims
from planesplit.proof.bundle.consistency import all_finds, complaints, complaints_of_matrix
from planesplit.proof.bundle.decode import Misfit
from planesplit.proof.bundle.envelope import Forged, unseal
from planesplit.proof.bundle.evidence import Evidence, read_evidence
from planesplit.proof.canaries import Kind
from planesplit.proof.environment import NO_LEVEL, UNSEALED
from planesplit.proof.options import ALL_ROWS, NOT_DRIVEN, Proof, ProofOptions
from planesplit.split.options import CLICKHOUSE, CLUSTER_NAME, SplitOptions

MAX_SHOWN = 5  # of complaints about one thing
NOWHERE = claims.Claim()


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked.

    Args:
        name: what.
        good: whether it holds.
        text: for people.
    """

    name: str
    good: bool
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a bundle.

    Args:
        checks: in their order; what could not be reached any more is not in it.
        evidence: what it says; None if it could not be read.
    """

    checks: tuple[Check, ...]
    evidence: Evidence | None = None

    @property
    def good(self) -> bool:
        """Whether everything holds."""
        return all(check.good for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {"good": self.good, "checks": [dataclasses.asdict(each) for each in self.checks]}


def verify(data: bytes, challenge: str = "") -> Verdict:
    """Check a bundle's bytes, which anybody may have written.

    Args:
        challenge: the nonce that must have been folded in; any if empty.
    """
    try:
        envelope = unseal(data)
    except Forged as error:
        return Verdict((Check("signature", False, str(error)),))
    text = f"nothing was changed since it was signed by key {envelope.key[:16]} (not: by whom)"
    signed = Check("signature", True, text)
    try:
        evidence = read_evidence(envelope.body)
    except Misfit as error:
        return Verdict((signed, Check("schema", False, str(error))))
    checks = [signed, Check("schema", True, f"a report and {_controls(evidence)}")]
    checks += [_consistent(evidence), *_asked(evidence, challenge), _result(evidence)]
    return Verdict(tuple(checks), evidence)


def repeat(evidence: Evidence) -> ProofOptions:
    """Return the options of the run that a bundle tells of.

    Raises:
        Misfit: it names what there is not.
    """
    said = evidence.proof.environment
    rows, planes = frozenset(said["rows"]), said["planes"]
    if not rows <= ALL_ROWS:
        raise Misfit("its rows are not the white paper's")
    if said.get("attached"):
        raise Misfit("its split was somebody's own: 'planesplit prove --ready-file' looks again")
    clusters = dict.fromkeys(p.partition("@")[2] for p in planes if "@" in p)
    if not all(map(CLUSTER_NAME.fullmatch, clusters)):
        raise Misfit("its clusters have names that no cluster has")
    split = SplitOptions(
        insecure=not said.get("tls", True),
        clickhouse=CLICKHOUSE in planes,
        clusters=tuple(clusters),
        seal=evidence.proof.seal not in (UNSEALED, NO_LEVEL),
    )
    if split.place.cluster in clusters:
        raise Misfit("its first cluster is named twice")
    challenge = str(evidence.proof.canaries.get("challenge", ""))
    return ProofOptions(split, rows, "", challenge, faults=bool(said.get("faults", True)))


def compare(then: Proof, now: Proof) -> Check:
    """Compare what a bundle says with the same run, made again."""
    differences = [
        f"{name}: {before} then, {after} now"
        for name, read in _COMPARED.items()
        if (before := read(then)) != (after := read(now))
    ]
    text = "; ".join(differences) or "verdicts, stores at rest, detectors and seal are alike again"
    return Check("rerun", not differences, text)


def _at_rest(proof: Proof) -> list[tuple[str, str]]:
    """Return where payload was found that has to be there; what memory still holds varies."""
    found = {
        (find.row, find.store)
        for find in all_finds(proof)
        if find.store in claims.of_row(find.row).get(Kind(find.row, find.kind), NOWHERE).must
    }
    return sorted(found)


_COMPARED: dict[str, Callable[[Proof], Any]] = {
    "verdicts": lambda proof: {row.id: row.verdict for row in proof.rows},
    "stores at rest": _at_rest,
    "detectors": lambda proof: [detector.name for detector in proof.detectors],
    "seal": lambda proof: proof.seal,
}


def _controls(evidence: Evidence) -> str:
    if evidence.matrix is None:
        return "no negative controls"
    return f"{len(evidence.matrix.leaks)} negative controls"


def _consistent(evidence: Evidence) -> Check:
    wrong = list(complaints(evidence.proof))
    if evidence.matrix is not None:
        wrong += complaints_of_matrix(evidence.matrix, evidence.proof)
    proof = evidence.proof
    good = f"{len(proof.rows)} verdicts follow from {len(all_finds(proof))} finds and the counters"
    return Check("consistency", not wrong, "; ".join(wrong[:MAX_SHOWN]) or good)


def _asked(evidence: Evidence, challenge: str) -> list[Check]:
    said = evidence.proof.canaries
    if challenge and said.get("challenge") != challenge.lower():
        return [Check("challenge", False, "the nonce is not the one that you gave")]
    if not said.get("challenge"):
        return [Check("challenge", True, "no nonce was folded in: the run may be an old one")]
    folded = "is in every canary" if said.get("chosen_by_reviewer") == "no" else "is said to be"
    return [Check("challenge", True, f"the nonce {said['challenge'][:16]} {folded}")]


def _result(evidence: Evidence) -> Check:
    proof, matrix = evidence.proof, evidence.matrix
    deviates = f"{len(proof.deviations)} deviations" if proof.deviations else "no deviation"
    driven = [row for row in proof.rows if row.verdict != NOT_DRIVEN]
    text = f"{deviates} in {len(driven)} of {len(proof.rows)} rows on {proof.started}"
    text += f", seal {proof.seal}"
    if matrix is not None:
        text += (
            f"; {len(matrix.slipped)} negative controls went wrong"
            if not matrix.red
            else (f"; all {len(matrix.leaks)} leaks caught")
        )
    good = bool(driven) and proof.clean and (matrix is None or matrix.red)
    return Check("result", good, text)
