"""The demonstration's verdict: green only when it is true, red for every planted fault."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from planesplit.delivery import WholeLine, compare
from planesplit.demo.summary import Summary, gaps_ms, summarise
from planesplit.tail import Line

MS = 10**6
PRODUCED = [WholeLine(number * MS, f"{number:07d} x\n") for number in range(100)]
CUTS = [20 * MS, 50 * MS, 80 * MS]

Mutant = Callable[[list[Line]], list[Line]]


def delivered() -> list[Line]:
    return [Line(line.text, line.at_ns, line.at_ns + 2 * MS) for line in PRODUCED]


def summary(lines: list[Line], *, cuts: int = 3, produced: list[WholeLine] = PRODUCED) -> Summary:
    found = compare(produced, lines)
    return summarise(found, lines, CUTS[:cuts], wanted_cuts=3, seconds=1.0)


def test_an_exact_delivery_is_ok() -> None:
    record = summary(delivered()).as_record()
    assert record["ok"]
    assert (record["produced"], record["delivered"], record["cuts"]) == (100, 100, 3)
    assert (record["lost"], record["doubled"], record["altered"], record["disordered"]) == (0,) * 4
    assert record["sha256_produced"] == record["sha256_delivered"]
    assert (record["p50_ms"], record["p99_ms"]) == (2.0, 2.0)
    text = summary(delivered()).as_text()
    assert text.startswith("ok: 100 lines produced, 100 delivered;\n  0 lost")
    assert max(map(len, text.splitlines())) <= 80


MUTANTS: dict[str, tuple[str, Mutant]] = {
    "lost": ("lost", lambda lines: lines[:50] + lines[51:]),
    "doubled": ("doubled", lambda lines: [*lines[:50], lines[49], *lines[50:]]),
    "disordered": ("disordered", lambda lines: [*lines[:50], lines[51], lines[50], *lines[52:]]),
    "altered": ("altered", lambda lines: [*lines[:-1], Line("0000099 y\n", lines[-1].at_ns)]),
    "nothing": ("lost", lambda _: []),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_planted_fault_turns_it_red(mutant: str) -> None:
    counter, plant = MUTANTS[mutant]
    bad = summary(plant(delivered()))
    assert not bad.ok
    assert bad.as_record()[counter] > 0
    assert bad.as_text().startswith("FAILED")


def test_too_few_cuts_or_nothing_produced_prove_nothing() -> None:
    assert not summary(delivered(), cuts=2).ok
    assert not summary([], produced=[]).ok


def test_the_gap_is_from_a_cut_to_the_next_line() -> None:
    lines = [Line("a\n", 0, 10 * MS), Line("b\n", 0, 35 * MS)]
    assert gaps_ms(lines, [5 * MS, 12 * MS, 99 * MS]) == [5, 23]
