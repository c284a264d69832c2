"""Leaving in order, and what operators see."""

from __future__ import annotations

import json
import re

import pytest
import trio
import trio.testing
from stage import ANSWER, TAIL, Client, bearer, error_of, message, report_head, stage

from relay.metrics import COUNTERS, ROW_BYTES, Metrics, Reason
from tunnel.errors import Code

GAUGES = ("relay_tunnels", "relay_exchanges", "relay_seal_level")
UNSEALED = b"ok\nseal: none landlock=0 seccomp=off fsize=unlimited fds=unchecked\n"


async def ops(s, path: str, method: str = "GET") -> tuple[int, bytes]:
    ours, theirs = trio.testing.memory_stream_pair()
    s.nursery.start_soon(s.relay.serve_ops, theirs)
    client = Client(ours)
    response = await client.ask(method, path)
    return response.status_code, await client.rest()


async def test_a_drain_waits_for_what_is_under_way(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail()
        stream = await agent.stream()
        stream.head(ANSWER)
        s.nursery.start_soon(s.relay.drain)
        await s.settled()
        assert agent.session.goaway_received.is_set()
        assert (await ops(s, "/readyz"))[0] == 503
        late = s.viewer()
        await late.ask("POST", TAIL, b"x", bearer())
        assert error_of(await late.rest())["code"] == "unavailable"
        await trio.sleep(5)
        await stream.send(message(b"last"))
        stream.end()
        await client.response()
        assert await client.rest() == message(b"last")
        await agent.ended.wait()
        assert trio.current_time() == 5


async def test_a_tail_without_end_is_told_to_try_again(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail()
        stream = await agent.stream()
        stream.head(ANSWER)
        await stream.send(message(b"one"))
        stream.mark(b"1")
        await stream.send(b"\0\0")
        await s.settled()
        await s.relay.drain()
        assert trio.current_time() == pytest.approx(10, abs=0.1)
        await client.response()
        body = await client.rest()
        assert body.startswith(message(b"one"))
        assert error_of(body)["code"] == "unavailable"
        assert s.count("draining") == 1
        await agent.ended.wait()


async def test_a_viewer_that_does_not_read_cannot_hold_the_drain(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail(lockstep=True)
        stream = await agent.stream()
        stream.head(ANSWER)
        await s.settled()
        await s.relay.drain()
        assert trio.current_time() < 15
        assert s.relay.metrics.get("relay_endings_total", "aborted") == 1
        await client.stream.aclose()


async def test_a_long_poll_ends_with_the_drain(autojump_clock):
    async with stage() as s:
        control = s.control()
        await control.send("GET", "/v1/exchanges/next?wait_s=25")
        await s.settled()
        await s.relay.drain()
        assert (await control.response()).status_code == 204
        assert trio.current_time() == 0


async def test_a_new_agent_is_sent_elsewhere(autojump_clock):
    async with stage() as s:
        s.nursery.start_soon(s.relay.drain)
        await s.settled()
        agent = s.dial()
        await agent.run()
        assert agent.closed.code is Code.NOT_READY


async def test_an_agents_exchange_is_finished_before_the_tunnel_closes(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        stream = agent.session.open(report_head())
        stream.end()
        control = s.control()
        response = await control.ask("GET", "/v1/exchanges/next?wait_s=25")
        name = dict(response.headers)[b"planesplit-exchange"].decode()
        s.nursery.start_soon(s.relay.drain)
        await trio.sleep(2)
        assert agent.closed is None
        answer = await s.control().ask("POST", f"/v1/exchanges/{name}", b"ok")
        assert answer.status_code == 204
        await agent.ended.wait()
        assert trio.current_time() == 2


async def test_probes(autojump_clock):
    async with stage(pushed=False) as s:
        assert await ops(s, "/livez") == (200, UNSEALED)
        assert await ops(s, "/readyz") == (503, b"no policy yet\n")
        await s.push()
        assert await ops(s, "/readyz") == (200, b"ok\n")
        assert set(json.loads((await ops(s, "/version"))[1])) == {"version", "boot"}
        assert (await ops(s, "/etc/passwd"))[0] == 404
        assert (await ops(s, "/livez", "POST"))[0] == 405


async def test_metrics_are_prometheus_text(autojump_clock):
    async with stage() as s:
        await s.agent()
        _, body = await ops(s, "/metrics")
        lines = body.decode().splitlines()
        label = r'[a-z_]+="[a-zA-Z_0-9]*"'
        sample = re.compile(rf"[a-z_]+(\{{{label}(,{label})*\}})? [0-9.e+]+")
        assert all(line.startswith("# ") or sample.fullmatch(line) for line in lines)
        assert "relay_tunnels 1" in lines
        declared = {line.split()[2] for line in lines if line.startswith("# TYPE")}
        assert declared == {*COUNTERS, ROW_BYTES, *GAUGES}


def test_a_label_that_was_not_declared_is_a_bug():
    metrics = Metrics()
    with pytest.raises(KeyError):
        metrics.add("relay_rejected_total", "whatever a peer sent")
    metrics.reject(Reason.SLOW)
    assert metrics.get("relay_rejected_total", "slow") == 1


async def test_no_payload_in_journal_or_metrics(autojump_clock):
    """A canary in every place that a peer can fill shows up in no journal line and no metric."""
    canary = "CANARY" + "x7"
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail(canary.encode())
        stream = await agent.stream()
        stream.head(ANSWER)
        await stream.send(message(canary.encode()))
        stream.mark(canary.encode())
        await stream.send(message(canary.encode()))
        await s.settled()
        agent.link.cut()
        await agent.ended.wait()
        again = await (await s.agent()).stream()
        again.reset(Code.DATA_LOSS)
        await client.response()
        assert canary.encode() in await client.rest()
        for path in (f"/r/acme/p/d/c1/{canary}.S/M", f"/{canary}", TAIL):
            other = s.viewer()
            fields = {**bearer(), "authorization": f"Bearer {canary}", "x-canary": canary}
            await other.ask("POST", path, canary.encode(), fields)
        report = (await s.agent()).session.open(report_head())
        await report.send(canary.encode())
        await s.settled()
        _, metrics = await ops(s, "/metrics")
        assert len(s.lines) > 3
        assert canary not in "".join(s.lines) + metrics.decode()
