from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import trio

from compute_agent.logs import pace as pace_module
from compute_agent.logs.pace import Pace, Ticks
from compute_agent.logs.settings import POLICIES
from compute_agent.logs.watcher import Watch, Watcher
from compute_agent.settings import LogLimits
from tunnel.settings import SettingError

AT_S = 5.0


class QuietTail:
    """Follows compute_agent.logs.tail.Tail."""

    held_bytes, hole, caught_up = 0, None, True


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Deadlines of every timer that was set."""
    found: list[float] = []
    original = trio.sleep_until

    async def sleep_until(at: float) -> None:
        found.append(at)
        await original(at)

    monkeypatch.setattr(pace_module.trio, "sleep_until", sleep_until)
    return found


async def wait(ticks: Ticks, woken: list[float]) -> None:
    await ticks.until(AT_S)
    woken.append(trio.current_time())


async def test_all_that_wait_for_a_tick_share_its_timer(autojump_clock, timers):
    ticks, woken = Ticks(), []
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(wait, ticks, woken)
    assert woken == [AT_S] * 20
    assert timers == [AT_S]


async def test_another_takes_the_timer_over_when_its_owner_is_cancelled(autojump_clock, timers):
    ticks, woken = Ticks(), []
    with trio.fail_after(2 * AT_S):
        async with trio.open_nursery() as nursery:
            owner = trio.CancelScope()

            async def own() -> None:
                with owner:
                    await ticks.until(AT_S)

            nursery.start_soon(own)
            await trio.sleep(1)
            for _ in range(3):
                nursery.start_soon(wait, ticks, woken)
            await trio.sleep(1)
            owner.cancel()
    assert woken == [AT_S] * 3
    assert timers == [AT_S] * 2


async def test_a_tick_that_has_passed_is_a_checkpoint(autojump_clock):
    with trio.CancelScope() as scope:
        scope.cancel()
        await Ticks().until(-1.0)
    assert scope.cancelled_caught


@pytest.mark.parametrize("policy", sorted(POLICIES))
async def test_quiet_tails_look_at_the_same_moments_and_ever_more_rarely(
    policy: str, tmp_path: Path, autojump_clock
):
    batching, ticks = POLICIES[policy], Ticks()
    looks: list[list[float]] = [[], []]

    async def look(number: int) -> None:
        await trio.sleep(0.000_7 * number)
        rhythm = Pace(ticks, batching, 10.0, 0.25, Watch(Watcher(0), tmp_path))
        while trio.current_time() < 1.0:
            await rhythm.pause(QuietTail(), quiet=True)
            looks[number].append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look, 0)
        nursery.start_soon(look, 1)
    for found in looks:
        pauses = [b - a for a, b in itertools.pairwise(found)]
        assert min(pauses) > 0
        assert max(pauses) <= batching.poll_max_s + 1e-9
        assert max(pauses) > batching.poll_max_s / 2
    tick = [round(at / batching.poll_min_s, 6) for found in looks for at in found]
    assert all(at.is_integer() for at in tick)


def test_single_settings_override_the_policy():
    assert LogLimits().batching() == POLICIES["balanced"]
    batching = LogLimits(policy="bulk", hold_off_s=0.0, batch_bytes=2_048).batching()
    assert (batching.hold_off_s, batching.batch_bytes) == (0.0, 2_048)
    assert batching.poll_min_s == POLICIES["bulk"].poll_min_s
    with pytest.raises(SettingError, match=r"'fast'.*latency, balanced, bulk"):
        LogLimits(policy="fast").batching()


async def test_the_timer_descriptor_keeps_time_below_a_millisecond(nursery: trio.Nursery):
    """In real time, some milliseconds of it."""
    ticks = Ticks()
    nursery.start_soon(ticks.run)
    await trio.testing.wait_all_tasks_blocked()
    late = []
    for _ in range(20):
        at = trio.current_time() + 0.000_3
        await ticks.until(at)
        late.append(trio.current_time() - at)
    assert min(late) >= 0
    assert min(late) < 0.000_6, "epoll's timeout would end 0.7 ms later at best"


async def test_who_waits_for_ticks_is_let_go_when_the_timer_ends(nursery: trio.Nursery):
    ticks = Ticks()
    scope = trio.CancelScope()

    async def run() -> None:
        with scope:
            await ticks.run()

    nursery.start_soon(run)
    await trio.testing.wait_all_tasks_blocked()
    at = trio.current_time() + 0.02
    for _ in range(2):
        nursery.start_soon(ticks.until, at)
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()
    await ticks.until(at)
    assert trio.current_time() >= at
