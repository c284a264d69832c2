"""Tunnels at the relay: who may have one, who replaces whom, what agents open."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing
from stage import (
    ANSWER,
    EPOCH,
    TAIL,
    THUMBPRINT,
    Agent,
    agent_token,
    bearer,
    error_of,
    message,
    stage,
    viewer_token,
)

from relay.auth import agent_uri
from tunnel.errors import Code
from tunnel.hello import Hello
from tunnel.payload import Payload
from tunnel.peer import Peer
from tunnel.session import Session
from tunnel.settings import TunnelSettings
from tunnel.websocket import connect_websocket

C1 = agent_uri("acme", "c1")
REFUSED = {
    "other key's token": ({"bearer": "a.b.c"}, "AUTH_REFUSED", "bad_token"),
    "viewer's token": (lambda: {"bearer": viewer_token()}, "AUTH_REFUSED", "bad_token"),
    "expired": (
        lambda: {"bearer": agent_token(exp=int(EPOCH) - 6)},
        "AUTH_EXPIRED",
        "expired_token",
    ),
    "token of another cluster": (
        lambda: {"bearer": agent_token("acme", "c2")},
        "AUTH_REFUSED",
        "identity",
    ),
    "subject of another": (
        lambda: {"bearer": agent_token(sub="agent:acme/c2")},
        "AUTH_REFUSED",
        "identity",
    ),
    "certificate of another": (
        {"uris": (agent_uri("globex", "c1"),)},
        "AUTH_REFUSED",
        "identity",
    ),
    "no certificate": ({"uris": ()}, "AUTH_REFUSED", "identity"),
    "two names": ({"uris": (C1, agent_uri("acme", "c2"))}, "AUTH_REFUSED", "identity"),
    "token of another certificate": ({"thumbprint": "x" * 43}, "AUTH_REFUSED", "token_not_bound"),
    "token of no certificate": (
        lambda: {"bearer": agent_token(cnf=None)},
        "AUTH_REFUSED",
        "token_not_bound",
    ),
    "token bound to nothing": (
        lambda: {"bearer": agent_token(cnf={"x5t#S256": ""}), "thumbprint": ""},
        "AUTH_REFUSED",
        "token_not_bound",
    ),
    "slot": ({"slot": 4}, "AUTH_REFUSED", "identity"),
    "disabled cluster": ({"cluster": "off"}, "AUTH_REFUSED", "unknown_cluster"),
    "unknown cluster": ({"cluster": "c9"}, "AUTH_REFUSED", "unknown_cluster"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_stranger_is_refused_and_displaces_nobody(name, autojump_clock):
    options, code, reason = REFUSED[name]
    async with stage() as s:
        healthy = await s.agent()
        stranger = s.dial(**(options() if callable(options) else options))
        await stranger.run()
        assert stranger.closed.code.name == code
        assert s.count(reason) == 1
        assert healthy.closed is None
        await s.tail()
        await healthy.stream()


async def test_the_newest_of_an_identity_wins_and_streams_move_over(autojump_clock):
    async with stage() as s:
        older = await s.agent()
        client = await s.tail()
        stream = await older.stream()
        stream.head(ANSWER)
        await stream.send(message(b"1"))
        stream.mark(b"1")
        await s.settled()
        newer = await s.agent()
        await older.ended.wait()
        assert older.closed.code is Code.REPLACED
        moved = await newer.stream()
        assert moved.cursor == b"1"
        moved.head(ANSWER)
        moved.end()
        await client.response()
        assert await client.rest() == message(b"1")
        assert trio.current_time() == 0
        assert s.relay.metrics.get("relay_tunnels_total", "replaced") == 1


async def test_slots_live_beside_each_other(autojump_clock):
    async with stage() as s:
        one, two = await s.agent(slot=0), await s.agent(slot=1)
        await s.settled()
        assert one.closed is None
        assert two.closed is None
        two.link.cut()
        await two.ended.wait()
        await s.tail()
        await one.stream()


async def test_too_many_tunnels(autojump_clock):
    async with stage(max_tunnels=1) as s:
        await s.agent()
        second = s.dial(cluster="c2")
        await second.run()
        assert second.closed.code is Code.NOT_READY
        assert s.count("too_many") == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"revoked": {"agent:acme/c1": EPOCH + 1}}, Code.REVOKED),
        ({"clusters": []}, Code.AUTH_REFUSED),
    ],
)
async def test_a_withdrawn_identity_loses_its_tunnel_at_once(change, code, autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        await s.push(**change)
        await agent.ended.wait()
        assert trio.current_time() == 0
        assert agent.closed.code is code


async def test_a_token_refreshed_in_band_counts_from_then_on(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        await trio.sleep(500)
        agent.session.reauthenticate(Payload(agent_token().encode()))
        await trio.sleep(500)
        assert agent.closed is None
        # Issued before this moment: void; the refreshed one was issued at +500 s.
        await s.push(revoked={"agent:acme/c1": EPOCH + 400})
        await s.settled()
        assert agent.closed is None
        await trio.sleep(200)
        assert agent.closed.code is Code.AUTH_EXPIRED


async def test_a_slow_or_wrong_handshake_ends(autojump_clock):
    async with stage() as s:
        for sent in (b"", b"GET /tunnel HTTP/1.1\r\nHost: a\r\n\r\n", b"\0\0\0"):
            started = trio.current_time()
            ours, theirs = trio.testing.memory_stream_pair()
            s.nursery.start_soon(s.relay.serve_agent, theirs)
            await ours.send_all(sent)
            while await ours.receive_some():
                pass
            assert trio.current_time() - started <= s.relay.settings.handshake_s
        assert s.count("handshake") == 3


async def test_a_tunnel_over_a_websocket(autojump_clock):
    async with stage() as s:
        ours, theirs = trio.testing.memory_stream_pair()
        s.nursery.start_soon(s.relay.serve_agent, theirs, Peer((C1,), THUMBPRINT))
        transport = await connect_websocket(ours, host="relay")
        token = Payload(agent_token().encode())
        hello = Hello("acme", "c1", "agent-1")
        session = Session(transport, hello=hello, settings=TunnelSettings(), token=token)
        agent = Agent(None, session)
        await s.nursery.start(agent.run)
        client = await s.tail()
        stream = await agent.stream()
        stream.head(ANSWER)
        await stream.send(message(b"1"))
        stream.end()
        await client.response()
        assert await client.rest() == message(b"1")


async def test_the_control_plane_sees_tunnels_come_and_go(autojump_clock):
    async with stage() as s:
        control = s.control()

        async def poll(since: int) -> dict[str, object]:
            response = await control.ask("GET", f"/v1/tunnels?since={since}&wait_s=25")
            assert b"planesplit-relay" in dict(response.headers)
            return json.loads(await control.rest())

        before = await poll(0)
        assert before["tunnels"] == []
        started = trio.current_time()
        assert (await poll(before["version"]))["version"] == before["version"]
        assert trio.current_time() - started == pytest.approx(25)

        async def dial_later() -> None:
            await trio.sleep(3)
            agent = await s.agent()
            await trio.sleep(3)
            agent.link.cut()

        s.nursery.start_soon(dial_later)
        up = await poll(before["version"])
        assert [(t["cluster"], t["state"]) for t in up["tunnels"]] == [("c1", "ONLINE")]
        down = await poll(up["version"])
        assert [(t["cluster"], t["state"]) for t in down["tunnels"]] == [("c1", "LOST")]
        assert down["tunnels"][0]["since_s"] == EPOCH + started + 31
        await s.push(clusters=[])
        assert (await poll(0))["tunnels"] == []


async def test_the_control_plane_opens_an_exchange(autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        control = s.control()
        path = "/r/acme/p/d/c1/planesplit.v1.ExecutorService/Assign"
        await control.send("POST", path, b"task", {"content-type": "application/proto"})
        stream = await agent.stream()
        assert stream.request.viewer == "control"
        stream.head(type(ANSWER)(200, (("content-type", "application/proto"),)))
        await stream.send(b"pod")
        stream.end()
        response = await control.response()
        assert response.status_code == 200
        assert await control.rest() == b"pod"
        assert b"planesplit-relay" in dict(response.headers)
        # What viewers open is not the control plane's.
        other = s.control()
        response = await other.ask("POST", TAIL, b"x", {"content-type": "application/proto"})
        assert response.status_code == 501


async def test_somebody_else_on_the_control_listener(autojump_clock):
    async with stage() as s:
        for uris in ((), (C1,), ("spiffe://planesplit/control", C1)):
            client = s.control(uris)
            assert await client.stream.receive_some() == b""
        assert s.count("identity") == 3


async def test_a_control_planes_certificate_that_is_shut_out(autojump_clock):
    async with stage() as s:
        old = s.control(thumbprint="old")
        assert (await old.ask("GET", "/v1/tunnels")).status_code == 200
        await old.rest()
        s.relay.control_is(frozenset({"new"}))
        assert await old.stream.receive_some() == b"", "what is open ends at once"
        assert s.count("revoked") == 2, "with the connection that has pushed the policy"
        again = s.control(thumbprint="old")
        assert await again.stream.receive_some() == b""
        assert s.count("identity") == 1
        new = s.control(thumbprint="new")
        assert (await new.ask("GET", "/v1/tunnels")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/v1/policy", 400),
        ("GET", "/v1/policy", 404),
        ("GET", "/v1/tunnels?since=x", 400),
        ("GET", "/v1/tunnels?since=-1", 400),
        ("GET", "/v1/tunnels?wait_s=nan", 400),
        ("POST", "/v1/exchanges/1?planesplit-status=99", 400),
        ("GET", "/", 404),
    ],
)
async def test_odd_control_requests_get_a_clear_error(method, path, status, autojump_clock):
    async with stage() as s:
        client = s.control()
        response = await client.ask(method, path, b"{")
        assert response.status_code == status
        assert b"message" in await client.rest()


async def test_viewers_of_two_clusters_reach_their_own(autojump_clock):
    async with stage() as s:
        one, two = await s.agent(), await s.agent(cluster="c2")
        client = s.viewer()
        await client.send("POST", TAIL.replace("/c1/", "/c2/"), b"x", bearer())
        stream = await two.stream()
        assert one.opened.statistics().current_buffer_used == 0
        stream.reset(Code.DATA_LOSS)
        await client.response()
        assert error_of(await client.rest())["code"] == "data_loss"
