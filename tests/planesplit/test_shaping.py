"""An emulated link in simulated time: delay, jitter, bandwidth, queue, order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from planesplit.split.link import Link, Tap
from planesplit.split.memory_stream import MemoryStream, memory_stream_pair
from planesplit.split.shaping import Flight, Lane, LinkProfile

MBIT_50 = 50e6 / 8


def test_a_clear_lane_takes_no_time() -> None:
    lane = Lane(LinkProfile(), "up")
    assert lane.admit(5.0, 10**9) == lane.room_s(5.0, 10**9) == 5.0


def test_half_of_the_round_trip_is_each_ways() -> None:
    assert Lane(LinkProfile(rtt_s=0.08), "up").admit(1.0, 100) == pytest.approx(1.04)


def test_bytes_wait_for_those_before_them() -> None:
    lane = Lane(LinkProfile(rtt_s=0.02, bandwidth_bytes_per_s=1_000), "up")
    assert lane.admit(0.0, 100) == pytest.approx(0.11)
    assert lane.admit(0.0, 100) == pytest.approx(0.21)
    assert lane.admit(10.0, 100) == pytest.approx(10.11)  # idle time is not saved up


def test_a_full_queue_makes_its_sender_wait() -> None:
    lane = Lane(LinkProfile(bandwidth_bytes_per_s=1_000, queue_bytes=500), "up")
    lane.admit(0.0, 500)
    assert lane.room_s(0.0, 100) == pytest.approx(0.1)
    assert lane.room_s(0.2, 100) == pytest.approx(0.2)


@given(st.integers(0, 1_000))
def test_jitter_stays_within_its_bounds_and_repeats_with_its_seed(seed: int) -> None:
    profile = LinkProfile(rtt_s=0.08, jitter_s=0.005, seed=seed)
    found, again = ([Lane(profile, "up").admit(0.0, 1) for _ in range(2)] for _ in range(2))
    lane = Lane(profile, "up")
    many = [lane.admit(0.0, 1) for _ in range(50)]
    assert all(0.035 <= due <= 0.045 for due in many)
    assert max(many) - min(many) > 0.002
    assert found == again
    assert Lane(profile, "down").admit(0.0, 1) != found[0]


def test_pieces_are_as_large_as_a_millisecond_takes() -> None:
    assert Lane(LinkProfile(bandwidth_bytes_per_s=MBIT_50), "up").piece_bytes == 6_250
    assert Lane(LinkProfile(bandwidth_bytes_per_s=1_000), "up").piece_bytes == 1_500
    assert Lane(LinkProfile(), "up").piece_bytes == 65_536


async def test_a_flight_gives_what_is_due_and_no_more() -> None:
    flight = Flight()
    for due_s, data in ((1.0, b"a"), (2.0, b"b"), (9.0, b"c")):
        await flight.put(due_s, data)
    assert await flight.next_s() == 1.0
    assert flight.take(5.0) == b"ab"
    flight.end()
    assert await flight.next_s() == 9.0
    assert flight.take(9.0) == b"c"
    assert await flight.next_s() is None


class Heard(Tap):
    """Counts what passes."""

    def __init__(self) -> None:
        self.came, self.went = b"", 0

    def entered(self, data: bytes) -> None:
        self.came += data

    def left(self, count: int) -> None:
        self.went += count


@asynccontextmanager
async def across(
    profile: LinkProfile, tap: Heard | None = None
) -> AsyncIterator[tuple[MemoryStream, MemoryStream, Link]]:
    """The two ends of a link."""
    agent, near = memory_stream_pair()
    far, relay = memory_stream_pair()

    async def dial() -> MemoryStream:
        return far

    link = Link(dial, profile, tap=lambda: tap or Tap())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.forward, near)
        yield agent, relay, link
        nursery.cancel_scope.cancel()


async def exactly(stream: MemoryStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += await stream.receive_some(count - len(data))
    return data


async def test_a_message_takes_half_a_round_trip_and_its_answer_the_other(
    autojump_clock: trio.abc.Clock,
) -> None:
    tap = Heard()
    async with across(LinkProfile(rtt_s=0.08), tap) as (agent, relay, _):
        began_s = trio.current_time()
        await agent.send_all(b"ping")
        assert await exactly(relay, 4) == b"ping"
        assert trio.current_time() - began_s == pytest.approx(0.04)
        await relay.send_all(b"pong")
        assert await exactly(agent, 4) == b"pong"
        assert trio.current_time() - began_s == pytest.approx(0.08)
        assert (tap.came, tap.went) == (b"ping", 4)


@pytest.mark.parametrize("jitter_s", [0.0, 0.04])
async def test_a_megabyte_takes_as_long_as_the_bandwidth_says_and_keeps_its_order(
    autojump_clock: trio.abc.Clock, jitter_s: float
) -> None:
    message = bytes(range(250)) * 4_000
    profile = LinkProfile(rtt_s=0.08, jitter_s=jitter_s, bandwidth_bytes_per_s=MBIT_50)
    async with across(profile) as (agent, relay, _):
        began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agent.send_all, message)
            assert await exactly(relay, len(message)) == message
        took_s = trio.current_time() - began_s
        assert took_s == pytest.approx(len(message) / MBIT_50 + 0.04, abs=0.001 + jitter_s)


async def test_connections_share_the_bandwidth(autojump_clock: trio.abc.Clock) -> None:
    pairs = [(*memory_stream_pair(), *memory_stream_pair()) for _ in range(2)]
    far = iter(pair[2] for pair in pairs)

    async def dial() -> MemoryStream:
        return next(far)

    link = Link(dial, LinkProfile(bandwidth_bytes_per_s=100_000))
    async with trio.open_nursery() as nursery:
        for _, near, _, _ in pairs:
            nursery.start_soon(link.forward, near)
        began_s = trio.current_time()
        async with trio.open_nursery() as both:
            for agent, _, _, relay in pairs:
                both.start_soon(agent.send_all, bytes(50_000))
                both.start_soon(exactly, relay, 50_000)
        assert trio.current_time() - began_s == pytest.approx(1.0, abs=0.05)
        nursery.cancel_scope.cancel()


async def test_a_stall_holds_everything_back_and_loses_nothing(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with across(LinkProfile(rtt_s=0.02)) as (agent, relay, link):
        link.freeze()
        await agent.send_all(b"kept")
        with trio.move_on_after(0.5) as silence:
            await relay.receive_some(4)
        assert silence.cancelled_caught
        link.thaw()
        assert await exactly(relay, 4) == b"kept"
