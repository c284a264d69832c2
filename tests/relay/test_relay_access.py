"""Who gets in, and what the others are told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OctKey, OKPKey
from stage import (
    EPOCH,
    KEY,
    STRANGE_KEY,
    TAIL,
    bearer,
    error_of,
    policy,
    stage,
    token,
    viewer_token,
)

from relay.auth import Authenticator
from relay.connect_errors import ConnectError
from relay.policy import Policy, PolicyError
from relay.settings import RelaySettings
from tunnel.capabilities import ASSIGN, REPORT

TAIL_RPC = TAIL.removeprefix("/r/acme/p/d/c1")
SYMMETRIC = OctKey.import_key("a shared secret of enough length to be used", {"kid": "k1"})


def claims(**changes: object) -> dict[str, object]:
    times = {"iat": int(EPOCH), "exp": int(EPOCH) + 600}
    base = {"iss": "https://control.example", "sub": "ann", "aud": "planesplit", "org": "acme"}
    return {**base, **times, **changes}


BAD_TOKENS = {
    "none": (lambda: "", "no_token"),
    "not a token": (lambda: "Bearer x.y.z", "bad_token"),
    "other scheme": (lambda: f"Basic {viewer_token()}", "no_token"),
    "huge": (lambda: "Bearer " + "a" * 5_000, "bad_token"),
    "expired": (lambda: f"Bearer {viewer_token(exp=int(EPOCH) - 6)}", "expired_token"),
    "without expiry": (lambda: f"Bearer {viewer_token(exp=None)}", "bad_token"),
    "of tomorrow": (lambda: f"Bearer {viewer_token(nbf=int(EPOCH) + 60)}", "bad_token"),
    "issued in the future": (lambda: f"Bearer {viewer_token(iat=int(EPOCH) + 60)}", "bad_token"),
    "other issuer": (lambda: f"Bearer {viewer_token(iss='https://evil.example')}", "bad_token"),
    "an agent's": (lambda: f"Bearer {viewer_token(aud='planesplit-tunnel')}", "bad_token"),
    "other key": (lambda: f"Bearer {viewer_token(key=STRANGE_KEY)}", "bad_token"),
    "without org": (lambda: f"Bearer {viewer_token(org=None)}", "bad_token"),
    "odd subject": (lambda: f"Bearer {viewer_token(sub='a b')}", "bad_token"),
    "symmetric": (lambda: f"Bearer {token(claims(), SYMMETRIC, 'HS256')}", "bad_token"),
    "unsigned": (lambda: "Bearer eyJhbGciOiJub25lIiwia2lkIjoiazEifQ.e30.", "bad_token"),
}


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_a_token_that_is_not_good(name, autojump_clock):
    make, reason = BAD_TOKENS[name]
    async with stage() as s:
        headers = {**bearer(), "authorization": make()}
        client = s.viewer()
        response = await client.ask("POST", TAIL, b"x", headers)
        assert response.status_code == 200  # a streaming call learns it from its end-stream
        assert error_of(await client.rest())["code"] == "unauthenticated"
        assert s.count(reason) == 1


async def test_a_unary_caller_learns_it_from_the_status(autojump_clock):
    async with stage() as s:
        client = s.viewer()
        headers = {"content-type": "application/json"}
        response = await client.ask("POST", TAIL, b"x", headers)
        assert response.status_code == 401
        assert dict(response.headers)[b"www-authenticate"] == b"Bearer"
        assert json.loads(await client.rest())["code"] == "unauthenticated"


@given(st.text(alphabet=st.characters(codec="latin-1")) | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*"))
def test_any_authorization_is_judged_without_a_crash(text):
    authenticator = Authenticator(RelaySettings(), insecure=False)
    known = Policy.from_json(json.dumps(policy()).encode())
    with pytest.raises(ConnectError):
        authenticator.viewer(known, f"Bearer {text}", EPOCH)


DENIED = {
    "no right in the organisation": ("eve", {"org": "acme"}, "/r/acme/p/d/c1", "permission_denied"),
    "the token's organisation": ("eve", {"org": "globex"}, "/r/acme/p/d/c1", "permission_denied"),
    "an unknown organisation": ("ann", {}, "/r/nowhere/p/d/c1", "permission_denied"),
    "an unknown subject": ("nobody", {}, "/r/acme/p/d/c1", "permission_denied"),
    "another project": ("bob", {}, "/r/acme/p/d/c1", "permission_denied"),
    "no project where one is bound": ("bob", {}, "/r/acme/-/-/c1", "permission_denied"),
    "an unknown cluster": ("ann", {}, "/r/acme/p/d/c9", "not_found"),
    "a disabled cluster": ("ann", {}, "/r/acme/p/d/off", "not_found"),
}


@pytest.mark.parametrize("name", DENIED)
async def test_denied(name, autojump_clock):
    subject, changes, prefix, code = DENIED[name]
    async with stage() as s:
        agents = [await s.agent(), await s.agent("globex", "c1")]
        client = s.viewer()
        await client.ask("POST", prefix + TAIL_RPC, b"x", bearer(subject, **changes))
        assert error_of(await client.rest())["code"] == code
        assert all(a.opened.statistics().current_buffer_used == 0 for a in agents)


async def test_what_does_not_exist_looks_like_what_is_forbidden(autojump_clock):
    async with stage() as s:
        told = set()
        for prefix in ("/r/globex/p/d/c1", "/r/nowhere/p/d/c1", "/r/globex/p/d/c9"):
            client = s.viewer()
            await client.ask("POST", prefix + TAIL_RPC, b"x", bearer("ann"))
            told.add(await client.rest())
        assert len(told) == 1


@pytest.mark.parametrize(
    ("method", "path", "code", "reason"),
    [
        ("POST", "/r/acme/p/d/c1/other.v1.Service/Call", "unimplemented", "unknown_rpc"),
        ("POST", f"/r/acme/p/d/c1{ASSIGN}", "unimplemented", "unknown_rpc"),
        ("POST", f"/r/acme/p/d/c1{REPORT}", "unimplemented", "unknown_rpc"),
        ("PUT", TAIL, "unimplemented", "method"),
        ("POST", "/", "not_found", "not_found"),
        ("POST", TAIL + "?x=1", "not_found", "not_found"),
        ("POST", TAIL.replace("acme", "%61cme"), "not_found", "not_found"),
        ("POST", TAIL.replace("/p/d", "/p/../d"), "not_found", "not_found"),
    ],
)  # fmt: skip
async def test_what_is_not_served(method, path, code, reason, autojump_clock):
    async with stage() as s:
        client = s.viewer()
        await client.ask(method, path, b"x", bearer())
        assert error_of(await client.rest())["code"] == code
        assert s.count(reason) == 1


async def test_a_repeated_header_is_refused(autojump_clock):
    async with stage() as s:
        client = s.viewer()
        head = f"POST {TAIL} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n"
        fields = {**bearer(), "planesplit-lines": "1", "Planesplit-Lines": "2"}
        head += "".join(f"{n}: {v}\r\n" for n, v in fields.items())
        await client.stream.send_all(head.encode() + b"\r\n")
        assert b"invalid_argument" in await client.stream.receive_some()


async def test_nobody_is_served_before_the_first_policy(autojump_clock):
    async with stage(pushed=False) as s:
        client = s.viewer()
        await client.ask("POST", TAIL, b"x", bearer())
        assert error_of(await client.rest())["code"] == "unavailable"
        agent = s.dial()
        await agent.run()
        assert agent.closed.code.name == "NOT_READY"
        assert s.count("not_ready") == 2


async def test_insecure_is_the_demo_subject(autojump_clock):
    async with stage(insecure=True) as s:
        agent = await s.agent(bearer="anything", uris=())
        client = s.viewer()
        await client.send("POST", TAIL, b"x", {"content-type": bearer()["content-type"]})
        assert (await agent.stream()).request.viewer == "demo"


@pytest.mark.parametrize("change", [{"revoked": {"ann": EPOCH + 1}}, {"bindings": []}])
async def test_a_withdrawn_right_ends_a_running_tail_at_once(change, autojump_clock):
    async with stage() as s:
        agent = await s.agent()
        client = await s.tail()
        stream = await agent.stream()
        await s.push(**change)
        await client.response()
        assert error_of(await client.rest())["code"] == "permission_denied"
        await s.settled()
        assert stream.reset_code is not None
        assert s.count("revoked") == 1


async def test_a_revoked_token_is_refused(autojump_clock):
    async with stage() as s:
        await s.push(revoked={"ann": EPOCH + 1})
        client = s.viewer()
        await client.ask("POST", TAIL, b"x", bearer())
        error = error_of(await client.rest())
        assert error["code"] == "unauthenticated"
        assert "revoked" in error["message"]


PRIVATE = KEY.as_dict(private=True)
SECP = {"kty": "EC", "crv": "P-256", "x": "a", "y": "b", "kid": "k1"}


@pytest.mark.parametrize(
    "change",
    [
        {"version": "one"},
        {"issuer": None},
        {"jwks": {"keys": [SECP]}},
        {"jwks": {"keys": [{**KEY.as_dict(private=False), "x": "???"}]}},
        {"jwks": {"keys": [KEY.as_dict(private=False)] * 17}},
        {"jwks": []},
        {"bindings": [{"subject": "a", "role": "King", "org": "acme"}]},
        {"bindings": [{"subject": "a", "role": "Admin", "org": "*"}]},
        {"bindings": [{"role": "Admin", "org": "acme"}]},
        {"clusters": [{"org": "acme"}]},
        {"revoked": []},
        {"revoked": {"ann": "never"}},
    ],
)
def test_a_policy_of_another_shape_names_the_field(change):
    with pytest.raises(PolicyError, match=f"'{next(iter(change))}'"):
        Policy.from_json(json.dumps({**policy(), **change}).encode())


def test_a_pushed_private_key_is_not_kept():
    pushed = {**policy(), "jwks": {"keys": [PRIVATE]}}
    kept = Policy.from_json(json.dumps(pushed).encode()).keys["k1"]
    assert isinstance(kept, OKPKey)
    assert not kept.is_private
