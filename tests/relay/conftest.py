"""Whatever a unit test asks of the relay, its code neither writes nor starts anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from audit import audited, within

RELAY = ("relay", "tunnel")


@pytest.fixture
def stored() -> list[str]:
    """What the relay's code has done, by name of the audit event."""
    return []


@pytest.fixture(autouse=True)
def nothing_is_stored(request: pytest.FixtureRequest, stored: list[str]) -> Iterator[None]:
    """Fail a test in which the relay's code opens a file for writing, moves one, or forks."""
    with audited(lambda event: stored.append(event) if within(*RELAY) else None):
        yield
    if "leaks" not in request.fixturenames:
        assert not stored, f"the relay's code did this: {', '.join(stored)}"
