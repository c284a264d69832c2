"""VALID says that the figures are the product's: every way in which they are not is planted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from planesplit.bench import document as doc
from planesplit.bench.command import exit_code
from planesplit.bench.run import Interrupt
from planesplit.bench.verdict import judge
from tests.bench.bench_cast import CALIBRATION, PLAN, document, finished, turn


def with_split_turn(late_s: float = 0.0001, *, lose: int = 0) -> doc.Json:
    """A run whose only turn was made by a generator that was `late_s` late."""
    made = turn(PLAN.lines(100.0), lambda _: max(0.002, late_s + 0.001), late_s, lose)
    return finished({**document(), "turns": [doc.turn_json("split", 0, made)]})


def test_a_good_run_is_valid_and_says_why() -> None:
    verdict = document()["verdict"]
    assert verdict["valid"]
    assert verdict["reasons"] == verdict["notes"] == []
    assert any("ceiling" in line for line in verdict["evidence"])


def test_a_generator_that_is_late_itself_makes_a_run_invalid() -> None:
    found = with_split_turn(late_s=0.02)
    assert not found["verdict"]["valid"]
    assert "the generator itself was 20" in found["verdict"]["reasons"][0]
    assert with_split_turn(late_s=0.0001)["verdict"]["valid"]


def test_a_generator_at_its_ceiling_makes_a_run_invalid() -> None:
    found = finished({**document(), "calibration": {**CALIBRATION, "ceiling_per_s": 1_100.0}})
    assert found["verdict"]["reasons"] == ["the generator was at 91% of its ceiling: lower --rate"]


def misplaced(found: doc.Json) -> None:
    found["turns"][1]["misplaced"] = 1


def early(found: doc.Json) -> None:
    found["turns"][0]["early"] = 1


def unsent(found: doc.Json) -> None:
    found["turns"][0]["sent_lines"] -= 5


def nothing(found: doc.Json) -> None:
    found["turns"].clear()


@pytest.mark.parametrize(
    ("mutant", "reason"),
    [
        (misplaced, "lost, doubled or out of order"),
        (early, "the clock"),
        (unsent, "did not write 5 lines"),
        (nothing, "no turn was completed"),
    ],
)
def test_every_other_fault_makes_it_invalid_too(
    mutant: Callable[[doc.Json], None], reason: str
) -> None:
    found = document()
    mutant(found)
    verdict = judge(found)
    assert not verdict["valid"]
    assert [reason in line for line in verdict["reasons"]] == [True]


def test_a_split_that_cannot_keep_up_is_a_result_and_not_invalid() -> None:
    found = with_split_turn(lose=200)
    assert found["turns"][0]["missing"] == 400
    assert found["turns"][0]["max"] > 5_000
    assert found["verdict"]["valid"]
    assert any("did not keep up: 60%" in note for note in found["verdict"]["notes"])


def test_what_happens_around_a_run_is_noted() -> None:
    found = document()
    found["environment"] = {**found["environment"], "busy": True, "steal_s": 3.0}
    found |= {"partial": True, "overloaded": "split"}
    notes = " ".join(judge(found)["notes"])
    for word in ("BUSY", "hypervisor", "PARTIAL", "OVERLOADED"):
        assert word in notes


def test_exit_codes() -> None:
    clear, interrupted = Interrupt(), Interrupt()
    interrupted.number = 15
    found = document()
    assert exit_code(found, clear) == 0
    assert exit_code({**found, "overloaded": "split"}, clear) == 1
    for missing, misplaced, code in ((0, 0, 0), (3, 0, 1), (0, 1, 1)):
        resume = {"gap_ms": 5.0, "missing": missing, "misplaced": misplaced}
        assert exit_code({**found, "resume": resume}, clear) == code
    assert exit_code({**found, "verdict": {"valid": False}}, clear) == 4
    assert exit_code(found, interrupted) == 143
