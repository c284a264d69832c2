"""Every defence of the threat model names tests, and each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "threat-model.md"
ROW = re.compile(r"\| ([STRIDE]) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|")
NAMED = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")
HOPS = 6


def rows(text: str) -> list[tuple[str, str]]:
    """Threat and tests of each row."""
    return [(match[2], match[4]) for match in ROW.finditer(text)]


def missing(text: str) -> list[str]:
    """What a page names that there is not, and rows that name nothing."""
    found = [f"no test: {threat}" for threat, tests in rows(text) if not NAMED.search(tests)]
    for file, test in NAMED.findall(text):
        path = TESTS / file.removeprefix("tests/")
        known = functions(path) if path.is_file() else {"-"}
        if not path.is_file() or (test and test not in known):
            found.append(f"{file}::{test}")
    return found


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_every_defence_has_a_test_that_exists() -> None:
    assert missing(PAGE.read_text()) == []


def test_every_hop_has_every_letter() -> None:
    hops = re.split(r"^## \d\. ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    assert len(hops) == HOPS
    for hop in hops:
        letters = {match[1] for match in ROW.finditer(hop)}
        assert set("STIDE") <= letters, hop.partition("\n")[0]


@pytest.mark.parametrize(
    "row",
    [
        "| S | threat | defence | `relay/test_relay_http.py::test_that_is_not_there` |",
        "| S | threat | defence | `relay/test_that_is_not_there.py` |",
        "| S | threat | defence | somehow |",
    ],
    ids=["function", "file", "nothing"],
)
def test_what_is_missing_is_seen(row: str) -> None:
    assert len(missing(row)) == 1
