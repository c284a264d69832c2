"""Parts that are killed, frozen and cut while a viewer tails: nothing lost, nothing doubled."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable

import pytest

from planesplit.connect_client import ConnectError
from planesplit.delivery import percentile
from planesplit.harness import Harness
from planesplit.tail import Line

pytestmark = pytest.mark.integration

RATE = 500
FREEZE_S = 15
CUTS = 20
RESUME_GAP_S = 1.0  # promised after the relay is reachable again
NS = 1e9


def tailed(
    split: Harness, seconds: float, fault: Callable[[], None], *, rate: int = RATE
) -> list[Line]:
    """Run a workload for some seconds, fault it after the first lines, assert exact delivery."""
    count = str(int(seconds * rate))
    run = split.run(workload="plain", args=["--lines", count, "--rate", str(rate)])
    with split.tail(run) as lines:
        lines.next()
        fault()
        split.assert_delivered(run, lines, timeout=60)
        return lines.received


def longest_gap_s(lines: list[Line]) -> float:
    pairs = itertools.pairwise(lines)
    return max((b.received_ns - a.received_ns) / NS for a, b in pairs)


def test_the_agent_is_killed_and_comes_back(planesplit: Harness) -> None:
    def fault() -> None:
        planesplit.kill()
        planesplit.restart()

    lines = tailed(planesplit, 3, fault)
    print(f"longest gap {longest_gap_s(lines):.2f} s, a whole start of the agent included")


def test_the_agent_is_killed_and_stays_away_until_the_run_has_ended(planesplit: Harness) -> None:
    def fault() -> None:
        planesplit.kill()
        time.sleep(1.5)  # the run takes one second
        planesplit.restart()

    tailed(planesplit, 1, fault)


def test_the_agent_is_frozen_for_fifteen_seconds(planesplit: Harness) -> None:
    def fault() -> None:
        planesplit.freeze()
        time.sleep(FREEZE_S)
        planesplit.thaw()

    lines = tailed(planesplit, 3, fault)
    gap = longest_gap_s(lines)
    print(f"frozen for {FREEZE_S} s, longest gap {gap:.2f} s")
    assert gap < FREEZE_S + RESUME_GAP_S + 1


def test_the_relay_is_frozen_and_the_agent_dials_again(planesplit: Harness) -> None:
    def fault() -> None:
        planesplit.freeze("relay")
        time.sleep(11)  # more than what makes the agent give the tunnel up
        planesplit.thaw("relay")

    tailed(planesplit, 2, fault)


def test_twenty_cuts_at_random_bytes(planesplit: Harness) -> None:
    rng = random.Random(2026)
    gaps = [cut_once(planesplit, rng) for _ in range(CUTS)]
    p99 = percentile(gaps, 99)
    print(f"{CUTS} cuts: gap p50 {percentile(gaps, 50):.3f} s, p99 {p99:.3f} s")
    assert p99 <= RESUME_GAP_S


def cut_once(split: Harness, rng: random.Random) -> float:
    """Cut the tunnel within a tail, at a random byte; return the longest gap in seconds."""
    before = split.cuts

    def fault() -> None:
        split.cut_after(rng.randrange(1, 60_000), rng.choice(["reset", "end"]))

    lines = tailed(split, 0.6, fault, rate=1000)
    assert split.cuts == before + 1
    return longest_gap_s(lines)


def test_the_relay_is_killed(planesplit: Harness) -> None:
    run = planesplit.run(workload="plain", args=["--lines", "1500", "--rate", str(RATE)])
    with planesplit.tail(run, retry_for_s=0) as lines:
        lines.next()
        began, before = time.monotonic(), planesplit.journal_count()
        planesplit.kill("relay")
        with pytest.raises(ConnectError, match="unavailable"):
            lines.all()
        assert time.monotonic() - began < 2, "the viewer notices at once"
        assert planesplit.seen("tunnel_lost", since=before, timeout=2)
    planesplit.restart("relay")
    with planesplit.tail(run) as again:
        planesplit.assert_delivered(run, again, timeout=60)


def test_a_patient_viewer_outlives_the_relay(planesplit: Harness) -> None:
    back_at_ns = 0

    def fault() -> None:
        nonlocal back_at_ns
        planesplit.kill("relay")
        planesplit.restart("relay")
        back_at_ns = time.time_ns()

    lines = tailed(planesplit, 3, fault)
    resumed_at_ns = next(line.received_ns for line in lines if line.received_ns > back_at_ns)
    gap_s = (resumed_at_ns - back_at_ns) / NS
    print(f"relay reachable again, first line {gap_s:.2f} s later")
    assert gap_s <= RESUME_GAP_S


def test_a_relay_that_is_stopped_drains(tenants: Harness) -> None:
    run = tenants.run(exec="echo one; sleep 30")
    with tenants.tail(run, retry_for_s=0) as lines:
        assert lines.next() == "one"
        assert tenants.stop("relay") == 0
        with pytest.raises(ConnectError, match="unavailable"):
            lines.all()


def test_the_control_plane_is_away_while_a_viewer_tails(planesplit: Harness) -> None:
    def fault() -> None:
        planesplit.kill("control_stub")
        time.sleep(0.5)
        planesplit.restart("control_stub")

    lines = tailed(planesplit, 2, fault)
    assert longest_gap_s(lines) < RESUME_GAP_S
