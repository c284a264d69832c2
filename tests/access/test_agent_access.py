"""The customer's own check: roles as pushed, tokens without a relay, and a relay that lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from agent_cast import NOW_S, access_of, new, new_issuer, push
from connectrpc.errors import ConnectError
from fakes import SCOPE, World
from hypothesis import given
from hypothesis import strategies as st

from compute_agent.access import Access, Gate
from tunnel.exchange import Scope
from tunnel.messages.planesplit_v1_pb2 import Binding


def _code(call: Callable[[], object]) -> str:
    try:
        call()
    except ConnectError as error:
        return error.code.value
    return "ok"


# subject, project, domain -> permissions, written down by hand
HELD = {
    ("admin", "p1", "d1"): {"view", "run", "manage"},
    ("admin", "-", "-"): {"view", "run", "manage"},
    ("dev", "p1", "d1"): {"view", "run"},
    ("dev", "p1", "d2"): {"view", "run"},
    ("dev", "p2", "d1"): set(),
    ("dev", "-", "d1"): set(),
    ("dev", "-", "-"): set(),
    ("vic", "p1", "d1"): {"view"},
    ("vic", "p1", "d2"): set(),
    ("vic", "-", "d1"): set(),
    ("ops", "p2", "d1"): {"view"},
    ("ops", "-", "d1"): {"view"},
    ("ops", "-", "-"): set(),
    ("nobody", "p1", "d1"): set(),
    ("control", "p1", "d1"): set(),
    ("agent", "p1", "d1"): set(),
}


@pytest.mark.parametrize("case", HELD, ids=":".join)
def test_roles_hold_where_they_were_given(case: tuple[str, str, str]) -> None:
    subject, project, domain = case
    access = access_of()
    for permission in ("view", "run", "manage", "assign", "report"):
        got = access.permits(subject, "acme", project, domain, permission)
        assert (permission, got) == (permission, permission in HELD[case])
        assert not access.permits(subject, "globex", project, domain, permission)


def test_nothing_is_known_before_the_first_push() -> None:
    access = new()
    assert _code(lambda: access.permits("admin", "acme", "p1", "d1", "view")) == "unavailable"
    assert _code(lambda: access.caller("Bearer x")) == "unavailable"
    assert access.version == 0


def test_versions_only_rise() -> None:
    issuer = new_issuer()
    access = access_of(issuer, version=5)
    assert access.put(push(issuer, version=4, bindings=())) == 5
    assert access.put(push(issuer, version=5, bindings=())) == 5
    assert access.permits("admin", "acme", "p1", "d1", "manage")
    assert access.put(push(issuer, version=6, bindings=())) == 6
    assert not access.permits("admin", "acme", "p1", "d1", "view")


@given(st.permutations(range(1, 7)), st.lists(st.integers(1, 6), max_size=4))
def test_pushes_in_any_order_end_with_the_newest(order: list[int], again: list[int]) -> None:
    issuer = new_issuer()
    access = new()
    for version in (*order, *again):
        subject = f"s{version}"
        held = Binding(subject=subject, role="Viewer", org="acme", project="*", domain="*")
        access.put(push(issuer, version=version, bindings=[held]))
    for version in range(1, 7):
        assert access.permits(f"s{version}", "acme", "p", "d", "view") == (version == 6)


@pytest.mark.parametrize(
    "changes",
    [
        {"bindings": [Binding(subject="eve", role="Admin", org="globex", project="*")]},
        {"bindings": [Binding(subject="eve", role="Root", org="acme", project="*")]},
        {"jwks": "no json"},
        {"jwks": "[]"},
        {"jwks": json.dumps({"keys": [{"kty": "oct", "k": "AAAA", "kid": "1"}]})},
        {"jwks": json.dumps({"keys": [{}] * 17})},
    ],
)
def test_malformed_pushes_change_nothing(changes: dict[str, Any]) -> None:
    access = access_of(version=1)
    with pytest.raises(ValueError, match=r"org|jwks"):
        access.put(push(new_issuer(), version=2, **changes))
    assert access.version == 1
    assert access.permits("admin", "acme", "p1", "d1", "view")


def test_tokens_are_verified_without_a_relay() -> None:
    issuer, clock = new_issuer(token_s=60), SimpleNamespace(now=NOW_S)
    access = access_of(issuer, now_s=lambda: clock.now)
    good = issuer.viewer_token("vic", "acme")
    assert access.caller(f"Bearer {good}") == "vic"
    assert access.caller(f"bearer {good}") == "vic"
    head, body, signature = good.split(".")
    refused = [
        "",
        "Bearer ",
        good,
        f"Basic {good}",
        f"Bearer {head}.{body}.{signature[:-4]}AAAA",
        f"Bearer {head}.{body}.",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        f"Bearer {issuer.agent_token('acme', 'c1')}",
        f"Bearer {new_issuer().viewer_token('vic', 'acme')}",
        "Bearer " + "x" * 5000,
        "Bearer \u00e4",
    ]
    for authorization in refused:
        assert _code(lambda value=authorization: access.caller(value)) == "unauthenticated"
    assert _code(lambda: access.caller(f"Bearer {issuer.viewer_token('vic', 'globex')}")) == (
        "permission_denied"
    )
    clock.now += 70
    assert _code(lambda: access.caller(f"Bearer {good}")) == "unauthenticated"


def test_revoked_tokens_are_refused_and_later_ones_count() -> None:
    issuer = new_issuer()
    token = issuer.viewer_token("vic", "acme")
    access = access_of(issuer, revoked={"vic": int(NOW_S) + 1})
    assert _code(lambda: access.caller(f"Bearer {token}")) == "unauthenticated"
    access.put(push(issuer, version=2, revoked={"vic": int(NOW_S)}))
    assert access.caller(f"Bearer {token}") == "vic"


def test_insecure_is_one_demo_caller() -> None:
    access = Access("acme", now_s=lambda: NOW_S, trust=None)
    access.put(push(new_issuer()))
    assert access.caller("") == "demo"


async def _tail_as(world: World, subject: str, scope: Scope = SCOPE) -> bytes:
    world.relay.roles = {"alice": "Admin"}
    call = await world.relay.tail(scope=scope, subject=subject)
    await call.finish()
    return call.error


async def test_the_agent_refuses_with_a_proper_error(autojump_clock: Any, tmp_path: Any) -> None:
    async with trio.open_nursery() as nursery:
        world = World(tmp_path, nursery)
        assert b"permission_denied" in await _tail_as(world, "mallory")
        assert b"not_found" in await _tail_as(world, "alice")  # let through; there is no such pod
        nursery.cancel_scope.cancel()


async def test_an_agent_that_was_told_nothing_is_unavailable(
    autojump_clock: Any, tmp_path: Any
) -> None:
    async with trio.open_nursery() as nursery:
        world = World(tmp_path, nursery)
        world.relay.roles = {}
        call = await world.relay.tail()
        began = trio.current_time()
        await call.finish()
        assert b"unavailable" in call.error
        assert trio.current_time() - began == pytest.approx(world.settings.access_wait_s, abs=0.5)
        nursery.cancel_scope.cancel()


async def test_a_tail_that_is_resumed_waits_for_the_roles(
    autojump_clock: Any, tmp_path: Any
) -> None:
    async with trio.open_nursery() as nursery:
        world = World(tmp_path, nursery)
        world.relay.roles = {}
        call = await world.relay.tail()
        await trio.sleep(1)
        world.relay.roles = {"alice": "Viewer"}
        pushed = await world.relay.push(world.relay.sessions[-1])
        assert pushed.status == 200
        await call.finish()
        assert b"not_found" in call.error
        nursery.cancel_scope.cancel()


def test_the_gate_is_a_metadata_interceptor() -> None:
    """Only those are asked before a body is read."""
    from connectrpc.interceptor import MetadataInterceptor, UnaryInterceptor

    gate = Gate(access_of(), 0.0)
    assert isinstance(gate, MetadataInterceptor)
    assert not isinstance(gate, UnaryInterceptor)
