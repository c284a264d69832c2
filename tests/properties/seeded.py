"""trio with a schedule by seed and simulated time: the one place that touches trio's private names.

trio runs the tasks of a turn in random order; with deterministic scheduling switched on, that order
follows trio's own generator, which is seeded here. The names are private: a new version of trio is
looked at by `test_the_private_names_are_as_they_were` before it is trusted.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from trio._core import _run
from trio.testing import MockClock

KNOWN = ("0.35",)  # versions of trio in which this was seen to work
T = TypeVar("T")


def run(seed: int, main: Callable[[], Awaitable[T]]) -> T:
    """Run `main` in simulated time; the same seed gives the same order of tasks.

    Raises:
        RuntimeError: this trio is not one that is known.
    """
    if not trio.__version__.startswith(KNOWN):
        raise RuntimeError(f"trio {trio.__version__} is not known here; known: {KNOWN}")
    private = vars(_run)
    before, state = private["_ALLOW_DETERMINISTIC_SCHEDULING"], _run._r.getstate()
    private["_ALLOW_DETERMINISTIC_SCHEDULING"] = True
    _run._r.setstate(random.Random(seed).getstate())
    try:
        return trio.run(main, clock=MockClock(autojump_threshold=0))
    finally:
        private["_ALLOW_DETERMINISTIC_SCHEDULING"] = before
        _run._r.setstate(state)
