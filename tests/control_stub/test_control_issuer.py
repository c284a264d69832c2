"""The token endpoint and the documents that describe the issuer."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest
import trio
from control_cast import EPOCH_S, SECRETS, THUMBPRINT, URL, running, settings
from joserfc import jwk, jwt

from control_stub import directory
from control_stub.client_auth import Buckets, Credentials, basic, hash_secret, verify_secret
from control_stub.settings import Limits

GRANT = {"grant_type": "client_credentials"}


async def _claims(cast: Any, token: str) -> dict[str, Any]:
    keys = jwk.KeySet.import_key_set((await cast.http.get("/.well-known/jwks.json")).json())
    decoded = jwt.decode(token, keys, algorithms=["Ed25519"])
    assert decoded.header["kid"] == keys.keys[0].kid
    return decoded.claims


async def test_viewer_tokens(autojump_clock: Any) -> None:
    async with running() as cast:
        claims = await _claims(cast, await cast.token("alice"))
        assert len(claims.pop("jti")) >= 16
        identity = await _claims(cast, claims.pop("identity"))
        assert identity == {**claims, "aud": "planesplit-agent", "jti": identity["jti"]}
        assert claims == {
            "iss": URL,
            "sub": "alice",
            "aud": "planesplit",
            "org": "acme",
            "iat": int(EPOCH_S),
            "exp": int(EPOCH_S) + 3600,
        }


async def test_agent_tokens(autojump_clock: Any) -> None:
    async with running() as cast:
        claims = await _claims(cast, await cast.token("agent-c1", "tunnel"))
        claims.pop("jti")
        assert claims == {
            "iss": URL,
            "sub": "agent:acme/c1",
            "aud": "planesplit-tunnel",
            "org": "acme",
            "cluster": "c1",
            "cnf": {"x5t#S256": THUMBPRINT},
            "iat": int(EPOCH_S),
            "exp": int(EPOCH_S) + 3600,
        }


@pytest.mark.parametrize("thumbprint", ["", "x", "x" * 44, "=" * 43])
async def test_an_agents_token_is_bound_or_there_is_none(
    autojump_clock: Any, thumbprint: str
) -> None:
    async with running() as cast:
        form = {**GRANT, "scope": "tunnel", "x5t#S256": thumbprint}
        auth = httpx.BasicAuth("agent-c1", SECRETS["agent-c1"])
        response = await cast.http.post("/oauth2/token", data=form, auth=auth)
        assert (response.status_code, response.json()) == (400, {"error": "invalid_request"})


async def test_client_secret_post_and_basic_are_equal(autojump_clock: Any) -> None:
    async with running() as cast:
        form = {**GRANT, "client_id": "alice", "client_secret": SECRETS["alice"]}
        response = await cast.http.post("/oauth2/token", data=form)
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-store"
        assert response.json()["token_type"] == "Bearer"
        assert response.json()["expires_in"] == 3600


def _basic(client_id: str, secret: str) -> dict[str, str]:
    text = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    return {"authorization": f"Basic {text}"}


ALICE = _basic("alice", SECRETS["alice"])
REFUSED = {
    "wrong secret": (GRANT, _basic("alice", "x"), 401, "invalid_client"),
    "unknown client": (GRANT, _basic("mallory", "x"), 401, "invalid_client"),
    "another's secret": (GRANT, _basic("alice", SECRETS["bob"]), 401, "invalid_client"),
    "no credentials": (GRANT, {}, 401, "invalid_client"),
    "bearer": (GRANT, {"authorization": "Bearer x"}, 401, "invalid_client"),
    "not base64": (GRANT, {"authorization": "Basic %%"}, 401, "invalid_client"),
    "no colon": (GRANT, {"authorization": "Basic YWJj"}, 401, "invalid_client"),
    "other grant": ({"grant_type": "password"}, ALICE, 400, "unsupported_grant_type"),
    "no grant": ({}, ALICE, 400, "unsupported_grant_type"),
    "a viewer's tunnel": ({**GRANT, "scope": "tunnel"}, ALICE, 400, "invalid_scope"),
    "an agent's view": (
        {**GRANT, "scope": "all"},
        _basic("agent-c1", SECRETS["agent-c1"]),
        400,
        "invalid_scope",
    ),
    "huge form": ({**GRANT, "x": "y" * 9000}, ALICE, 400, "invalid_request"),
    "repeated field": ({"grant_type": ["client_credentials"] * 2}, ALICE, 400, "invalid_request"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refusals(autojump_clock: Any, name: str) -> None:
    form, headers, status, error = REFUSED[name]
    async with running() as cast:
        response = await cast.http.post("/oauth2/token", data=form, headers=headers)
        assert (response.status_code, response.json()) == (status, {"error": error})
        assert ("www-authenticate" in response.headers) == (status == 401)


async def test_each_client_has_its_own_rate(autojump_clock: Any) -> None:
    config = settings(limits=Limits(token_burst=3, token_rate=1.0))
    async with running(config) as cast:

        async def status(name: str, secret: str) -> int:
            auth = httpx.BasicAuth(name, secret)
            return (await cast.http.post("/oauth2/token", data=GRANT, auth=auth)).status_code

        assert [await status("alice", "guess") for _ in range(4)] == [401, 401, 401, 429]
        assert await status("alice", SECRETS["alice"]) == 429
        assert await status("bob", SECRETS["bob"]) == 200
        await trio.sleep(1)
        assert await status("alice", SECRETS["alice"]) == 200
        assert [await status(f"unknown-{n}", "x") for n in range(4)] == [401, 401, 401, 429]


async def test_documents(autojump_clock: Any) -> None:
    async with running() as cast:
        for path in ("openid-configuration", "oauth-authorization-server"):
            document = (await cast.http.get(f"/.well-known/{path}")).json()
            assert document["issuer"] == URL
            assert document["token_endpoint"] == f"{URL}/oauth2/token"
            assert document["jwks_uri"] == f"{URL}/.well-known/jwks.json"
        [key] = (await cast.http.get("/.well-known/jwks.json")).json()["keys"]
        assert (key["kty"], key["crv"], key["alg"], key["use"]) == (
            "OKP",
            "Ed25519",
            "Ed25519",
            "sig",
        )
        assert "d" not in key


async def test_secrets_are_kept_as_salted_hashes_only(autojump_clock: Any) -> None:
    async with running() as cast:
        dump = await cast.plane._store.call(lambda db: "\n".join(db.iterdump()))
        assert all(secret not in dump for secret in SECRETS.values())
        alice = await cast.plane._store.call(directory.get_app, "alice")
        assert verify_secret(SECRETS["alice"], alice.hash)
        assert hash_secret("x") != hash_secret("x")


async def test_tokens_outlive_a_restart_with_the_same_database(
    autojump_clock: Any, tmp_path: Any
) -> None:
    config = settings(db_file=str(tmp_path / "control.db"))
    async with running(config) as cast:
        token = await cast.token("alice")
    async with running(config) as cast:
        assert (await _claims(cast, token))["sub"] == "alice"


async def test_nothing_secret_reaches_the_journal(autojump_clock: Any) -> None:
    async with running() as cast:
        token = await cast.token("alice")
        await cast.http.post("/oauth2/token", data=GRANT, headers=_basic("mallory\n", "hunter2"))
        text = str(cast.journal)
        assert cast.events("token_issued")
        assert cast.events("token_refused")[0]["client"] == "unknown"
        assert all(word not in text for word in (token, SECRETS["alice"], "hunter2", "mallory"))


def test_basic_credentials_are_form_encoded() -> None:
    header = _basic("a%2Fb", "p%3Aw+d")["authorization"]
    assert basic(header) == Credentials("a/b", "p:w d")
    assert "p:w" not in repr(basic(header))


def test_buckets_refill() -> None:
    time = 0.0
    buckets = Buckets(2.0, 2, lambda: time)
    assert [buckets.take("a"), buckets.take("a"), buckets.take("a")] == [0.0, 0.0, 0.5]
    time = 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0.0, 0.5]
    time = 1000.0
    assert [buckets.take("a") for _ in range(3)] == [0.0, 0.0, 0.5]
