"""The whole proof on a split of real processes: clean, complete, and told in every form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from planesplit.proof import claims
from planesplit.proof.attached import NO_MEMORY, NOT_HERE, Attached
from planesplit.proof.options import AS_CLAIMED, DEVIATES, NOT_DRIVEN, Proof, ProofOptions
from planesplit.proof.report.page import as_page
from planesplit.proof.report.text import as_text
from planesplit.proof.run import attach, prove
from planesplit.ready import ClusterAccess, Flyte, Place, Ready, Urls
from planesplit.split.core import Split
from planesplit.split.options import RELAY, SplitOptions
from tunnel.rows import ROWS

WITHIN_S = 240.0  # 20 s alone; tests share the machine

pytestmark = [pytest.mark.integration, pytest.mark.timeout(WITHIN_S + 30)]

PATIENT = "patient 4711"


async def test_everything_is_as_claimed(tmp_path: Path) -> None:
    with trio.fail_after(WITHIN_S):
        proof = await prove(ProofOptions(canary=PATIENT, challenge="c0ffee"))
    assert proof.deviations == ()
    assert [row.id for row in proof.rows] == list(ROWS)
    assert {row.verdict for row in proof.rows} == {AS_CLAIMED}
    _complete(proof)
    _told(proof)


def _complete(proof: Proof) -> None:
    """Every kind arrived, every store was found to hold its own, every detector looked."""
    arrived = {(row.id, kind) for row in proof.rows for kind, times in row.kinds.items() if times}
    assert arrived == {(kind.row, kind.name) for kind in claims.CLAIMS}
    for row in proof.rows:
        assert set(row.expected_where) <= set(row.found_where), row.id
    paths = {row.id: row.path for row in proof.rows}
    for row in ("A4", "A5", "A6", "A7"):
        assert (paths[row]["relay"], paths[row]["control"]) == (0, 0)
        assert paths[row]["direct"] > 0
    for row in ("A8", "A9", "A10", "B"):
        assert paths[row]["relay"] > 0
        assert paths[row]["control"] == 0
    assert all(d.looked_at != "nothing yet" and d.blind_to for d in proof.detectors)


def _told(proof: Proof) -> None:
    """Reports say the same, show the reviewer's value nowhere, and promise nothing."""
    text, page, record = as_text(proof), as_page(proof), json.dumps(proof.as_json())
    for told in (text, page):
        assert "as claimed: persisting relayed payload was" in told
        assert "not observed" in told
        assert "guarantee" not in told
    assert PATIENT not in text + page + record
    assert json.loads(record)["clean"] is True


ON_A_SPLIT = ProofOptions(rows=frozenset({"A7", "A8", "A9"}))


@pytest.mark.parametrize("leak", ["", "memory-cache"], ids=["clean", "leaking"])
async def test_a_split_that_runs_already(leak: str) -> None:
    planted = {RELAY: leak} if leak else {}
    options = SplitOptions(provable=True, clickhouse=False, link=False, planted=planted)
    with trio.fail_after(WITHIN_S):
        async with Split(options) as split:
            proof = await attach(split.ready, ON_A_SPLIT)
    assert {each.detector for each in proof.deviations} == ({"memory"} if leak else set())
    verdicts = {row.id: row.verdict for row in proof.rows}
    assert (verdicts["A7"], verdicts["A9"]) == (NOT_DRIVEN, AS_CLAIMED)
    assert verdicts["A8"] == (DEVIATES if leak else AS_CLAIMED)
    assert len(proof.unseen) == len(NOT_HERE)
    assert "not everything looked at" in as_text(proof)
    assert all(text in as_page(proof) for text in proof.unseen)


def test_memory_that_is_closed_to_this_user_is_not_scanned_and_said_so(
    monkeypatch: pytest.MonkeyPatch, ready: Ready
) -> None:
    monkeypatch.setattr(Attached, "_opened", lambda self, plane: None)
    assert Attached(ready).unseen["memory"] == NO_MEMORY


@pytest.fixture
def ready() -> Ready:
    """Of a split that nobody asks anything."""
    place = Place("acme", "demo", "development", "c1")
    urls = Urls("https://h:1", "https://h:2", "http://h:3")
    clusters = (ClusterAccess("c1"),)
    return Ready(1, 1, "/d", False, place, urls, Flyte("", {}), {}, clusters=clusters)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "planesplit", "prove", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)


def test_a_single_row_as_json() -> None:
    done = run("--rows", "A12,A11", "--no-faults", "--no-seal", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    proof = json.loads(done.stdout)
    assert proof["seal"] in ("none", "unsealed")
    driven = {row["id"] for row in proof["rows"] if row["verdict"] == AS_CLAIMED}
    assert driven == {"A11", "A12"}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--canary", "short"), "--canary"),
        (("--challenge", "no hex"), "--challenge"),
        (("--rows", "A13"), "A13"),
        (("--html", "/nowhere/at/all.html"), "/nowhere/at/all.html"),
        (("--ready-file", "r.json", "--sabotage", "all"), "--ready-file"),
        (("--ready-file", "r.json", "--rows", "A7"), "A7"),
    ],
    ids=["canary", "challenge", "row", "directory", "planted beside", "images beside"],
)
def test_what_cannot_be_asked(arguments: tuple[str, ...], word: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr
