"""A few rounds if all say the same, many if they do not: someone else's work decides nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

FEW, MANY = 5, 25  # where 8 rounds of 10 are right, the median of 25 errs once in 2,700
T = TypeVar("T")


async def decided(measure: Callable[[int], Awaitable[T]], clear: Callable[[T], bool]) -> T:
    """Return figures whose median may be held against a bound.

    Args:
        measure: takes how many rounds.
        clear: whether each round of a short run is on the good side of the bound. If one is not,
            a long run is made, and it alone is the answer.
    """
    found = await measure(FEW)
    return found if clear(found) else await measure(MANY)
