"""Viewers beside each other: slow ones, leaving ones, many."""

from __future__ import annotations

import pytest
import trio
from stage import ANSWER, ECHO_PATH, bearer, error_of, message, stage

from relay import coupling, http1
from tunnel.errors import Code, StreamReset
from tunnel.settings import TunnelSettings

UNIT = message(bytes(16_379))
WINDOW = 65_536
NARROW = TunnelSettings(
    window_bytes=WINDOW, window_default_bytes=WINDOW, window_max_bytes=WINDOW, growth_bytes=0
)


async def pour(stream, count: int, sent: list[int]) -> None:
    """Send units as fast as credit allows."""
    stream.head(ANSWER)
    try:
        for number in range(count):
            await stream.send(UNIT)
            stream.mark(b"%d" % number)
            sent.append(number)
            await stream.flushed()
        stream.end()
    except StreamReset:
        pass


async def test_a_stalled_viewer_holds_one_window_and_disturbs_nobody(autojump_clock):
    async with stage(tunnel=NARROW) as s:
        agent = await s.agent()
        stalled = await s.tail(lockstep=True)
        stalled_sent, healthy_sent = [], []
        s.nursery.start_soon(pour, await agent.stream(), 64, stalled_sent)
        healthy = await s.tail()
        s.nursery.start_soon(pour, await agent.stream(), 64, healthy_sent)
        await healthy.response()
        assert await healthy.rest() == UNIT * 64
        await trio.sleep(300)
        # One window sits in the relay, and one unit may be in the kernel's stead.
        held = len(stalled_sent) * len(UNIT)
        assert held <= WINDOW + len(UNIT)
        await stalled.response()
        assert await stalled.rest() == UNIT * 64


async def test_mutant_that_releases_before_the_viewer_took_it_is_caught(
    autojump_clock, monkeypatch
):
    async def pretend(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async with stage(tunnel=NARROW) as s:
        monkeypatch.setattr(http1.Http1, "_send", pretend)
        agent = await s.agent()
        await s.tail(lockstep=True)
        sent: list[int] = []
        s.nursery.start_soon(pour, await agent.stream(), 64, sent)
        await trio.sleep(1)
        assert len(sent) * len(UNIT) > WINDOW + len(UNIT)


async def test_a_viewer_that_never_reads_is_cut_at_last(autojump_clock):
    async with stage(write_stall_s=100.0) as s:
        agent = await s.agent()
        await s.tail(lockstep=True)
        stream = await agent.stream()
        s.nursery.start_soon(pour, stream, 64, [])
        await trio.sleep(99)
        assert stream.reset_code is None
        await trio.sleep(2)
        assert stream.reset_code is Code.CANCELLED
        assert s.count("slow") == 1


async def leave_a_quiet_tail(s) -> Code | None:
    agent = await s.agent()
    client = await s.tail()
    stream = await agent.stream()
    stream.head(ANSWER)
    await client.response()
    await client.stream.aclose()
    await s.settled()
    return stream.reset_code


async def test_a_viewer_that_leaves_a_quiet_tail_is_noticed_at_once(autojump_clock):
    async with stage() as s:
        assert await leave_a_quiet_tail(s) is Code.CANCELLED
        assert trio.current_time() == 0
        assert s.relay.metrics.get("relay_endings_total", "left") == 1


async def test_mutant_that_does_not_watch_the_viewer_is_caught(autojump_clock, monkeypatch):
    async def look_away(self, call):
        await trio.sleep_forever()

    monkeypatch.setattr(coupling.Coupler, "_watch", look_away)
    async with stage() as s:
        assert await leave_a_quiet_tail(s) is None


async def test_a_viewer_that_leaves_while_held(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail()
        await agent.stream()
        agent.link.cut()
        await agent.ended.wait()
        await client.stream.aclose()
        await s.settled()
        second = await s.agent()
        await s.settled()
        assert second.opened.statistics().current_buffer_used == 0


async def test_a_viewer_that_leaves_as_its_agent_returns(autojump_clock):
    async with stage() as s:
        client = await s.tail()
        await s.settled()
        agent = s.dial()
        s.nursery.start_soon(agent.run)
        while not agent.session.is_open:
            await trio.lowlevel.checkpoint()
        await client.stream.aclose()
        await s.settled()
        assert agent.session.streams_open == 0
        assert s.relay.metrics.get("relay_endings_total", "left") == 1


async def test_a_viewer_that_leaves_inside_its_request(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = s.viewer()
        head = f"POST {ECHO_PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n"
        head += f"authorization: {bearer()['authorization']}\r\n\r\n"
        await client.stream.send_all(head.encode() + b"half")
        stream = await agent.stream()
        await s.settled()
        await client.stream.aclose()
        await s.settled()
        assert stream.reset_code is Code.CANCELLED


async def test_a_body_goes_up_while_the_answer_comes_down(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = s.viewer()
        await client.send("POST", ECHO_PATH, bytes(500_000), bearer())
        stream = await agent.stream()
        stream.head(ANSWER)
        await client.response()
        size = 0
        while True:
            await stream.ready()
            for event in stream.take():
                if hasattr(event, "view"):
                    size += len(event.view)
                    await stream.send(bytes(event.view))
                    stream.release(len(event.view))
            if size == 500_000:
                break
        stream.end()
        assert len(await client.rest()) == 500_000


async def test_an_answer_before_the_request_ended_leaves_nothing_open(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = s.viewer()
        head = f"POST {ECHO_PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n"
        head += f"authorization: {bearer()['authorization']}\r\n\r\n"
        await client.stream.send_all(head.encode() + b"half")
        stream = await agent.stream()
        stream.head(type(ANSWER)(403, (("content-type", "application/json"),)))
        await stream.send(b"{}")
        stream.end()
        answer = b""
        while piece := await client.stream.receive_some():
            answer += piece
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"connection: close" in answer
        assert answer.endswith(b"2\r\n{}\r\n0\r\n\r\n")
        await s.settled()
        assert agent.session.streams_open == 0


async def test_too_many_exchanges(autojump_clock):
    async with stage(max_exchanges=2) as s:
        agent = await s.agent()
        for _ in range(2):
            await s.tail()
            await agent.stream()
        client = await s.tail()
        await client.response()
        assert error_of(await client.rest())["code"] == "resource_exhausted"
        assert s.count("too_many") == 1


async def test_more_streams_than_the_agent_takes(autojump_clock):
    async with stage() as s:
        agent = await s.agent(settings=TunnelSettings(max_streams=1))
        await s.tail()
        await agent.stream()
        client = await s.tail()
        await client.response()
        assert error_of(await client.rest())["code"] == "resource_exhausted"


@pytest.mark.parametrize("viewers", [50])
async def test_many_viewers_over_a_cut(viewers, autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        clients = [await s.tail() for _ in range(viewers)]
        for _ in clients:
            stream = await agent.stream()
            stream.head(ANSWER)
            await stream.send(message(b"1"))
            stream.mark(b"1")
            await stream.send(b"\0")
        await s.settled()
        agent.link.cut()
        again = await s.agent()
        for _ in clients:
            stream = await again.stream()
            assert stream.cursor == b"1"
            stream.head(ANSWER)
            await stream.send(message(b"2"))
            stream.end()
        for client in clients:
            await client.response()
            assert await client.rest() == message(b"1") + message(b"2")
