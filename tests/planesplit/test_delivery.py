"""The delivery check, and the mutants that each of its numbers must catch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planesplit.delivery import Delivery, WholeLine, compare, percentile
from planesplit.tail import Line

PRODUCED = [WholeLine(number // 2, f"line {number % 4}\n") for number in range(12)]


def tailed(lines: list[WholeLine]) -> list[Line]:
    return [Line(line.text, line.at_ns) for line in lines]


def faults(delivery: Delivery) -> dict[str, int]:
    counts = ("lost", "doubled", "altered", "disordered")
    return {name: getattr(delivery, name) for name in counts if getattr(delivery, name)}


def test_an_exact_delivery() -> None:
    delivery = compare(PRODUCED, tailed(PRODUCED))
    assert delivery.exact
    assert faults(delivery) == {}
    assert delivery.sha256_produced == delivery.sha256_delivered


MUTANTS: dict[str, tuple[Callable[[list[Line]], list[Line]], dict[str, int]]] = {
    "lost first": (lambda lines: lines[1:], {"lost": 1}),
    "lost last": (lambda lines: lines[:-1], {"lost": 1}),
    "lost all": (lambda _: [], {"lost": 12}),
    "doubled": (lambda lines: [*lines[:3], lines[2], *lines[3:]], {"doubled": 1}),
    "doubled later": (lambda lines: [*lines, lines[0]], {"doubled": 1}),
    "swapped": (lambda lines: [lines[1], lines[0], *lines[2:]], {"disordered": 1}),
    "altered": (lambda lines: [Line("x\n"), *lines[1:]], {"lost": 1, "altered": 1}),
    "added": (lambda lines: [*lines, Line("x\n")], {"altered": 1}),
    "time altered": (
        lambda lines: [Line(lines[0].text, 99), *lines[1:]],
        {"lost": 1, "altered": 1},
    ),
    "newline lost": (lambda lines: [*lines[:-1], Line("line 3")], {"lost": 1, "altered": 1}),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_mutant_is_caught(mutant: str) -> None:
    mutate, expected = MUTANTS[mutant]
    delivery = compare(PRODUCED, mutate(tailed(PRODUCED)))
    assert faults(delivery) == expected
    assert not delivery.exact


def test_equal_lines_count_as_often_as_they_were_written() -> None:
    same = [WholeLine(1, "ok\n")] * 3
    assert compare(same, tailed(same)).exact
    assert faults(compare(same, tailed(same[:2]))) == {"lost": 1}
    assert faults(compare(same, tailed([*same, *same[:1]]))) == {"doubled": 1}


def test_pieces_make_a_line_and_gap_records_none() -> None:
    pieces = [Line("a" * 9, 5), Line("[gap]\n", 5, originator="SYSTEM"), Line("b\n", 6)]
    assert compare([WholeLine(5, "a" * 9 + "b\n")], pieces).exact


@given(st.lists(st.tuples(st.integers(0, 3), st.text(max_size=2)), min_size=1), st.data())
def test_dropping_any_line_is_seen(drawn: list[tuple[int, str]], data: st.DataObject) -> None:
    lines = [WholeLine(at_ns, text.replace("\n", "") + "\n") for at_ns, text in drawn]
    assert compare(lines, tailed(lines)).exact
    victim = data.draw(st.integers(0, len(lines) - 1))
    assert compare(lines, tailed(lines[:victim] + lines[victim + 1 :])).lost == 1


def test_nearest_rank_percentiles() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (percentile(values, 50), percentile(values, 99), percentile(values, 100)) == (
        50,
        99,
        100,
    )
    assert percentile([7.0], 99) == 7
    assert percentile([], 50) == 0
