"""The table fails both ways: for what is where it must not be, and what is not where it must."""

from __future__ import annotations

from pathlib import Path

import pytest
from proof_cast import staged

from planesplit.proof import claims
from planesplit.proof.canaries import Kind
from planesplit.proof.find import Find
from planesplit.proof.options import AS_CLAIMED, DEVIATES, NOT_DRIVEN, DetectorProof, Proof
from planesplit.proof.report.page import as_page
from planesplit.proof.report.text import as_text
from planesplit.proof.stage import Stage
from planesplit.proof.verdict import deviations, table
from tunnel.rows import ROWS


def found_where_claimed(stage: Stage) -> list[Find]:
    """Finds of a run in which everything is as claimed."""
    finds = []
    for kind, claim in claims.CLAIMS.items():
        stage.make(kind)
        stage.delivered_to(kind)
        finds += [Find("files", "x", "plain", kind.row, kind.name, s) for s in claim.must]
    return finds


async def test_a_clean_run(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        finds = found_where_claimed(stage)
        assert deviations(stage, finds) == []
        assert [row.id for row in table(stage, finds, [])] == list(ROWS)
        assert {row.verdict for row in table(stage, finds, [])} == {AS_CLAIMED}


@pytest.mark.parametrize("kind", claims.CLAIMS, ids=lambda kind: f"{kind.row} {kind.name}")
async def test_every_kind_fails_where_it_must_not_be(kind: Kind, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        finds = found_where_claimed(stage)
        finds.append(Find("files", "/tmp/leak", "base64", kind.row, kind.name))
        found = deviations(stage, finds)
        assert [(d.detector, d.row, d.kind) for d in found] == [("files", kind.row, kind.name)]
        verdicts = {row.id: row.verdict for row in table(stage, finds, found)}
        assert [row for row, verdict in verdicts.items() if verdict == DEVIATES] == [kind.row]


STORED = [kind for kind, claim in claims.CLAIMS.items() if claim.must]


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: f"{kind.row} {kind.name}")
async def test_every_stored_kind_fails_when_it_is_not_found(kind: Kind, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        whole = found_where_claimed(stage)
        finds = [find for find in whole if (find.row, find.kind) != (kind.row, kind.name)]
        assert {d.kind for d in deviations(stage, finds)} == {kind.name}


async def test_what_did_not_arrive_proves_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        finds = found_where_claimed(stage)
        del stage.delivered[claims.SECRET]
        stage.failures.append("metrics: unavailable")
        assert [d.text for d in deviations(stage, finds)] == [
            "secret did not arrive",
            "metrics: unavailable",
        ]


async def test_a_trace_that_is_no_canary_deviates(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        finds = [*found_where_claimed(stage), Find("sockets", "relay dialled somebody", "socket")]
        assert [d.detector for d in deviations(stage, finds)] == ["sockets"]


async def test_rows_that_are_not_driven_are_not_judged(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.rows = frozenset({"A8"})
        kinds = [kind for kind in claims.CLAIMS if kind.row == "A8"]
        for kind in kinds:
            stage.delivered_to(kind)
        finds = [
            Find("files", "x", "plain", kind.row, kind.name, store)
            for kind in kinds
            for store in claims.CLAIMS[kind].must
        ]
        assert deviations(stage, finds) == []
        verdicts = {row.id: row.verdict for row in table(stage, finds, [])}
        assert verdicts["A8"] == AS_CLAIMED
        assert verdicts["A9"] == NOT_DRIVEN


def test_every_row_has_its_claim() -> None:
    assert {kind.row for kind in claims.CLAIMS} == set(ROWS)
    stores = {store for claim in claims.CLAIMS.values() for store in claim.must | claim.may}
    assert stores <= set(claims.PLACES)


async def test_reports_show_everything_and_escape_it(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        finds = [*found_where_claimed(stage), Find("files", "<script>x</script>", "plain", "A8")]
        found = deviations(stage, finds)
        proof = Proof(
            rows=table(stage, finds, found),
            detectors=(DetectorProof("files", "9 files", tuple(finds), "much"),),
            seal="full",
            environment={"commit": "abc", "versions": {"planesplit": "1"}},
            started="2026-01-01T00:00:00Z",
            seconds=1.0,
            deviations=tuple(found),
            canaries={"sha256": stage.canaries.digest()},
            blind_spots=("one & all",),
            not_shown=("that",),
        )
        page, text = as_page(proof), as_text(proof)
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        assert "http" not in page.replace("https?", ""), "nothing is loaded"
        assert "NOT as claimed: 1 deviations" in text
        assert "one & all" in text
        assert "guarantee" not in page + text
        assert stage.canaries.secret not in page + text + str(proof.as_json())
        assert proof.as_json()["schema"] == "planesplit.proof/1"
        assert proof.as_json()["clean"] is False
