"""What a viewer sees while tunnels come and go."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from stage import (
    ANSWER,
    STREAMING,
    TAIL,
    Agent,
    bearer,
    error_of,
    message,
    messages,
    request_of,
    serve_unit,
    stage,
)

from relay import units
from tunnel.errors import Code
from tunnel.events import Mark

EMPTY = message(b"")


async def test_tail_from_beginning_to_end(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail(b"tail run 1")
        stream = await agent.stream()
        assert stream.request.viewer == "ann"
        assert stream.request.scope.prefix == "/r/acme/p/d/c1"
        assert stream.cursor == b""
        assert await request_of(stream) == b"tail run 1"
        stream.head(ANSWER)
        first = await serve_unit(stream, b"line 1\n", b"c1")
        response = await client.response()
        assert response.status_code == 200
        assert dict(response.headers)[b"content-type"] == STREAMING.encode()
        assert await client.exactly(len(first)) == first
        await stream.send(b"\x02\0\0\0\x02{}")
        stream.end()
        assert await client.rest() == b"\x02\0\0\0\x02{}"
        await s.settled()
        assert s.relay.metrics.get("relay_endings_total", "complete") == 1
        # The connection stays good for the next request.
        await client.send("POST", TAIL, b"again", bearer())
        assert (await agent.stream()).request.viewer == "ann"


async def cut_in_a_unit() -> tuple[bytes, bytes, bytes]:
    """Cut the tunnel inside the second unit; return what was sent whole, what came, the cursor."""
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail(b"r")
        stream = await agent.stream()
        stream.head(ANSWER)
        whole = await serve_unit(stream, b"one\n", b"after one")
        await stream.send(message(b"two\n")[:4])
        await s.settled()
        agent.link.cut()
        await agent.ended.wait()
        again = await (await s.agent()).stream()
        assert await request_of(again) == b"r"
        again.head(ANSWER)
        cursor = again.cursor
        whole += await serve_unit(again, b"two\n", b"after two")
        again.end()
        await client.response()
        return whole, await client.rest(), cursor


async def test_cut_in_a_unit_loses_and_doubles_nothing(autojump_clock):
    whole, received, cursor = await cut_in_a_unit()
    assert received == whole
    assert cursor == b"after one"


async def test_mutant_that_forwards_unfinished_units_is_caught(autojump_clock, monkeypatch):
    honest = units.Units._on_data

    def forward_at_once(self, view, batch):
        honest(self, view, batch)
        self._complete(batch)

    monkeypatch.setattr(units.Units, "_on_data", forward_at_once)
    whole, received, _ = await cut_in_a_unit()
    assert received != whole


async def test_mutant_that_keeps_the_unfinished_unit_is_caught(autojump_clock, monkeypatch):
    monkeypatch.setattr(units.Units, "discard", lambda self: 0)
    with pytest.raises(BaseException):  # noqa: B017  # a group: other bytes, or the relay's fault
        await test_cut_in_a_unit_loses_and_doubles_nothing(autojump_clock)


async def test_mutant_that_forgets_the_cursor_is_caught(autojump_clock, monkeypatch):
    honest = units.Units._take

    def forget(self, event, batch):
        honest(self, event, batch)
        if isinstance(event, Mark):
            self.cursor = b""

    monkeypatch.setattr(units.Units, "_take", forget)
    _, _, cursor = await cut_in_a_unit()
    assert cursor != b"after one"


async def test_cut_before_the_head(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail(b"r")
        await agent.stream()
        agent.link.cut()
        stream = await (await s.agent()).stream()
        assert stream.cursor == b""
        stream.head(ANSWER)
        unit = await serve_unit(stream, b"one\n", b"1")
        stream.end()
        await client.response()
        assert await client.rest() == unit


async def test_cut_at_a_boundary_repeats_nothing(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail()
        stream = await agent.stream()
        stream.head(ANSWER)
        one = await serve_unit(stream, b"one\n", b"1")
        await client.response()
        assert await client.exactly(len(one)) == one
        agent.link.cut()
        again = await (await s.agent()).stream()
        assert again.cursor == b"1"
        again.head(ANSWER)
        again.end()
        assert await client.rest() == b""


async def test_silence_is_filled_while_the_agent_is_away(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail()
        stream = await agent.stream()
        stream.head(ANSWER)
        one = await serve_unit(stream, b"one\n", b"1")
        await client.response()
        await client.exactly(len(one))
        started = trio.current_time()
        agent.link.cut()
        for passed_s in (10, 20):
            assert await client.exactly(len(EMPTY)) == EMPTY
            assert trio.current_time() - started == pytest.approx(passed_s, abs=0.1)
        again = await (await s.agent()).stream()
        again.head(ANSWER)
        two = await serve_unit(again, b"two\n", b"2")
        again.end()
        assert await client.rest() == two


async def test_silence_before_the_head_is_filled_too(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = s.viewer()
        headers = {**bearer(), "connect-accept-encoding": "gzip"}
        await client.send("POST", TAIL, b"r", headers)
        assert (await agent.stream()).request.get("connect-accept-encoding") == "gzip"
        agent.link.cut()
        await client.response()
        assert await client.exactly(len(EMPTY)) == EMPTY
        stream = await (await s.agent()).stream()
        # The head that went out promised no compression.
        assert stream.request.get("connect-accept-encoding") == ""
        stream.head(ANSWER)
        one = await serve_unit(stream, b"one\n", b"1")
        stream.end()
        assert await client.rest() == one


async def test_json_clients_get_empty_json_messages(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = s.viewer()
        await client.send("POST", TAIL, b"{}", bearer(content_type="application/connect+json"))
        await agent.stream()
        agent.link.cut()
        await client.response()
        assert messages(await client.exactly(7)) == [(0, b"{}")]


async def test_hold_expires(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail()
        stream = await agent.stream()
        stream.head(ANSWER)
        one = await serve_unit(stream, b"one\n", b"1")
        await stream.send(b"\0\0")
        await client.response()
        await client.exactly(len(one))
        started = trio.current_time()
        agent.link.cut()
        body = await client.rest()
        assert trio.current_time() - started == pytest.approx(30, abs=0.1)
        assert [m for m in messages(body) if m[0] == 0] == [(0, b"")] * 2
        assert error_of(body)["code"] == "unavailable"
        assert s.count("hold_expired") == 1
        assert s.relay.metrics.get("relay_discarded_bytes_total") == 2


async def test_an_agent_that_dies_of_the_request_is_not_asked_for_ever(autojump_clock):
    async with stage() as s:
        client = await s.tail()
        started = trio.current_time()

        async def die_often() -> None:
            while True:
                agent = await s.agent()
                await agent.stream()
                await trio.sleep(3)
                agent.link.cut()
                await agent.ended.wait()
                await trio.sleep(1)

        s.nursery.start_soon(die_often)
        await client.response()
        assert error_of(await client.rest())["code"] == "aborted"
        assert trio.current_time() - started == pytest.approx(43, abs=1)  # 11 lives of 4 s


async def test_a_quiet_tail_survives_many_cuts(autojump_clock):
    async with stage() as s:
        client = await s.tail()
        for _ in range(20):
            agent = await s.agent()
            stream = await agent.stream()
            stream.head(ANSWER)
            await stream.flushed()
            await trio.sleep(5)
            agent.link.cut()
            await agent.ended.wait()
        stream = await (await s.agent()).stream()
        stream.head(ANSWER)
        stream.end()
        await client.response()
        assert set(messages(await client.rest())) <= {(0, b"")}


async def test_no_agent_at_all(autojump_clock):
    async with stage() as s:
        started = trio.current_time()
        client = await s.tail()
        response = await client.response()
        assert response.status_code == 200
        assert error_of(await client.rest())["code"] == "unavailable"
        assert trio.current_time() - started == pytest.approx(10, abs=0.1)
        assert s.count("agent_absent") == 1


async def test_an_agent_that_comes_in_time_is_waited_for(autojump_clock):
    async with stage() as s:
        client = await s.tail()
        await trio.sleep(9)
        stream = await (await s.agent()).stream()
        stream.head(ANSWER)
        stream.end()
        assert (await client.response()).status_code == 200


async def test_an_agent_that_calls_every_stream_lost_at_once_does_not_set_the_pace(autojump_clock):
    """Each head is progress, so it goes on; but not as fast as the tunnel carries it."""
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail()
        s.nursery.start_soon(lose_all, agent)
        await client.response()
        began = trio.current_time()
        await trio.sleep(5)
        resumes = s.relay.metrics.get("relay_resumes_total")
        took_s = trio.current_time() - began
        assert resumes == pytest.approx(took_s / s.relay.settings.reopen_pause_s, abs=1)


async def lose_all(agent: Agent) -> None:
    for _ in range(100):
        stream = await agent.stream()
        stream.head(ANSWER)
        await trio.testing.wait_all_tasks_blocked()
        stream.reset(Code.TUNNEL_LOST)
