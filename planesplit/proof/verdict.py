"""Judges what was found against what is claimed: the table can fail both ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from planesplit.proof import claims
from planesplit.proof.canaries import Kind
from planesplit.proof.find import Find
from planesplit.proof.options import AS_CLAIMED, DEVIATES, NOT_DRIVEN, Deviation, RowProof
from planesplit.proof.stage import Stage
from planesplit.residency import CLAIMS as WORDS
from planesplit.residency import SIGNED_ROW, Counted
from tunnel.rows import APPENDIX_A, Row

ROWS: tuple[Row, ...] = (*APPENDIX_A.values(), SIGNED_ROW)


def deviations(stage: Stage, finds: Sequence[Find]) -> list[Deviation]:
    """Return everything that is not as claimed, each once."""
    found = [*_misplaced(finds), *_missing(stage, finds)]
    found += [Deviation("drive", text) for text in stage.failures]
    return list(dict.fromkeys(found))


def _misplaced(finds: Iterable[Find]) -> Iterable[Deviation]:
    for find in finds:
        if not claims.allowed(find.row, find.kind, find.store):
            what = f"{find.kind}, {find.encoding}" if find.kind else find.encoding
            yield Deviation(find.detector, f"{find.place}: {what}", find.row, find.kind)


def _missing(stage: Stage, finds: Sequence[Find]) -> Iterable[Deviation]:
    """Yield what should have been found where it is claimed to rest, and was not."""
    stores = _stores_by_kind(finds)
    for kind, claim in claims.CLAIMS.items():
        if kind.row not in stage.rows or not driven(stage, kind):
            continue
        if not stage.delivered.get(kind):
            yield Deviation("drive", f"{kind.name} did not arrive", kind.row, kind.name)
        for store in sorted(must(stage, claim) - stores.get(kind, frozenset())):
            place = claims.PLACES[store]
            text = f"{kind.name} is not in the {place}, where it is claimed to be"
            yield Deviation("table", text, kind.row, kind.name)


def must(stage: Stage, claim: claims.Claim) -> frozenset[str]:
    """Return where a kind is to be found, of the stores that the split has."""
    return claim.must if stage.split.options.has_clickhouse else claim.must - {claims.CLICKHOUSE}


def driven(stage: Stage, kind: Kind) -> bool:
    """Whether there is a canary of this kind, or should be one."""
    return kind in stage.canaries.kinds or bool(claims.CLAIMS[kind].must)


def table(stage: Stage, finds: Sequence[Find], found: Sequence[Deviation]) -> tuple[RowProof, ...]:
    """Return the white paper's table as this run saw it."""
    return tuple(_row(stage, row, finds, found, stage.hops.get(row.id)) for row in ROWS)


def _row(
    stage: Stage,
    row: Row,
    finds: Sequence[Find],
    found: Sequence[Deviation],
    counted: Counted | None,
) -> RowProof:
    why = tuple(deviation.text for deviation in found if deviation.row == row.id)
    kinds = {kind.name: stage.delivered.get(kind, 0) for kind in claims.of_row(row.id)}
    expected = {store for claim in claims.of_row(row.id).values() for store in must(stage, claim)}
    wanted = row.id in stage.rows
    verdict = NOT_DRIVEN if not wanted else DEVIATES if why else AS_CLAIMED
    return RowProof(
        id=row.id,
        data=row.data,
        claim=WORDS[row.transits],
        path=_path(counted),
        kinds=kinds if wanted else {},
        found_where=tuple(sorted({_where(find) for find in finds if find.row == row.id})),
        expected_where=tuple(sorted(claims.PLACES[store] for store in expected)),
        verdict=verdict,
        why=why,
    )


def _path(counted: Counted | None) -> Mapping[str, int]:
    if counted is None:
        return {}
    return {"relay": counted.relay, "control": counted.control, "direct": counted.direct}


def _where(find: Find) -> str:
    return claims.PLACES.get(find.store) or find.place


def _stores_by_kind(finds: Iterable[Find]) -> dict[Kind, set[str]]:
    stores: dict[Kind, set[str]] = {}
    for find in finds:
        stores.setdefault(Kind(find.row, find.kind), set()).add(find.store)
    return stores
