"""A call to every cluster of an organisation: each is asked once, and the answer is for all."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing
from flyteidl2.secret import definition_pb2, payload_pb2
from stage import Client, Stage, bearer, policy, request_of, stage

from relay.policy import Policy, PolicyError
from tunnel.capabilities import (
    CREATE_SECRET,
    DELETE_SECRET,
    GET_SECRET,
    LIST_SECRETS,
    QUERY,
    TAIL_LOGS,
)
from tunnel.errors import Code, StreamReset
from tunnel.exchange import ResponseHead

PROTO, JSON = "application/proto", "application/json"
GOOD = ResponseHead(200, (("content-type", PROTO),))
GZIPPED = ResponseHead(200, (("content-type", PROTO), ("content-encoding", "gzip")))
ALL = "/r/acme/-/-/-"


def admin(subject: str, project: str = "*", domain: str = "*") -> dict[str, str]:
    return {
        "subject": subject,
        "role": "Admin",
        "org": "acme",
        "project": project,
        "domain": domain,
    }


BINDINGS = [admin("root"), admin("pat", "p"), admin("dan", "*", "d")]


async def ask(
    s: Stage, rpc: str = CREATE_SECRET, body: bytes = b"secret", kind: str = PROTO, **headers: str
) -> Client:
    client = s.viewer()
    await client.send("POST", ALL + rpc, body, {**bearer("root", kind), **headers})
    return client


async def answer(agent, body: bytes = b"", head: ResponseHead = GOOD):
    """Let an agent answer; returns the stream and what it was asked."""
    stream = await agent.stream()
    asked = await request_of(stream)
    stream.head(head)
    if body:
        await stream.send(body)
    stream.end()
    return stream, asked


async def failure(client: Client) -> tuple[int, str, str]:
    response = await client.response()
    error = json.loads(await client.rest())
    return response.status_code, error["code"], error["message"]


async def test_each_cluster_is_asked_once_and_the_answers_are_put_together(autojump_clock) -> None:
    async with stage() as s:
        await s.push(bindings=BINDINGS)
        one, two = await s.agent(cluster="c1"), await s.agent(cluster="c2")
        client = await ask(s, LIST_SECRETS, b"which", **{"accept-encoding": "gzip"})
        second, _ = await answer(two, b"-two")  # whoever is first: the order is that of the names
        first, asked = await answer(one, b"one")
        response = await client.response()
        assert (response.status_code, await client.rest()) == (200, b"one-two")
        assert dict(response.headers)[b"content-type"] == PROTO.encode()
        assert asked == b"which"
        for stream, cluster in ((first, "c1"), (second, "c2")):
            assert stream.request.scope.cluster == cluster
            assert stream.request.scope.org == "acme"
            assert stream.request.viewer == "root"
            assert stream.request.get("accept-encoding") == ""
        await trio.sleep(100)
        for agent in (one, two):
            with pytest.raises(trio.WouldBlock):
                agent.opened.receive_nowait()
        counts = s.relay.metrics.rows.table()["A9"]
        assert counts == {"up": len(b"which"), "down": len(b"one-two")}


async def test_put_together_answers_read_as_merged_messages(autojump_clock) -> None:
    async with stage() as s:
        await s.push(bindings=BINDINGS)
        agents = [await s.agent(cluster=name) for name in ("c1", "c2")]
        client = await ask(s, GET_SECRET)
        for agent, name in zip(agents, ("c1", "c2"), strict=True):
            status = definition_pb2.SecretStatus(cluster_status=[{"cluster": {"name": name}}])
            metadata = definition_pb2.SecretMetadata(secret_status=status)
            secret = definition_pb2.Secret(id={"name": "token"}, secret_metadata=metadata)
            message = payload_pb2.GetSecretResponse(secret=secret)
            await answer(agent, message.SerializeToString())
        await client.response()
        merged = payload_pb2.GetSecretResponse.FromString(await client.rest())
        assert merged.secret.id.name == "token"
        found = [c.cluster.name for c in merged.secret.secret_metadata.secret_status.cluster_status]
        assert found == ["c1", "c2"]


async def test_one_enabled_cluster_is_no_special_case(autojump_clock) -> None:
    async with stage() as s:
        await s.push(bindings=BINDINGS, clusters=[{"org": "acme", "cluster": "c1"}])
        agent = await s.agent()
        client = await ask(s)
        await answer(agent)
        assert (await client.response()).status_code == 200
        assert await client.rest() == b""


async def test_a_cluster_out_of_reach_is_named_and_nothing_is_replayed(autojump_clock) -> None:
    async with stage() as s:
        await s.push(bindings=BINDINGS)
        one = await s.agent(cluster="c1")
        client = await ask(s)
        await answer(one)
        assert await failure(client) == (503, "unavailable", "c1: ok, c2: unavailable")
        assert s.count("fan_out") == 1
        two = await s.agent(cluster="c2")
        await trio.sleep(100)
        for agent in (one, two):
            with pytest.raises(trio.WouldBlock):
                agent.opened.receive_nowait()


async def test_a_tunnel_that_is_lost_in_between_is_out_of_reach(autojump_clock) -> None:
    async with stage() as s:
        await s.push(bindings=BINDINGS)
        one, two = await s.agent(cluster="c1"), await s.agent(cluster="c2")
        client = await ask(s)
        await answer(one)
        await request_of(await two.stream())
        two.link.cut()
        assert await failure(client) == (503, "unavailable", "c1: ok, c2: unavailable")
        again = await s.agent(cluster="c2")
        await trio.sleep(100)
        with pytest.raises(trio.WouldBlock):
            again.opened.receive_nowait()


@pytest.mark.parametrize(
    ("statuses", "code", "message"),
    [
        ((409, 409), "already_exists", "c1: already_exists, c2: already_exists"),
        ((200, 404), "not_found", "c1: ok, c2: not_found"),
        ((403, 404), "permission_denied", "c1: permission_denied, c2: not_found"),
        ((400, 503), "unavailable", "c1: invalid_argument, c2: unavailable"),
        ((418, 200), "internal", "c1: internal, c2: ok"),
    ],
)
async def test_each_clusters_failure_is_known_by_its_status_alone(
    autojump_clock, statuses: tuple[int, int], code: str, message: str
) -> None:
    async with stage() as s:
        await s.push(bindings=BINDINGS)
        agents = [await s.agent(cluster=name) for name in ("c1", "c2")]
        client = await ask(s)
        for agent, status in zip(agents, statuses, strict=True):
            await answer(agent, b"the agent's own words", ResponseHead(status, GOOD.headers))
        assert (await failure(client))[1:] == (code, message)


async def test_a_silent_cluster_ends_the_call_in_time(autojump_clock) -> None:
    async with stage() as s:
        await s.push(bindings=BINDINGS)
        one, two = await s.agent(cluster="c1"), await s.agent(cluster="c2")
        client, began = await ask(s), trio.current_time()
        await answer(one)
        silent = await two.stream()
        assert await failure(client) == (504, "deadline_exceeded", "c1: ok, c2: deadline_exceeded")
        assert trio.current_time() - began == 30
        await s.settled()
        assert silent.reset_code is Code.CANCELLED


@pytest.mark.parametrize("head", [GZIPPED, ResponseHead(200, (("content-type", JSON),))])
async def test_an_answer_that_cannot_be_merged_is_a_fault(autojump_clock, head) -> None:
    async with stage() as s:
        await s.push(bindings=BINDINGS)
        one, two = await s.agent(cluster="c1"), await s.agent(cluster="c2")
        client = await ask(s, LIST_SECRETS)
        await answer(one)
        await answer(two, b"x", head)
        assert (await failure(client))[1:] == ("internal", "c1: ok, c2: internal")


async def test_a_cluster_that_breaks_off_or_forgets_its_head_is_a_fault(autojump_clock) -> None:
    async with stage() as s:
        await s.push(bindings=BINDINGS)
        one, two = await s.agent(cluster="c1"), await s.agent(cluster="c2")
        client = await ask(s)
        (await one.stream()).reset(Code.DATA_LOSS)
        await answer(two)
        assert (await failure(client))[1:] == ("data_loss", "c1: data_loss, c2: ok")


async def test_writes_in_json_work_and_reads_are_refused_before_anybody_is_asked(
    autojump_clock,
) -> None:
    async with stage() as s:
        await s.push(bindings=BINDINGS)
        one, two = await s.agent(cluster="c1"), await s.agent(cluster="c2")
        json_head = ResponseHead(200, (("content-type", JSON),))
        client = await ask(s, DELETE_SECRET, b"{}", JSON)
        for agent in (one, two):
            await answer(agent, b"{}", json_head)
        assert (await client.response()).status_code == 200
        assert await client.rest() == b"{}"
        for rpc, kind in ((LIST_SECRETS, JSON), (GET_SECRET, JSON), (CREATE_SECRET, "text/plain")):
            status, code, text = await failure(await ask(s, rpc, b"{}", kind))
            assert (status, code) == (400, "invalid_argument")
            assert PROTO in text
        with pytest.raises(trio.WouldBlock):
            one.opened.receive_nowait()


async def test_other_calls_do_not_know_all_clusters(autojump_clock) -> None:
    async with stage() as s:
        await s.push(bindings=BINDINGS)
        await s.agent()
        for rpc in (QUERY, TAIL_LOGS):
            assert (await failure(await ask(s, rpc)))[:2] == (404, "not_found")


@pytest.mark.parametrize(
    ("subject", "scope", "covered"),
    [
        ("root", "-/-/-", True),
        ("root", "-/d/-", True),
        ("root", "p/d/-", True),
        ("pat", "p/d/-", True),
        ("pat", "-/d/-", False),
        ("pat", "-/-/-", False),
        ("pat", "q/d/-", False),
        ("dan", "-/d/-", True),
        ("dan", "p/d/-", True),
        ("dan", "-/-/-", False),
        ("dan", "p/e/-", False),
    ],
)
async def test_a_scope_needs_a_binding_that_covers_it(
    autojump_clock, subject: str, scope: str, covered: bool
) -> None:
    async with stage() as s:
        await s.push(bindings=BINDINGS)
        client = s.viewer()
        await client.send("POST", f"/r/acme/{scope}{CREATE_SECRET}", b"", bearer(subject, PROTO))
        status, _, _ = await failure(client)
        assert status == (503 if covered else 403)  # no agent is there


async def test_bodies_are_bounded(autojump_clock) -> None:
    async with stage(fan_out_request_bytes=1_024, fan_out_answer_bytes=1_024) as s:
        await s.push(bindings=BINDINGS)
        one, two = await s.agent(cluster="c1"), await s.agent(cluster="c2")
        assert (await failure(await ask(s, body=bytes(1_025))))[:2] == (429, "resource_exhausted")
        client = await ask(s, LIST_SECRETS, bytes(1_024))
        await answer(one, bytes(512))
        stream = await two.stream()
        await request_of(stream)
        stream.head(GOOD)
        await stream.send(bytes(513))
        code, message = (await failure(client))[1:]
        assert (code, message) == ("resource_exhausted", "c1: ok, c2: resource_exhausted")
        client = await ask(s, LIST_SECRETS)
        await answer(one, bytes(512))
        await answer(two, bytes(512))
        assert (await client.response()).status_code == 200
        assert await client.rest() == bytes(1_024)


@pytest.mark.parametrize(
    ("clusters", "code"), [([], "not_found"), (["a", "b", "c"], "failed_precondition")]
)
async def test_none_or_too_many_clusters(autojump_clock, clusters: list[str], code: str) -> None:
    async with stage(max_fan_out=2) as s:
        entries = [{"org": "acme", "cluster": name} for name in clusters]
        await s.push(bindings=BINDINGS, clusters=entries)
        assert (await failure(await ask(s)))[1] == code


async def test_only_so_many_at_a_time(autojump_clock) -> None:
    async with stage(max_fan_outs=1) as s:
        await s.push(bindings=BINDINGS, clusters=[{"org": "acme", "cluster": "c1"}])
        agent = await s.agent()
        first = await ask(s)
        await s.settled()
        assert (await failure(await ask(s)))[:2] == (429, "resource_exhausted")
        await answer(agent)
        assert (await first.response()).status_code == 200
        again = await ask(s)
        await answer(agent)
        assert (await again.response()).status_code == 200


async def test_a_viewer_who_leaves_ends_it_everywhere(autojump_clock) -> None:
    async with stage() as s:
        await s.push(bindings=BINDINGS)
        one, two = await s.agent(cluster="c1"), await s.agent(cluster="c2")
        client = await ask(s)
        streams = [await agent.stream() for agent in (one, two)]
        await client.stream.aclose()
        await s.settled()
        for stream in streams:
            stream.take()
            with pytest.raises(StreamReset):
                await stream.ready()


async def test_a_right_that_is_withdrawn_ends_it(autojump_clock) -> None:
    async with stage() as s:
        await s.push(bindings=BINDINGS)
        agent = await s.agent()
        client = await ask(s)
        await agent.stream()
        await s.push(bindings=[])
        assert (await failure(client))[:2] == (403, "permission_denied")


async def test_a_secret_reaches_no_journal_line_no_metric_and_no_error(autojump_clock) -> None:
    canary = "CANARY" + "q9"
    async with stage() as s:
        await s.push(bindings=BINDINGS)
        one = await s.agent(cluster="c1")
        client = await ask(s, body=canary.encode())
        head = ResponseHead(500, GOOD.headers)
        assert (await answer(one, canary.encode(), head))[1] == canary.encode()
        assert canary not in str(await failure(client))
        assert canary not in "".join(s.lines) + s.relay.metrics.render().decode()


def test_no_cluster_can_be_called_all() -> None:
    for entry in ({"org": "acme", "cluster": "-"}, {"org": "-", "cluster": "c1"}):
        with pytest.raises(PolicyError, match="clusters"):
            Policy.from_json(json.dumps(policy(clusters=[entry])).encode())
