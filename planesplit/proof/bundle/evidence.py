"""What a bundle holds: a report, negative controls if there were any, what it does not show."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from planesplit.proof.bundle.decode import Misfit, decode
from planesplit.proof.bundle.envelope import canonical
from planesplit.proof.options import SCHEMA, Proof
from planesplit.proof.sabotage.outcome import Matrix, Trial

NOTICE = (
    "The signature shows that nothing in this file was changed since it was signed. It does not"
    " show who signed it or that the run took place: the key was made for this file. Repeat the"
    " run (planesplit verify --rerun), with a nonce of your own (planesplit prove --challenge)."
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A bundle's content.

    Args:
        created: RFC 3339.
        proof: the report.
        matrix: the negative controls; None if they were not run.
        notice: what the signature does not show.
    """

    created: str
    proof: Proof
    matrix: Matrix | None = None
    notice: str = NOTICE

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "created": self.created,
            "notice": self.notice,
            "proof": self.proof.as_json(),
            "sabotage": self.matrix.as_json() if self.matrix else None,
        }


def collect(proof: Proof, matrix: Matrix | None = None) -> Evidence:
    """Return evidence of now."""
    created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Evidence(created, proof, matrix)


def read_evidence(body: dict[str, Any]) -> Evidence:
    """Return what a bundle's body says.

    Raises:
        Misfit: it is not of this schema, or what follows from its values is not what it says.
    """
    if body.keys() != {"created", "notice", "proof", "sabotage"}:
        raise Misfit("the body's fields are not those of this schema")
    proof = _proof(body["proof"])
    matrix = _matrix(body["sabotage"]) if body["sabotage"] is not None else None
    created, notice = (decode(str, body[name], name) for name in ("created", "notice"))
    _check_environment(proof.environment)
    evidence = Evidence(created, proof, matrix, notice)
    if canonical(evidence.as_json()) != canonical(body):
        raise Misfit("it says of itself what does not follow from its values")
    return evidence


def _check_environment(said: Mapping[str, Any]) -> None:
    """Refuse what the checks cannot go by; versions and the like may be anything."""
    for name in ("rows", "planes"):
        texts = said.get(name)
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise Misfit(f"'proof.environment.{name}' is not a list of texts")
    for name in ("tls", "faults", "attached"):
        if not isinstance(said.get(name, False), bool):
            raise Misfit(f"'proof.environment.{name}' is not a flag")


def _proof(value: Any) -> Proof:
    table = _object(value, "proof")
    if table.pop("schema", None) != SCHEMA:
        raise Misfit(f"'proof' is no {SCHEMA}")
    table.pop("clean", None)
    return decode(Proof, table, "proof")


def _matrix(value: Any) -> Matrix:
    table = _object(value, "sabotage")
    derived = {name for name in ("schema", "red", "counts") if name in table}
    trials = table.get("trials")
    if len(derived) != 3 or not isinstance(trials, list):
        raise Misfit("'sabotage' lacks a field")
    fields = {field.name for field in dataclasses.fields(Trial)}
    own = [{k: v for k, v in _object(t, "trial").items() if k in fields} for t in trials]
    rest = {name: each for name, each in table.items() if name not in derived}
    return decode(Matrix, {**rest, "trials": own}, "sabotage")


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Misfit(f"'{where}' is not an object")
    return dict(value)
