"""The proof as text: the white paper's table, then what deviates, then what was looked at."""

from __future__ import annotations

from collections.abc import Iterator

from planesplit.commands.residency import in_units
from planesplit.commands.tables import as_table, folded
from planesplit.proof import claims
from planesplit.proof.options import NOT_DRIVEN, DetectorProof, Proof, RowProof

COLUMNS = ("row", "data", "claim", "relay", "control plane", "direct", "found in", "verdict")
MAX_DEVIATIONS = 40
MAX_PLACES = 3  # of one row in the table; the JSON has all


def as_text(proof: Proof) -> str:
    """Return the whole report."""
    return "".join(
        (
            as_table([cells(row) for row in proof.rows], COLUMNS),
            "\n",
            *_deviations(proof),
            *_detectors(proof),
            *_limits(proof),
            folded(verdict(proof), ""),
        )
    )


def cells(row: RowProof) -> dict[str, str]:
    """Return a row's cells for people."""
    shown = [place for place in row.found_where if place in row.expected_where]
    others = [place for place in row.found_where if place not in row.expected_where]
    places = [*shown, *(others[:MAX_PLACES] if row.why else ())]
    return {
        "row": row.id,
        "data": row.data,
        "claim": row.claim,
        "relay": in_units(row.path.get("relay", 0)),
        "control plane": in_units(row.path.get("control", 0)),
        "direct": in_units(row.path.get("direct", 0)),
        "found in": "; ".join(places) or ("" if row.verdict == NOT_DRIVEN else "nowhere at rest"),
        "verdict": row.verdict,
    }


def verdict(proof: Proof) -> str:
    """Return the one sentence that the run comes to."""
    where = f"{proof.environment.get('commit') or proof.environment['versions']['planesplit']}"
    partly = ", not everything looked at" if proof.unseen else ""
    run = f"1 run of {proof.seconds:g} s, relay {_sealed(proof)}, {where}{partly}"
    if not proof.clean:
        return f"NOT as claimed: {len(proof.deviations)} deviations ({run})"
    prevented = "" if proof.seal in ("unsealed", "none") else "blocked by the kernel and "
    return f"as claimed: persisting relayed payload was {prevented}not observed ({run})"


def _sealed(proof: Proof) -> str:
    return proof.seal if proof.seal == "unsealed" else f"sealed: {proof.seal}"


def _deviations(proof: Proof) -> Iterator[str]:
    if not proof.deviations:
        return
    yield "deviations\n"
    for deviation in proof.deviations[:MAX_DEVIATIONS]:
        row = f" [{deviation.row}]" if deviation.row else ""
        yield folded(f"  {deviation.detector}{row}: {deviation.text}")
    if left := len(proof.deviations) - MAX_DEVIATIONS:
        yield f"  ... and {left} more\n" if left > 0 else ""
    yield "\n"


def misplaced(detector: DetectorProof) -> int:
    """Return how much of what a detector found is where it may not be."""
    return sum(not claims.allowed(find.row, find.kind, find.store) for find in detector.finds)


def _detectors(proof: Proof) -> Iterator[str]:
    rows = [
        {
            "looked with": d.name,
            "looked at": d.looked_at,
            "found": str(len(d.finds)),
            "misplaced": str(misplaced(d)),
            "blind to": d.blind_to,
        }
        for d in proof.detectors
    ]
    yield as_table(rows, ("looked with", "looked at", "found", "misplaced", "blind to"))
    yield "\n"


def _limits(proof: Proof) -> Iterator[str]:
    for title, texts in (
        ("not looked at, as the split ran already", proof.unseen),
        ("not seen by any search", proof.blind_spots),
        ("not shown", proof.not_shown),
    ):
        if texts:
            yield f"{title}\n"
            yield from (folded(f"  - {text}") for text in texts)
            yield "\n"
