"""Every word of the tables that means more than itself has a note; every note has its words."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from access_page import PAGE, page
from seed_tables import Cells, compute, control, iam

from policy.iam import iam_accounts
from policy.normalised import NOTES, Note, notes_of
from policy.resources import VERBS, find, resources
from policy.roles import PLANES, accounts, roles

ROWS: dict[str, Cells] = {
    **{f"C{number}": cells for number, cells in enumerate(control(), start=1)},
    **{f"D{number}": cells for number, cells in enumerate(compute(), start=1)},
    **{f"E{number}": cells for number, cells in enumerate(iam(), start=1)},
}
PLAIN_GROUP = re.compile(r"apps|batch|[a-z.]+\.(io|com)")


@pytest.mark.parametrize("note", NOTES, ids=lambda note: f"{note.rows[0]} {note.words[:20]}")
def test_a_note_quotes_its_rows(note: Note) -> None:
    for row in note.rows:
        assert note.words in "\n".join(ROWS[row].values())


def odd_words(cells: Cells) -> Iterator[str]:
    """Words of a row that Kubernetes wouldn't understand as they stand."""
    served = {
        *resources(),
        *(f"{r.name}/{sub}" for r in resources().values() for sub in r.subresources),
    }
    listed = re.sub(r"\(RO\)|\(all plugin objects\)|;", "", cells["resources"])
    for word in listed.split():
        if word not in served and word != "nonResourceURLs:" and not word.startswith("/"):
            yield word
    for word in cells["verbs"].split():
        if word not in VERBS:
            yield word
    for word in cells["api_groups"].split():
        if not PLAIN_GROUP.fullmatch(word) and word not in GROUPS_WITH_RESOURCES:
            yield word
    if cells.get("scope", "Cluster-wide") != "Cluster-wide":
        yield cells["scope"]


GROUPS_WITH_RESOURCES = {
    group
    for plane in PLANES
    for role in roles(plane)
    for rule in role.rules
    for group in rule.groups
}


@pytest.mark.parametrize("row", [row for row in ROWS if row[0] in "CD"])
def test_every_odd_word_has_a_note(row: str) -> None:
    noted = " ".join(note.words for note in notes_of(row))
    assert [word for word in odd_words(ROWS[row]) if word not in noted] == []


def test_odd_words_are_seen() -> None:
    assert {"*", "flyteworkflows/*"} <= set(odd_words(ROWS["D2"]))
    assert "post" in odd_words(ROWS["D4"])
    assert {"PVCs", "HPAs"} <= set(odd_words(ROWS["D12"]))
    assert "union namespace" in odd_words(ROWS["D7"])


def test_groups_of_a_row_without_a_resource_are_noted() -> None:
    for plane in PLANES:
        for role in roles(plane):
            used = {group for rule in role.rules for group in rule.groups}
            for word in role.words["api_groups"].split():
                plain = PLAIN_GROUP.fullmatch(word) or word in ("policy", "autoscaling")
                if plain and word not in used:
                    assert any(word in note.words for note in notes_of(role.appendix)), word


def test_our_reading_names_only_what_there_is() -> None:
    for plane in PLANES:
        for role in roles(plane):
            for rule in role.rules:
                for name in rule.resources:
                    base, _, subresource = name.partition("/")
                    if base in ("*", "spark-role"):
                        continue
                    assert not subresource or subresource in resources()[base].subresources
                    assert {"*", *resources()[base].groups} >= set(rule.groups), (role.name, name)
                assert {"*", *VERBS} >= set(rule.verbs)


def test_an_account_is_in_one_plane_and_its_roles_are_of_that_plane() -> None:
    assert not set(accounts("control")) & set(accounts("compute"))
    for name, account in iam_accounts().items():
        other = "compute" if account.plane == "control" else "control"
        assert name not in accounts(other)


def test_resources_are_found_by_every_name() -> None:
    for name in ("pods", "pod", "Pod", "po", "PVCs", "pvc", "persistentvolumeclaims", "HPAs"):
        assert find(name) is not None
    assert find("podz") is None


def test_the_page_is_current() -> None:
    """`python tests/policy/access_page.py` writes it."""
    assert page(PAGE.read_text(encoding="utf-8")) == PAGE.read_text(encoding="utf-8")
