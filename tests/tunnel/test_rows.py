"""The rows as data say what the white paper's tables say, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunnel.capabilities import CAPABILITIES
from tunnel.rows import APPENDIX_A, APPENDIX_B, ROWS, SIGNED, control_row

TEXT = Path(__file__).parents[1] / "whitepaper" / "appendix.txt"
TRANSITS = {
    "Yes": "yes",
    "Yes — metadata only": "metadata",
    "Relayed in-memory (not stored)": "memory",
    "Relayed during create (not stored)": "memory",
    "No — direct client ↔ object store": "no",
    "No — stays in customer infra": "no",
}


def table(title: str) -> list[list[str]]:
    """Return a table's rows below its title, without head and rule."""
    lines = TEXT.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(title)) + 3
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_appendix_a_is_complete_and_word_for_word() -> None:
    written = [
        [row.data, row.stored_in, row.accessed_via, row.transits] for row in APPENDIX_A.values()
    ]
    assert written == [[*cells[:3], TRANSITS[cells[3]]] for cells in table("A:")]
    assert list(APPENDIX_A) == [f"A{n}" for n in range(1, 13)]


def test_appendix_b_is_complete_and_word_for_word() -> None:
    verbs = {"Download (GET)": "GET", "Upload (PUT)": "PUT"}
    written = [[row.data, row.method, row.verb] for row in APPENDIX_B.values()]
    assert written == [[*cells[:2], verbs[cells[2]]] for cells in table("B:")]


def test_signed_objects_never_transit() -> None:
    assert {APPENDIX_A[row.of].transits for row in APPENDIX_B.values()} == {"no"}


def test_what_crosses_in_memory_has_an_rpc_and_what_never_crosses_has_none() -> None:
    carried = {capability.row for capability in CAPABILITIES.values()}
    for row in APPENDIX_A.values():
        if row.transits == "memory":
            assert row.id in carried
        if row.transits == "no":
            assert row.id not in carried
    assert SIGNED in carried
    assert carried <= set(ROWS)


@pytest.mark.parametrize(
    ("path", "row"),
    [
        ("/flyteidl2.task.TaskService/DeployTask", "A1"),
        ("/flyteidl2.workflow.RunService/CreateRun", "A2"),
        ("/flyteidl2.workflow.RunService/GetActionDetails", "A3"),
        ("/planesplit.v1.ClusterAdminService/ListClusters", "A12"),
        ("/oauth2/token", "A11"),
        ("/oauth2/other", None),
        ("/flyteidl2.secret.SecretService/CreateSecret", None),
        ("/readyz", None),
        ("", None),
    ],
)
def test_what_the_control_plane_serves_belongs_to_a_row(path: str, row: str | None) -> None:
    assert control_row(path) == row
