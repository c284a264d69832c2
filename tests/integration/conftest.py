"""Splits that the integration tests share, each started once a session and only when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from planesplit.harness import Harness, open_portal
from planesplit.split.options import Client, SplitOptions

OUTSIDER = Client("outsider", "globex", "Admin")  # mighty, but in another org
READER = Client("reader", "acme", "Viewer")
# An impatient relay, and tokens that are renewed in-band while the tests run.
SETTINGS: dict[str, dict[str, Any]] = {
    "relay": {"limits": {"drain_s": 1.0, "agent_wait_s": 1.0}},
    "control_stub": {"limits": {"token_s": 4}},
}


@pytest.fixture(scope="session")
def tenants_session() -> Iterator[Harness]:
    """A split with two clusters, two orgs and three clients."""
    options = SplitOptions(clusters=("c2",), clients=(OUTSIDER, READER), settings=SETTINGS)
    portal, split = open_portal(options)
    yield Harness(portal, split, "tenants")
    portal.stop()


@pytest.fixture
def tenants(tenants_session: Harness) -> Iterator[Harness]:
    """The split with two orgs, whole again after the test; every row went where it should."""
    yield tenants_session
    tenants_session.heal()
    tenants_session.assert_resident()


@pytest.fixture(scope="session")
def insecure_session() -> Iterator[Harness]:
    """A split without TLS and tokens, whose agent compresses logs for those who ask."""
    settings = {"compute_agent": {"logs": {"compress": True}}}
    portal, split = open_portal(SplitOptions(insecure=True, settings=settings))
    yield Harness(portal, split, "insecure")
    portal.stop()


@pytest.fixture
def insecure(insecure_session: Harness) -> Iterator[Harness]:
    """The split without TLS, whole again after the test; every row went where it should."""
    yield insecure_session
    insecure_session.heal()
    insecure_session.assert_resident()


@pytest.fixture(autouse=True)
def rows_are_as_claimed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test did with the shared split, every row went where it should."""
    shared = "planesplit" in request.fixturenames
    split: Harness | None = request.getfixturevalue("planesplit") if shared else None
    yield
    if split:
        split.heal()
        split.assert_resident()
