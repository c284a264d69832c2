"""The policy's data against the white paper's text: every cell, 0 differences."""

from __future__ import annotations

import pytest
from seed_tables import Cells, compute, control, iam

from policy.iam import iam_accounts
from policy.roles import Plane, roles

Rows = list[tuple[str, Cells]]


def differences(ours: Rows, letter: str, seed: list[Cells]) -> list[str]:
    """Every cell that isn't the same, and every row that one side has not."""
    theirs = [(f"{letter}{number}", cells) for number, cells in enumerate(seed, start=1)]
    found = [f"{row}: ours only" for row, _ in ours if row not in dict(theirs)]
    for row, cells in theirs:
        mine = dict(ours).get(row, {})
        found += [
            f"{row} {head}: {mine.get(head)!r} is not {cells.get(head)!r}"
            for head in cells.keys() | mine.keys()
            if cells.get(head) != mine.get(head)
        ]
    return found


def written(plane: Plane) -> Rows:
    return [(role.appendix, dict(role.words)) for role in roles(plane)]


def test_appendix_c_is_complete_and_word_for_word() -> None:
    assert differences(written("control"), "C", control()) == []
    assert len(roles("control")) == 12


def test_appendix_d_is_complete_and_word_for_word() -> None:
    assert differences(written("compute"), "D", compute()) == []
    assert len(roles("compute")) == 9 + 7


def test_appendix_e_is_complete_and_word_for_word() -> None:
    ours = [(account.appendix, dict(account.words)) for account in iam_accounts().values()]
    assert differences(ours, "E", iam()) == []
    assert len(ours) == 8


@pytest.mark.parametrize("change", ["cell", "row", "more"])
def test_the_comparison_sees_any_change(change: str) -> None:
    ours = written("control")
    if change == "cell":
        ours[3][1]["verbs"] += " "
    elif change == "row":
        del ours[3]
    else:
        ours.append(("C13", {}))
    assert differences(ours, "C", control())
