"""Releases meet: the highest common version is spoken, or each says by name that there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import trio
from fakes import World
from stage import ANSWER, bearer, serve_unit, stage

from compute_agent.settings import TlsFiles
from tunnel.errors import Code
from tunnel.exchange import RequestHead, Scope
from tunnel.hello import MIN_VERSION, VERSION, Hello

TLS = TlsFiles("ca.pem")
HEAD = RequestHead("POST", "/a.B/C", Scope("acme", "p", "d", "c1"), "ann", proof="x.y.z")
TAIL = "/r/acme/p/d/c1/flyteidl2.dataproxy.DataProxyService/TailLogs"


@pytest.mark.parametrize("version", [1, VERSION], ids=["older", "same"])
async def test_an_older_agent_is_served_in_its_version(version: int, autojump_clock: Any) -> None:
    async with stage() as s:
        agent = await s.agent(max_version=version)
        client = s.viewer()
        await client.send("POST", TAIL, b"x", bearer(identity="x.y.z"))
        stream = await agent.stream()
        assert stream.request.proof == ("x.y.z" if version >= 2 else "")
        stream.head(ANSWER)
        unit = await serve_unit(stream, b"line", b"1")
        stream.end()
        await client.response()
        assert await client.rest() == unit


async def test_an_agent_of_the_future_is_told_that_there_is_no_version(autojump_clock: Any) -> None:
    async with stage() as s:
        agent = s.dial(min_version=VERSION + 1, max_version=VERSION + 3)
        await agent.session.serve(agent._handle)
        await s.settled()
        assert s.count("protocol_version") == 1
        assert any('"code":"VERSION"' in line for line in s.lines)


async def test_a_relay_of_the_future_is_dialled_slowly(tmp_path: Any, autojump_clock: Any) -> None:
    async with trio.open_nursery() as nursery:
        world = World(tmp_path, nursery)
        world.relay.hello = replace(
            world.relay.hello, min_version=VERSION + 1, max_version=VERSION + 1
        )
        await trio.sleep(60)
        failed = [json.loads(line) for line in world.journal if "tunnel_failed" in line]
        assert {event["code"] for event in failed} == {Code.VERSION.name}
        assert 1 < len(failed) < 20
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("demanded", [True, False], ids=["demanded", "not"])
async def test_an_older_relay_proves_nothing(
    demanded: bool, tmp_path: Any, autojump_clock: Any
) -> None:
    async with trio.open_nursery() as nursery:
        world = World(tmp_path, nursery, tls=TLS, require_proof=demanded)
        world.relay.hello = replace(world.relay.hello, max_version=1)
        call = await world.relay.tail()
        await call.finish()
        if demanded:
            assert b"unavailable" in call.error  # for it could not be told the roles either
            assert any('"reason":"no_proof"' in line for line in world.journal)
        else:
            assert b"not_found" in call.error  # let through; there is no such pod
        nursery.cancel_scope.cancel()


def test_what_an_older_release_leaves_out() -> None:
    table = json.loads(Hello("acme", "c1", "old").encode())
    del table["relieves"]
    assert Hello.decode(json.dumps(table).encode()).relieves == 0
    assert b'"i"' not in HEAD.encode(MIN_VERSION)
    assert RequestHead.decode(HEAD.encode(MIN_VERSION)) == replace(HEAD, proof="")
    assert RequestHead.decode(HEAD.encode(VERSION)) == HEAD
