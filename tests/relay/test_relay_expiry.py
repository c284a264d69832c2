"""What a token allowed ends with it: a viewer's reads, an agent's tunnel."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio
from stage import ANSWER, EPOCH, TAIL, agent_token, bearer, error_of, message, now, stage

from relay.calls import AHEAD_S, CLOCK_LOOK_S
from tunnel.capabilities import CREATE_SECRET, LIST_QUERIES

LEEWAY_S = 5.0
LIFE_S = 20
EVERY_S = 0.05
MOMENT_S = 0.01
SECRET = f"/r/acme/p/d/c1{CREATE_SECRET}"
UNARY = "application/json"


async def lines(stream) -> None:
    """Answer a tail with a line every 50 ms, for ever."""
    stream.head(ANSWER)
    while stream.reset_code is None:
        await stream.send(message(b"line"))
        stream.mark(b"x")
        await trio.sleep(EVERY_S)


async def tailing(s, agent, **token):
    """A viewer whose tail is on, and never quiet."""
    client = s.viewer()
    await client.send("POST", TAIL, b"x", bearer(**token))
    s.nursery.start_soon(lines, await agent.stream())
    await client.response()
    return client


async def last_line(client) -> tuple[float, dict[str, str]]:
    """Read to the end; when the last line came, and the error after it."""
    line, at, body = message(b"line"), 0.0, b""
    with trio.fail_after(10 * LIFE_S):
        while piece := await client.data():
            body += piece
            if body.startswith(line):
                at, body = now(), body.removeprefix(line * (len(body) // len(line)))
    return at, error_of(body)


async def test_a_tail_ends_with_the_token_that_it_was_opened_with(autojump_clock):
    async with stage() as s:
        s.nursery.start_soon(s.relay.watch_tokens)
        agent = await s.agent()
        expires_at = int(EPOCH) + LIFE_S
        at, error = await last_line(await tailing(s, agent, exp=expires_at))
        assert error == {"code": "unauthenticated", "message": "the token has expired"}
        over_s = at - expires_at
        assert LEEWAY_S - AHEAD_S - 2 * EVERY_S <= over_s <= LEEWAY_S
        assert s.count("expired_token") == 1
        assert "expired_token" in s.lines[-1]


async def test_each_ends_with_its_own(autojump_clock):
    async with stage() as s:
        s.nursery.start_soon(s.relay.watch_tokens)
        agent = await s.agent()
        lives, ended = (40, 20, 30), {}

        async def follow(client, life_s: int) -> None:
            at, _ = await last_line(client)
            ended[life_s] = at - EPOCH

        async with trio.open_nursery() as nursery:
            for life_s in lives:
                client = await tailing(s, agent, exp=int(EPOCH) + life_s)
                nursery.start_soon(follow, client, life_s)
        for life_s, at in ended.items():
            assert 0 <= life_s + LEEWAY_S - at <= AHEAD_S + 2 * EVERY_S


async def test_a_tail_that_waits_for_its_agent_ends_too(autojump_clock):
    async with stage(hold_s=600.0) as s:
        s.nursery.start_soon(s.relay.watch_tokens)
        agent = await s.agent()
        client = await tailing(s, agent, exp=int(EPOCH) + LIFE_S)
        agent.link.cut()
        error = error_of(await client.rest())
        assert error["code"] == "unauthenticated"
        assert now() - EPOCH == pytest.approx(LIFE_S + LEEWAY_S, abs=0.2)


async def test_a_unary_read_is_told_by_its_status(autojump_clock):
    async with stage(answer_s=600.0) as s:
        s.nursery.start_soon(s.relay.watch_tokens)
        agent = await s.agent()
        client = s.viewer()
        path = f"/r/acme/p/d/c1{LIST_QUERIES}"
        await client.send("POST", path, b"{}", bearer(content_type=UNARY, exp=int(EPOCH) + LIFE_S))
        stream = await agent.stream()
        assert (await client.response()).status_code == 401
        await s.settled()
        assert stream.reset_code is not None


async def test_a_write_that_has_begun_is_finished(autojump_clock):
    async with stage(answer_s=600.0) as s:
        s.nursery.start_soon(s.relay.watch_tokens)
        agent = await s.agent()
        await s.push(bindings=[{"subject": "ann", "role": "Admin", "org": "acme"}])
        client = s.viewer()
        await client.send("POST", SECRET, b"{}", bearer(content_type=UNARY, exp=int(EPOCH) + 1))
        stream = await agent.stream()
        await trio.sleep(60)
        stream.head(ANSWER)
        stream.end()
        assert (await client.response()).status_code == 200


async def test_a_clock_that_is_set_is_noticed(autojump_clock):
    async with stage() as s:
        ahead = SimpleNamespace(s=0.0)
        s.relay._core.calls._clock = lambda: now() + ahead.s
        s.nursery.start_soon(s.relay.watch_tokens)
        agent = await s.agent()
        client = await tailing(s, agent)
        ahead.s, began = 3600.0, now()
        _, error = await last_line(client)
        assert error["code"] == "unauthenticated"
        assert now() - began <= CLOCK_LOOK_S + MOMENT_S


async def test_nothing_comes_through_a_tunnel_whose_token_has_ended(autojump_clock):
    async with stage(hold_s=1.0) as s:
        s.nursery.start_soon(s.relay.watch_tokens)
        expires_at = int(EPOCH) + LIFE_S
        agent = await s.agent(bearer=agent_token(exp=expires_at))
        at, error = await last_line(await tailing(s, agent))
        assert error["code"] == "unavailable"
        assert -2 * EVERY_S <= at - expires_at <= LEEWAY_S
        await agent.ended.wait()
        assert agent.closed.code.name == "AUTH_EXPIRED"
