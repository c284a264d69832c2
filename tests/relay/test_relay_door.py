"""At the agents' door: nobody shakes hands with a relay that cannot judge them yet."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing
from stage import Stage, policy, stage

from relay.policy import Policy
from relay.server import Door

WAIT_S = 10  # handshake_s


class Guests:
    """Those who came through a door."""

    def __init__(self, s: Stage, *, waiting: bool = True) -> None:
        self.inside: list[int] = []
        self._names = iter(range(1_000))
        self._relay = s.relay
        ready = (s.relay.wait_for_policy,) if waiting else ()
        self._door = Door(s.relay, self._serve, None, *ready)

    async def come(self, nursery: trio.Nursery, count: int = 1) -> None:
        for _ in range(count):
            nursery.start_soon(self._door.enter, trio.testing.memory_stream_pair()[0])
        await Stage.settled()

    async def _serve(self, stream: trio.abc.Stream) -> None:
        self.inside.append(next(self._names))
        await trio.sleep_forever()


async def test_agents_wait_until_there_is_a_policy(autojump_clock) -> None:
    async with stage(pushed=False) as s:
        guests = Guests(s)
        await guests.come(s.nursery, 3)
        await trio.sleep(WAIT_S - 1)
        assert guests.inside == []
        await s.push()
        await s.settled()
        assert len(guests.inside) == 3
        await guests.come(s.nursery)
        assert len(guests.inside) == 4  # nobody waits any more


async def test_nobody_waits_for_ever(autojump_clock) -> None:
    async with stage(pushed=False) as s:
        guests = Guests(s)
        await guests.come(s.nursery)
        await trio.sleep(WAIT_S + 0.1)
        assert len(guests.inside) == 1  # and is told NOT_READY


async def test_other_doors_are_open(autojump_clock) -> None:
    async with stage(pushed=False) as s:
        guests = Guests(s, waiting=False)
        await guests.come(s.nursery)
        assert len(guests.inside) == 1


async def most_in_one_turn(s: Stage) -> int:
    """Let a crowd wait, open the door, and return how many came in between two turns."""
    guests = Guests(s)
    await guests.come(s.nursery, 30)
    s.relay._core.policy.set(Policy.from_json(json.dumps(policy()).encode()))
    seen, most = len(guests.inside), 0
    for _ in range(200):
        await trio.lowlevel.checkpoint()
        most, seen = max(most, len(guests.inside) - seen), len(guests.inside)
    assert seen == 30
    return most


async def test_a_crowd_comes_in_one_after_the_other(autojump_clock) -> None:
    async with stage(pushed=False) as s:
        assert await most_in_one_turn(s) <= 2  # a turn may begin before ours or after it


async def test_mutant_that_lets_all_in_at_once_is_caught(
    autojump_clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(pushed=False) as s:

        async def everybody() -> None:
            await s.relay._core.policy.known.wait()

        monkeypatch.setattr(s.relay, "wait_for_policy", everybody)
        assert await most_in_one_turn(s) > 10
