from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio
from fakes import ATTEMPT, World, pod_of
from hypothesis import given
from hypothesis import strategies as st

from compute_agent.reconnect import REFUSALS, Backoff
from compute_agent.settings import BackoffLimits
from tunnel.errors import Code

LIMITS = BackoffLimits()


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def make(draw: float = 1.0) -> tuple[Backoff, Clock]:
    clock = Clock()
    return Backoff(LIMITS, random=lambda: draw, now_s=clock), clock


def test_delays_double_up_to_the_recent_cap_and_later_to_the_cap():
    backoff, clock = make()
    delays = [backoff.delay_s(Code.TUNNEL_LOST) for _ in range(6)]
    assert delays == [0.05, 0.1, 0.2, 0.4, 0.4, 0.4]
    clock.now_s += LIMITS.recent_s + 1
    assert backoff.delay_s(Code.TUNNEL_LOST) == pytest.approx(0.05 * 2**6)
    assert backoff.delay_s(Code.TUNNEL_LOST) == LIMITS.cap_s


def test_refusals_are_slow_and_grow_to_half_a_minute():
    backoff, _ = make()
    delays = [backoff.delay_s(Code.AUTH_REFUSED) for _ in range(7)]
    assert delays == [1, 2, 4, 8, 16, 30, 30]
    assert backoff.delay_s(Code.NOT_READY) == 0.05, "a relay without policy yet is no refusal"


def test_tunnels_that_die_at_once_do_not_reset_the_backoff():
    backoff, clock = make()
    for expected in (0.05, 0.1, 0.2):
        backoff.opened()
        clock.now_s += LIMITS.stable_s / 2
        backoff.lost()
        assert backoff.delay_s(Code.TUNNEL_LOST) == expected
    backoff.opened()
    clock.now_s += LIMITS.stable_s
    backoff.lost()
    assert backoff.delay_s(Code.TUNNEL_LOST) == 0.05


@given(st.integers(0, 2**32), st.lists(st.sampled_from(list(Code)), max_size=40))
def test_full_jitter_stays_below_the_bounds(seed, codes):
    draw = random.Random(seed).random
    backoff = Backoff(LIMITS, random=draw, now_s=Clock())
    for code in codes:
        cap = LIMITS.refused_cap_s if code in REFUSALS else LIMITS.recent_cap_s
        assert 0 <= backoff.delay_s(code) < cap


@pytest.fixture
async def world(tmp_path: Path, nursery: trio.Nursery) -> World:
    return World(tmp_path, nursery)


async def test_relay_that_comes_back_is_found_within_the_bound(world: World, autojump_clock):
    await world.relay.connected()
    draws = random.Random(7)
    gaps = []
    for _ in range(50):
        world.draws = [draws.random() for _ in range(300)]
        sessions = len(world.relay.sessions)
        world.relay.up = False
        world.relay.links[-1].cut()
        await trio.sleep(draws.uniform(0.1, 5))
        world.relay.up = True
        back = trio.current_time()
        await world.relay.connected(sessions + 1)
        gaps.append(trio.current_time() - back)
        await trio.sleep(draws.uniform(0, 2))
    assert max(gaps) <= LIMITS.recent_cap_s


async def test_lost_tunnel_is_dialed_again_and_journaled(world: World, autojump_clock):
    await world.relay.connected()
    await trio.sleep(0.1)
    world.relay.links[-1].cut()
    await world.relay.connected(2)
    await trio.sleep(0.1)
    assert world.events().count("tunnel_open") == 2
    assert world.events().count("tunnel_lost") == 1


async def test_silent_relay_counts_as_lost_within_10_s(world: World, autojump_clock):
    await world.relay.connected()
    frozen = trio.current_time()
    world.relay.links[-1].freeze()
    await world.relay.connected(2)
    assert trio.current_time() - frozen <= 10


async def test_replaced_agent_ends_and_does_not_dial_again(world: World, autojump_clock):
    session = await world.relay.connected()
    session.close(Code.REPLACED)
    await world.relay.until(lambda: world.result is not None)
    assert world.result is Code.REPLACED
    assert world.events()[-1] == "replaced"
    await trio.sleep(60)
    assert len(world.relay.dials) == 1


async def test_draining_relay_is_left_at_once_while_its_streams_finish(
    world: World, autojump_clock
):
    world.cluster.change(pod_of(phase="Running"))
    old = await world.relay.connected()
    tail = await world.relay.tail()
    await tail.step()
    start = trio.current_time()
    old.goaway(Code.DRAINING)
    await world.relay.connected(2)
    assert trio.current_time() - start <= LIMITS.base_s
    assert await tail.step(), "the old tunnel's tail goes on"
    world.cluster.change(pod_of(phase="Succeeded"))
    await tail.finish()
    assert tail.ended
    await world.relay.until(lambda: len(world.relay.closed) == 1)
    assert len(world.relay.dials) == 2, "its end is no loss"


async def test_relay_that_drains_all_the_time_is_not_dialed_in_a_hot_loop(
    world: World, autojump_clock
):
    for n in range(1, 20):
        (await world.relay.connected(n)).goaway(Code.DRAINING)
    assert trio.current_time() >= 10 * LIMITS.recent_cap_s / 2


async def test_refused_token_is_retried_slowly_but_at_once_when_it_changes(
    world: World, autojump_clock
):
    world.relay.refuse = Code.AUTH_REFUSED
    await trio.sleep(100)
    slow = len(world.relay.dials)
    assert 5 <= slow <= 15
    assert "tunnel_failed" in world.events()
    world.relay.refuse, world.token.value = None, b"two"
    start = trio.current_time()
    await world.relay.connected()
    assert trio.current_time() - start <= world.settings.token_poll_s
    assert world.relay.tokens[-1] == b"two"


async def test_relay_that_is_not_ready_is_asked_again_soon(world: World, autojump_clock):
    world.relay.refuse = Code.NOT_READY
    await trio.sleep(5)
    world.relay.refuse = None
    start = trio.current_time()
    await world.relay.connected()
    assert trio.current_time() - start <= LIMITS.recent_cap_s


async def test_rotated_token_is_presented_in_band(world: World, autojump_clock):
    await world.relay.connected()
    world.token.value = b"two"
    await world.relay.until(lambda: world.relay.tokens == [b"one", b"two"])
    await trio.sleep(30)
    assert world.relay.tokens == [b"one", b"two"], "once"
    assert len(world.relay.dials) == 1
    assert not any("two" in line for line in world.journal)


async def test_stop_lets_calls_finish_and_tails_resume_elsewhere(world: World, autojump_clock):
    world.cluster.change(pod_of(phase="Running"))
    tail = await world.relay.tail()
    await tail.step()
    start = trio.current_time()
    world.agent.stop()
    await tail.finish()
    assert (tail.code, tail.ended) == (Code.TUNNEL_LOST, False), "never a clean end"
    await world.relay.until(lambda: world.result is not None)
    assert world.result is Code.NO_ERROR
    assert trio.current_time() - start < 1


async def test_stop_waits_for_a_call_but_not_for_ever(world: World, autojump_clock):
    import test_agent

    async def hang(_spec):
        await trio.sleep_forever()

    world.cluster.create = hang
    await world.relay.open(test_agent.ASSIGN, test_agent.assign_body(ATTEMPT))
    await trio.sleep(0.1)
    start = trio.current_time()
    world.agent.stop()
    await world.relay.until(lambda: world.result is not None)
    assert world.settings.drain_s <= trio.current_time() - start <= world.settings.drain_s + 3


async def test_stop_without_a_tunnel_returns_at_once(world: World, autojump_clock):
    world.relay.up = False
    await trio.sleep(3)
    start = trio.current_time()
    world.agent.stop()
    await world.relay.until(lambda: world.result is not None)
    assert trio.current_time() - start < 0.1
