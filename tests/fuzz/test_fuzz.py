"""Foreign bytes at every parser: accepted, or a documented error; whole or byte by byte alike.

The examples are the same in every run. `make fuzz` looks for new ones; what it finds is kept in
`fuzz_found.py` and replayed here.
"""

from __future__ import annotations

import pytest
from fuzz_found import FOUND
from fuzz_mutate import mutated
from fuzz_targets import TARGETS, check
from hypothesis import given, settings
from hypothesis import strategies as st

EXAMPLES = 600  # of a cheap target


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_what_was_found(name: str) -> None:
    for data in (*TARGETS[name].seeds, *FOUND.get(name, ())):
        check(name, data, range(0, len(data), 7))


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_seeds(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=EXAMPLES // target.cost)
    @given(mutated(target), st.lists(st.integers(0, 6_000), max_size=4))
    def judged(data: bytes, cuts: list[int]) -> None:
        check(name, data, cuts)

    judged()


@pytest.mark.parametrize("name", TARGETS)
def test_anything(name: str) -> None:
    @settings(max_examples=EXAMPLES // 4 // TARGETS[name].cost)
    @given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
    def judged(data: bytes, cuts: list[int]) -> None:
        check(name, data, cuts)

    judged()


def test_what_was_found_belongs_to_a_target() -> None:
    assert set(FOUND) <= set(TARGETS)
