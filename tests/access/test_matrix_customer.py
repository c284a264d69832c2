"""Every identity on every RPC that crosses, at the relay and again at the agent: no holes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import stage
from connectrpc.errors import ConnectError
from matrix import IDENTITIES, PLACES_ASKED, SHARED_PLACES, Identity, Place, at_customer

from compute_agent.access import Access
from compute_agent.trust import Trust
from control_stub.issuer import Issuer
from tunnel.capabilities import CAPABILITIES, Capability
from tunnel.exchange import RequestHead, ResponseHead, Scope
from tunnel.messages.planesplit_v1_pb2 import AccessRequest, Binding
from tunnel.verifier import embedded_identity

VIEWER_RPCS = [c for c in CAPABILITIES.values() if c.opened_by == "viewer"]
OTHER_RPCS = [c for c in CAPABILITIES.values() if c.opened_by != "viewer"]
ASKED = (*PLACES_ASKED, *SHARED_PLACES, Place("globex", "p1", "development"))
PROTO = "application/proto"
ROLES = {
    (w.subject, w.role, w.org, w.project, w.domain): None for w in IDENTITIES if w.role
}  # each once, in order
SUBJECTS = [who for who in IDENTITIES if who.token == "good"]


def _bearer(who: Identity) -> dict[str, str]:
    changes: dict[str, Any] = {"org": who.org}
    match who.token:
        case "none":
            return {"content-type": PROTO}
        case "expired":
            changes["exp"] = int(stage.now()) - 60
        case "agent":
            token = stage.agent_token()
            return {"content-type": PROTO, "authorization": f"Bearer {token}"}
        case "forged":
            changes["key"] = stage.STRANGE_KEY
    return stage.bearer(who.subject, PROTO, **changes)


async def _willing(agent: stage.Agent) -> None:
    """Answer whatever comes through."""
    while True:
        stream = await agent.stream()
        stream.head(ResponseHead(200, (("content-type", PROTO),)))
        stream.end()


async def _at_relay(theatre: stage.Stage, path: str, who: Identity, place: Place) -> str:
    client = theatre.viewer()
    scope = Scope(*place, "c1")
    answer = await client.ask("POST", scope.prefix + path, b"", _bearer(who))
    body = await client.rest()
    await client.stream.aclose()
    return "in" if answer.status_code == 200 else str(json.loads(body)["code"])


@pytest.mark.parametrize("capability", VIEWER_RPCS, ids=lambda c: c.path.rpartition("/")[2])
async def test_at_the_relay(autojump_clock: Any, capability: Capability) -> None:
    bindings = [
        dict(zip(("subject", "role", "org", "project", "domain"), role, strict=True))
        for role in ROLES
    ]
    holes = []
    async with stage.stage() as theatre:
        await theatre.push(bindings=bindings, revoked={"gone": stage.EPOCH + 1e6})
        for org in ("acme", "globex"):
            theatre.nursery.start_soon(_willing, await theatre.agent(org))
        for place in ASKED:
            for who in IDENTITIES:
                got = await _at_relay(theatre, capability.path, who, place)
                if got != at_customer(who, capability.permission, place):
                    holes.append((who, place, got))
    assert holes == []


async def test_nobody_opens_what_is_the_planes_own(autojump_clock: Any) -> None:
    bindings = [{"subject": "boss", "role": "Admin", "org": "acme"}]
    boss = Identity("boss", "acme", "Admin", "*", "*")
    async with stage.stage() as theatre:
        await theatre.push(bindings=bindings)
        theatre.nursery.start_soon(_willing, await theatre.agent())
        for capability in OTHER_RPCS:
            got = await _at_relay(theatre, capability.path, boss, PLACES_ASKED[0])
            assert (capability.path, got) == (capability.path, "unimplemented")


ISSUER = Issuer("https://x", [Issuer.new_key()[1]], token_s=60, clock=lambda: 0)


def _access() -> Access:
    trust = Trust("", reread_s=1.0, now_s=lambda: 0.0, time_s=lambda: 0.0)
    access = Access("acme", now_s=lambda: 0.0, trust=trust)
    bindings = [
        Binding(subject=subject, role=role, org=org, project=project, domain=domain)
        for subject, role, org, project, domain in ROLES
        if org == "acme"
    ]
    jwks = json.dumps(ISSUER.jwks())
    access.put(AccessRequest(version=1, issuer=ISSUER.url, jwks=jwks, bindings=bindings))
    return access


def _head(capability: Capability, scope: Scope, who: Identity) -> RequestHead:
    proof = embedded_identity(ISSUER.viewer_token(who.subject, "acme"))
    return RequestHead("POST", capability.path, scope, who.subject, proof=proof)


Judge = Callable[[Access, RequestHead, Capability], object]


def _holes(judge: Judge) -> list[tuple[str, Identity, Place]]:
    """Return where the agent's judgement is not the table's, whatever a relay let through."""
    access, holes = _access(), []
    for capability in VIEWER_RPCS:
        for place in ASKED:
            for who in SUBJECTS:
                head = _head(capability, Scope(*place, "c1"), who)
                try:
                    judge(access, head, capability)
                    got = "in"
                except ConnectError as error:
                    got = str(error.code.value)
                expected = at_customer(who, capability.permission, place)
                if place.org != "acme":
                    expected = "permission_denied"  # it serves one org
                if got != expected:
                    holes.append((capability.path, who, place))
    return holes


def test_at_the_agent() -> None:
    assert _holes(Access.check) == []


def _believes(_access: Access, _head: RequestHead, _capability: Capability) -> None:
    """Planted mutant: whatever the relay lets through is right."""


def _any_role(access: Access, head: RequestHead, _capability: Capability) -> None:
    """Planted mutant: viewing is enough for everything."""
    access.check(head, Capability(head.path, "viewer", "view", "A8"))


def _any_project(access: Access, head: RequestHead, capability: Capability) -> None:
    """Planted mutant: a role in one project is one in all of them."""
    scope = Scope(head.scope.org, "p1", head.scope.domain, head.scope.cluster)
    access.check(replace(head, scope=scope), capability)


@pytest.mark.parametrize("mutant", [_believes, _any_role, _any_project])
def test_the_matrix_catches(mutant: Judge) -> None:
    assert _holes(mutant)


async def test_the_relays_texts_do_not_tell_what_there_is(autojump_clock: Any) -> None:
    who = Identity("bob", "globex", "Admin", "*", "*")
    bindings = [{"subject": "bob", "role": "Admin", "org": "globex"}]
    answers = set()
    async with stage.stage() as theatre:
        await theatre.push(bindings=bindings)
        for parts in (("acme", "p1", "c1"), ("absent", "p1", "c1"), ("acme", "x", "no")):
            client, (org, project, cluster) = theatre.viewer(), parts
            path = Scope(org, project, "d", cluster).prefix + VIEWER_RPCS[0].path
            answer = await client.ask("POST", path, b"", _bearer(who))
            answers.add((answer.status_code, await client.rest()))
    assert len(answers) == 1
