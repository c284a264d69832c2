"""Two hundred seeded cuts, takeovers and orderly leavings: what arrives is what was produced."""

from __future__ import annotations

import random

import pytest
import trio
from stage import ANSWER, Agent, Stage, message, messages, stage

from tunnel.errors import Code, TunnelError

UNITS = 80
FAULTS = 20


class Producer:
    """An agent's source that serves from a cursor and suffers a fault every now and then."""

    def __init__(self, theatre: Stage, seed: int) -> None:
        self.theatre, self.random = theatre, random.Random(seed)
        self.units = [self._unit(number) for number in range(UNITS)]
        self.faults = 0

    def _unit(self, number: int) -> bytes:
        lines = self.random.randint(1, 4)
        return b"".join(
            message(b"%d.%d " % (number, i) + bytes(self.random.randint(0, 9_000)))
            for i in range(lines)
        )

    async def run(self) -> None:
        agent = await self.theatre.agent()
        while True:
            stream = await agent.stream()
            try:
                if await self._serve(agent, stream):
                    return
            except TunnelError:
                pass
            if self.random.random() < 0.5:
                await trio.sleep(self.random.randrange(100) / 4)
            agent = await self.theatre.agent()

    async def _serve(self, agent: Agent, stream) -> bool:
        stream.head(ANSWER)
        for number in range(int(stream.cursor or b"0"), UNITS):
            unit = self.units[number]
            edge = self.random.randint(0, len(unit))
            await stream.send(unit[:edge])
            if await self._fault(agent, stream):
                return False
            await stream.send(unit[edge:])
            if await self._fault(agent, stream):
                return False
            stream.mark(b"%d" % (number + 1))
        stream.end()
        return True

    async def _fault(self, agent: Agent, stream) -> bool:
        if self.faults == FAULTS or self.random.random() > 0.3:
            return False
        self.faults += 1
        if self.random.random() < 0.5:
            await self.theatre.settled()
        match self.random.randrange(4):
            case 0:
                stream.reset(Code.DRAINING)
                agent.session.goaway(Code.DRAINING)
            case 1:
                await self.theatre.agent()  # a newer tunnel of the same identity, then cut as well
                agent.link.cut()
            case _:
                agent.link.cut()
        return True


@pytest.mark.parametrize("seed", range(10))
async def test_nothing_is_lost_or_doubled_over_twenty_faults(seed, autojump_clock):
    async with stage(reopen_pause_s=0.125, max_fruitless=100) as s:
        producer = Producer(s, seed)
        client = await s.tail()
        s.nursery.start_soon(producer.run)
        await client.response()
        body = await client.rest()
        delivered = [m for m in messages(body) if m != (0, b"")]
        assert delivered == messages(b"".join(producer.units))
        assert producer.faults == FAULTS
        await s.settled()
        assert s.relay.metrics.get("relay_endings_total", "complete") == 1
