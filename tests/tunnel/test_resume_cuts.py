"""Two hundred cuts at random moments: a resumable exchange goes on at the last MARK.

A small agent numbers its lines and puts them into units; a small relay forwards whole units only,
and when the tunnel is lost opens the exchange again on the next one, at the last cursor it has.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest
import trio
from cast import ANSWER, REQUEST
from trio.testing import MockClock, memory_stream_pair
from wires import agent_session, refuse_all, relay_session, websocket_over

from tunnel.errors import Code, StreamReset, TransportClosed
from tunnel.events import Data, End, Event, Mark, Reset
from tunnel.memory import memory_transport_pair
from tunnel.session import Session
from tunnel.stream import Stream
from tunnel.transport import Transport

LINES = 4_000
CUTS = 200


def line(number: int) -> bytes:
    """A line of its own length, now and then a long one."""
    return b"line %d " % number + b"." * (number * 7919 % 90 + 3_000 * (number % 100 == 50)) + b"\n"


WHOLE = b"".join(map(line, range(LINES)))


class Agent:
    """Serves the lines from a cursor on, in units of random size, at random speed."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    async def tail(self, stream: Stream) -> None:
        stream.head(ANSWER)
        at = int(stream.cursor or b"0")
        while at < LINES:
            unit = range(at, min(LINES, at + self._rng.randint(1, 8)))
            for number in unit:
                await stream.send(line(number))
            at = unit.stop
            stream.mark(b"%d" % at)
            await trio.sleep(self._rng.expovariate(20.0))
        stream.end()


class Relay:
    """Forwards whole units and keeps the last cursor; it is told of each tunnel that starts."""

    keeps_unfinished = forgets_cursor = False  # planted defects

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.delivered = bytearray()
        self.cursor = b""
        self.done = False
        self.resumed_at: set[bytes] = set()
        self.nursery: trio.Nursery

    def started(self, session: Session) -> None:
        """Carry the exchange on over this tunnel."""
        self.nursery.start_soon(self._run, session)

    async def _run(self, session: Session) -> None:
        stream = session.open(REQUEST, b"" if self.forgets_cursor else self.cursor)
        self.resumed_at.add(self.cursor)
        stream.end()
        unit = bytearray()
        with suppress(StreamReset):
            while not self.done:
                await stream.ready()
                for event in stream.take():
                    self._take(stream, event, unit)
                await trio.sleep(self._rng.random() * 0.01)
        session.close()

    def _take(self, stream: Stream, event: Event, unit: bytearray) -> None:
        match event:
            case Data(view):
                unit += view
                stream.release(len(view))
            case Mark(cursor):
                self.delivered += unit
                self.cursor = cursor
                unit.clear()
            case End():
                assert not unit, "the exchange ended within a unit"
                self.done = True
            case Reset(code):
                assert code is Code.TUNNEL_LOST
                if self.keeps_unfinished:
                    self.delivered += unit


class Fuse:
    """Cuts both ends of a byte stream after a number of bytes, wherever in a frame that is."""

    def __init__(self, left_bytes: int) -> None:
        self.left_bytes = left_bytes
        self.streams: list[trio.abc.Stream] = []

    async def blow(self) -> None:
        """Cut now."""
        self.left_bytes = 0
        for stream in self.streams:
            await trio.aclose_forcefully(stream)


class Fused(trio.abc.Stream):
    """One end of a byte stream with a fuse."""

    def __init__(self, stream: trio.abc.Stream, fuse: Fuse) -> None:
        self._stream, self._fuse = stream, fuse
        fuse.streams.append(stream)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        passing = min(len(data), self._fuse.left_bytes)
        self._fuse.left_bytes -= passing
        await self._stream.send_all(data[:passing])
        if self._fuse.left_bytes <= 0:
            await self._fuse.blow()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


Use = Callable[[Transport, Transport], Awaitable[None]]
Carry = Callable[[Use, random.Random, bool], Awaitable[None]]


async def in_memory(use: Use, rng: random.Random, cut: bool) -> None:
    """A link in memory that is cut at a random time; what is in flight is lost."""
    near, far, link = memory_transport_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(use, near, far)
        if cut:
            await trio.sleep(rng.expovariate(10.0))
            link.cut()


async def in_websocket(use: Use, rng: random.Random, cut: bool) -> None:
    """A WebSocket that is cut after a random number of bytes, perhaps while shaking hands."""
    fuse = Fuse(int(rng.expovariate(1 / 2_500)) if cut else sys.maxsize)
    one, two = memory_stream_pair()
    ends: list[Transport] = []
    try:
        ends += await websocket_over(Fused(one, fuse), Fused(two, fuse))
    except* TransportClosed:
        pass  # cut while shaking hands
    if ends:
        await use(*ends)


async def simulate(carry: Carry, seed: int) -> Relay:
    """Cut CUTS tunnels, then let the last one finish."""
    rng = random.Random(seed)
    agent, relay = Agent(rng), Relay(rng)

    async def use(near: Transport, far: Transport) -> None:
        async with trio.open_nursery() as nursery:
            relay.nursery = nursery
            nursery.start_soon(agent_session(near).serve, agent.tail)
            nursery.start_soon(partial(relay_session(far).serve, refuse_all, task_status=relay))

    for number in range(CUTS + 1):
        assert not relay.done
        await carry(use, rng, number < CUTS)
        await trio.sleep(rng.random())
    assert relay.done
    return relay


@pytest.mark.parametrize("carry", [in_memory, in_websocket], ids=["time", "bytes"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_or_doubled(
    carry: Carry, seed: int, autojump_clock: MockClock
) -> None:
    relay = await simulate(carry, seed)
    assert bytes(relay.delivered) == WHOLE
    assert len(relay.resumed_at) > CUTS // 4  # the cuts hit all over the exchange


@pytest.mark.parametrize("defect", ["keeps_unfinished", "forgets_cursor"])
async def test_a_relay_that_resumes_wrongly_is_found(
    defect: str, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Relay, defect, True)
    relay = await simulate(in_websocket, 1)
    assert bytes(relay.delivered) != WHOLE
