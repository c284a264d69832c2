"""The unmodified flyte CLI against a whole split, over TLS with a login and without either."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import flyte_client as client
import pytest

from planesplit.harness import Harness

pytestmark = pytest.mark.integration

QUIET_S = 40  # the CLI gives a silent stream up after 30 s
NUMBERS = [f"line {number}" for number in range(1, 11)]
COUNT = 'for i in 1 2 3 4 5 6 7 8 9 10; do echo "line $i"; sleep {}; done'


@pytest.fixture(params=["planesplit", "insecure"])
def split(request: pytest.FixtureRequest) -> Harness:
    """A split with TLS and one without."""
    harness: Harness = request.getfixturevalue(request.param)
    return harness


def flyte(split: Harness, *arguments: str) -> str:
    """Run the CLI with the configuration and the environment of the ready file."""
    return client.flyte(split.ready, *arguments)


def logs(split: Harness, run: str) -> list[str]:
    return [line.strip() for line in flyte(split, "get", "logs", run).splitlines() if line.strip()]


def test_projects_runs_and_actions(split: Harness) -> None:
    run = split.run(exec="exit 3")
    split.wait(run)
    assert "demo" in flyte(split, "get", "project")
    assert run in flyte(split, "get", "run")
    details = flyte(split, "--output-format", "json", "get", "run", run)
    assert "ACTION_PHASE_FAILED" in details
    assert "exit code 3" in details
    assert "'a0'" in flyte(split, "--output-format", "json", "get", "action", run)


def test_logs_live_and_after_the_end(split: Harness) -> None:
    run = split.run(exec=COUNT.format(0.3))
    assert logs(split, run) == NUMBERS
    assert split.wait(run).phase == "SUCCEEDED"
    assert logs(split, run) == NUMBERS


def test_logs_while_the_tunnel_is_cut_and_the_agent_killed(planesplit: Harness) -> None:
    run = planesplit.run(exec=COUNT.format(0.4))

    def faults() -> Iterator[None]:
        planesplit.cut()
        yield
        planesplit.kill()
        planesplit.restart()
        yield

    script = faults()
    timers = [threading.Timer(after_s, lambda: next(script)) for after_s in (1.5, 2.5)]
    for timer in timers:
        timer.start()
    assert logs(planesplit, run) == NUMBERS
    for timer in timers:
        timer.join()


@pytest.mark.slow
def test_logs_through_forty_seconds_of_silence(planesplit: Harness) -> None:
    run = planesplit.run(exec=f"echo before; sleep {QUIET_S}; echo after")
    assert logs(planesplit, run) == ["before", "after"]
