"""The previous release's agent works with the relay and control plane of this one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from planesplit.harness import Harness, open_portal
from planesplit.split.options import AGENT, SplitOptions
from planesplit.split.processes import Processes

pytestmark = pytest.mark.integration

PREVIOUS = "PLANESPLIT_PREVIOUS"  # the Python of an environment that holds the previous release
PYTHON = os.environ.get(PREVIOUS, "")
if not PYTHON:
    sys.stderr.write(
        f"\nSKIPPED: {PREVIOUS} is not set, the previous release's agent is not tested; it must be"
        " as soon as there is one\n"
    )


@pytest.fixture
def mixed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    """A split whose agent is of the previous release."""
    command = Processes._command

    def older(self: Processes, name: str, config: str) -> list[str]:
        kind, _ = self._options.kind(name)
        words = command(self, name, config)
        return [PYTHON if kind == AGENT and w == sys.executable else w for w in words]

    monkeypatch.setattr(Processes, "_command", older)
    portal, split = open_portal(SplitOptions())
    yield Harness(portal, split, "mixed")
    portal.stop()


@pytest.mark.skipif(not PYTHON, reason=f"{PREVIOUS} is not set: there is no previous release")
def test_the_previous_releases_agent_delivers(mixed: Harness) -> None:
    run = mixed.run(workload="plain", args=["--lines", "500"])
    mixed.assert_delivered(run)
    mixed.cut()
    mixed.assert_delivered(mixed.run(exec="echo again"))
