"""How exchanges end that the agent did not end in order."""

from __future__ import annotations

import h11
import pytest
import trio
from stage import ANSWER, ECHO_PATH, TAIL, bearer, error_of, messages, request_of, serve_unit, stage

from relay import downlink
from tunnel.errors import Code
from tunnel.exchange import ResponseHead


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (Code.DATA_LOSS, "data_loss"),
        (Code.CANCELLED, "aborted"),
        (Code.REFUSED, "failed_precondition"),
        (Code.INTERNAL, "internal"),
        (Code.TIMEOUT, "deadline_exceeded"),
        (Code.NOT_READY, "unavailable"),
    ],
)
async def test_an_agent_that_resets_ends_the_tail_with_a_reason(code, told, autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail()
        stream = await agent.stream()
        stream.head(ANSWER)
        one = await serve_unit(stream, b"one\n", b"1")
        await stream.send(b"\0\0\0")
        await stream.flushed()
        stream.reset(code)
        await client.response()
        body = await client.rest()
        assert body.startswith(one)
        assert len(messages(body)) == 2
        assert error_of(body)["code"] == told


async def test_a_unit_over_the_limit_is_the_agents_fault(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail()
        stream = await agent.stream()
        stream.head(ANSWER)
        await stream.send(bytes(65_537))
        await client.response()
        assert error_of(await client.rest())["code"] == "internal"
        assert s.count("agent_fault") == 1


async def test_a_silent_agent_runs_into_a_deadline(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail()
        stream = await agent.stream()
        await client.response()
        assert error_of(await client.rest())["code"] == "deadline_exceeded"
        await s.settled()
        assert stream.reset_code is Code.CANCELLED
        assert s.count("agent_silent") == 1


async def test_another_answer_after_the_return_is_not_mixed_in(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail()
        stream = await agent.stream()
        stream.head(ANSWER)
        await stream.flushed()
        await client.response()
        agent.link.cut()
        again = await (await s.agent()).stream()
        compressed = (*ANSWER.headers, ("connect-content-encoding", "gzip"))
        again.head(ResponseHead(200, compressed))
        await serve_unit(again, b"one\n", b"1")
        assert error_of(await client.rest())["code"] == "aborted"


async def test_a_call_that_is_not_resumable_is_never_replayed(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = s.viewer()
        await client.send("POST", ECHO_PATH, b"write", bearer(content_type="application/proto"))
        assert await request_of(await agent.stream()) == b"write"
        agent.link.cut()
        second = await s.agent()
        response = await client.response()
        assert response.status_code == 503
        assert b'"unavailable"' in await client.rest()
        await trio.sleep(60)
        assert second.opened.statistics().current_buffer_used == 0


async def test_a_call_that_is_not_resumable_does_not_wait_for_an_agent(autojump_clock):
    async with stage() as s:
        started = trio.current_time()
        client = s.viewer()
        response = await client.ask(
            "POST", ECHO_PATH, b"x", bearer(content_type="application/json")
        )
        assert response.status_code == 503
        assert trio.current_time() == started


async def cut_in_a_direct_answer(s) -> tuple[bytes, bool]:
    """Cut a non-resumable answer in the middle; return what came, and whether it ended cleanly."""
    agent = await s.agent()
    client = s.viewer()
    await client.send("POST", ECHO_PATH, b"x", bearer())
    stream = await agent.stream()
    stream.head(ANSWER)
    await stream.send(b"\0\0\0\0\x09half")
    await client.response()
    body = await client.exactly(9)
    agent.link.cut()
    try:
        return body + await client.rest(), True
    except h11.RemoteProtocolError:
        return body, False


async def test_an_answer_that_broke_inside_a_message_is_cut_off(autojump_clock):
    async with stage() as s:
        _, clean = await cut_in_a_direct_answer(s)
        assert not clean
        await s.settled()
        assert s.relay.metrics.get("relay_endings_total", "aborted") == 1


async def test_mutant_that_ends_broken_answers_cleanly_is_caught(autojump_clock, monkeypatch):
    async def pretend(self, error):
        await self._http.write([], 0, last=True)
        return True

    monkeypatch.setattr(downlink.Downlink, "fail", pretend)
    async with stage() as s:
        _, clean = await cut_in_a_direct_answer(s)
        assert clean


async def test_a_direct_answer_marked_at_a_boundary_ends_with_a_reason(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = s.viewer()
        await client.send("POST", ECHO_PATH, b"x", bearer())
        stream = await agent.stream()
        stream.head(ANSWER)
        one = await serve_unit(stream, b"one\n", b"1")
        await client.response()
        await client.exactly(len(one))
        agent.link.cut()
        assert error_of(await client.rest())["code"] == "unavailable"


async def test_a_status_without_a_body_is_the_agents_fault(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail()
        (await agent.stream()).head(ResponseHead(204))
        await client.response()
        assert error_of(await client.rest())["code"] == "internal"
        assert s.count("agent_fault") == 1


async def test_an_error_of_the_agent_passes_as_it_is(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail()
        stream = await agent.stream()
        stream.head(ResponseHead(415, (("content-type", "application/json"),)))
        await stream.send(b'{"code":"unknown"}')
        stream.end()
        assert (await client.response()).status_code == 415
        assert await client.rest() == b'{"code":"unknown"}'


async def test_a_unary_answer_gets_no_empty_messages(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail()
        stream = await agent.stream()
        stream.head(ResponseHead(415, (("content-type", "application/json"),)))
        await stream.flushed()
        assert (await client.response()).status_code == 415
        agent.link.cut()
        with pytest.raises(h11.RemoteProtocolError):
            await client.rest()
        assert trio.current_time() == pytest.approx(30, abs=0.1)


async def test_a_fault_of_our_own_is_counted_and_shows_no_message(autojump_clock, monkeypatch):
    async def fail(self, stream):
        raise RuntimeError("CANARY")

    async with stage() as s:
        monkeypatch.setattr(downlink.Downlink, "forward", fail)
        await s.agent()
        client = s.viewer()
        await client.send("POST", TAIL, b"x", bearer())
        with pytest.raises(h11.RemoteProtocolError):
            await client.response()
        await s.settled()
        assert s.relay.metrics.get("relay_internal_errors_total") == 1
        journal = "".join(s.lines)
        assert '"kind":"RuntimeError"' in journal
        assert "CANARY" not in journal
        s.relay.metrics.add("relay_internal_errors_total", amount=-1)
