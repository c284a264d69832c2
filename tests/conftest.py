"""Makes every test repeatable: Hypothesis, the product's jitter and trio's order of tasks.

`PLANESPLIT_SEED=7 make unit` tries another jitter and another order.
"""

from __future__ import annotations

import os
import random

import pytest
import trio
from hypothesis import HealthCheck, settings

settings.register_profile(
    "deterministic",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("deterministic")

SEED = os.environ.get("PLANESPLIT_SEED", "0")
TASK_ORDER: random.Random = vars(trio._core._run)["_r"]  # Hypothesis gets it from pytest-trio too


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> None:
    """Draw the same numbers whenever this test runs with this seed, whatever ran before it."""
    seed = f"{SEED} {request.node.nodeid}"
    random.seed(seed)
    TASK_ORDER.seed(seed)
