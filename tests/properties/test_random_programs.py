"""What the relay promises holds in random programs; each promise has a mutant that breaks it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from checker import INVARIANTS
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from machine import Programs, Violated
from mutants import MUTANTS
from program import Program
from seeded import run as run_seeded
from world import play

EXAMPLES = 300  # the budget, also of a mutant
SEARCH = settings(
    max_examples=EXAMPLES,
    stateful_step_count=14,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
QUICK = settings(SEARCH, phases=[Phase.explicit, Phase.generate])  # a mutant's need not be small


def test_random_programs() -> None:
    """Takes seconds: hundreds of programs."""
    run_state_machine_as_test(Programs, settings=SEARCH)


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_mutant_is_caught(name: str) -> None:
    mutant = MUTANTS[name]
    with mutant.planted(), pytest.raises(Violated) as caught:
        run_state_machine_as_test(Programs, settings=QUICK)
    assert mutant.breaks in caught.value.invariants
    assert "tests/properties/replay.py" in str(caught.value)


def test_every_invariant_has_a_mutant() -> None:
    assert {mutant.breaks for mutant in MUTANTS.values()} == INVARIANTS.keys()


def test_a_printed_program_replays() -> None:
    program = Program(7, [["tail", 0, 20, 100, 4, 2, 50], ["wait", 200], ["cut", 0]])
    command, text = program.script().removesuffix("\nEND").split("<<'END'\n")
    assert command == "PYTHONPATH=.:tests python tests/properties/replay.py "
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "tests/properties/replay.py"],
        input=text,
        capture_output=True,
        text=True,
        cwd=root,
        env={"PYTHONPATH": os.pathsep.join(map(str, (root, root / "tests")))},
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "tail 0 of tenant 0: 200 complete" in done.stdout


def test_a_program_goes_the_same_way_each_time() -> None:
    steps: list[list[int | str]] = [["tail", 0, 60, 200, 5, 3, 20], ["wait", 300], ["cut", 0]]
    steps += [["watch", 1, 60, 200, 5, 3, 0], ["stall", 1], ["wait", 50], ["restart", 100]]
    one, two = (play(Program(11, steps)) for _ in range(2))
    assert one.seen == two.seen
    assert one.ahead == two.ahead
    assert [text for where, text in one.said if where == "journal"] == [
        text for where, text in two.said if where == "journal"
    ]


def test_the_schedule_follows_its_seed() -> None:
    async def main() -> list[int]:
        order: list[int] = []

        async def note(number: int) -> None:
            await trio.lowlevel.checkpoint()
            order.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(note, number)
        return order

    assert run_seeded(1, main) == run_seeded(1, main)
    assert len({tuple(run_seeded(seed, main)) for seed in range(5)}) == 5
