"""An agent takes over from itself: at once, or with its older tunnel draining; nobody else does."""

from __future__ import annotations

import pytest
import trio
from stage import ANSWER, agent_token, message, serve_unit, stage

from relay.registry import Registry
from tunnel.errors import Code


async def test_a_relieved_tunnel_drains_and_new_streams_go_to_the_other(autojump_clock):
    async with stage() as s:
        old = await s.agent(epoch=1)
        tail = await s.tail()
        stream = await old.stream()
        stream.head(ANSWER)
        first = await serve_unit(stream, b"1", b"c1")
        new = await s.agent(epoch=2, relieves=1)
        await s.settled()
        assert old.closed is None
        assert s.relay.metrics.get("relay_tunnels_total", "replaced") == 1
        second = await serve_unit(stream, b"2", b"c2")  # it still serves what it has
        later = await s.tail()
        assert (await new.stream()).request.viewer == "ann"
        old.session.close(Code.DRAINING)
        resumed = await new.stream()
        assert resumed.cursor == b"c2"
        resumed.head(ANSWER)
        third = await serve_unit(resumed, b"3", b"c3")
        resumed.end()
        await tail.response()
        assert await tail.rest() == first + second + third
        await later.stream.aclose()


async def test_only_one_tunnel_drains_beside_another(autojump_clock):
    async with stage() as s:
        first = await s.agent(epoch=1)
        second = await s.agent(epoch=2, relieves=1)
        third = await s.agent(epoch=3, relieves=2)
        await s.settled()
        assert first.closed is not None
        assert first.closed.code is Code.REPLACED
        assert second.closed is None
        fourth = await s.agent(epoch=4)  # relieves nothing: it takes over
        await s.settled()
        assert third.closed is not None
        assert third.closed.code is Code.REPLACED
        assert fourth.closed is None


@pytest.mark.parametrize("relieves", [0, 9], ids=["nothing", "what is not there"])
async def test_without_its_epoch_an_older_tunnel_ends_at_once(relieves, autojump_clock):
    async with stage() as s:
        old = await s.agent(epoch=1)
        await s.agent(epoch=2, relieves=relieves)
        await s.settled()
        assert old.closed is not None
        assert old.closed.code is Code.REPLACED


async def test_whoever_drains_is_revoked_as_well(autojump_clock):
    async with stage() as s:
        old = await s.agent(epoch=1)
        new = await s.agent(epoch=2, relieves=1)
        await s.push(revoked={"agent:acme/c1": 2e9})
        await s.settled()
        assert [agent.closed.code for agent in (old, new)] == [Code.REVOKED, Code.REVOKED]


async def test_half_open_tunnels_are_taken_over_at_once_by_their_own_agent(autojump_clock):
    async with stage() as s:
        old = await s.agent(epoch=1)
        tail = await s.tail()
        stream = await old.stream()
        stream.head(ANSWER)
        first = await serve_unit(stream, b"1", b"c1")
        await s.settled()
        old.link.freeze()  # the relay hears nothing of it, and does not know yet
        began = trio.current_time()
        new = await s.agent(epoch=2)
        resumed = await new.stream()
        assert trio.current_time() == began
        assert resumed.cursor == b"c1"
        resumed.head(ANSWER)
        await resumed.send(message(b"2"))
        resumed.end()
        await tail.response()
        assert await tail.rest() == first + message(b"2")


STRANGERS = {
    "another certificate": {"thumbprint": "x" * 43},
    "another cluster's token": {"bearer": lambda: agent_token("acme", "c2")},
    "another cluster's certificate": {"uris": ("spiffe://planesplit/org/acme/cluster/c2",)},
}


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize("relieves", [0, 1])
async def test_a_stranger_takes_nothing_over(name, relieves, autojump_clock):
    how = {key: value() if callable(value) else value for key, value in STRANGERS[name].items()}
    async with stage() as s:
        old = await s.agent(epoch=1)
        stranger = s.dial(epoch=2, relieves=relieves, **how)
        s.nursery.start_soon(_run, stranger)
        await s.settled()
        assert old.closed is None
        assert old.session.is_open
        assert stranger.closed is not None
        assert stranger.closed.code is Code.AUTH_REFUSED


async def _run(agent) -> None:
    agent.closed = await agent.session.serve(agent._handle)


def _drains_whatever(self: Registry, key, older):
    """Planted mutant: tunnels that are relieved pile up."""
    self._relieved[(*key, id(older))] = older


async def test_mutant_that_lets_tunnels_pile_up_is_caught(autojump_clock, monkeypatch):
    monkeypatch.setattr(Registry, "_relieve", _drains_whatever)
    async with stage() as s:
        first = await s.agent(epoch=1)
        await s.agent(epoch=2, relieves=1)
        await s.agent(epoch=3, relieves=2)
        await s.settled()
        assert first.closed is None  # where `test_only_one_tunnel_drains` wants it closed
