"""Bad callers get a clear error and a counter; a good viewer beside them notices nothing."""

from __future__ import annotations

import socket
import sqlite3
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsRequest

from control_stub.issuer import Issuer
from planesplit.connect_client import END_STREAM, EnvelopeReader, end_stream_error, envelope
from planesplit.harness import Harness
from tunnel.capabilities import ASSIGN, TAIL_LOGS

pytestmark = pytest.mark.integration

HEADERS = {"content-type": "application/connect+proto", "connect-protocol-version": "1"}


@pytest.fixture(autouse=True)
def undisturbed(tenants: Harness) -> Iterator[str]:
    """A viewer that tails all the while; yields its run, of which others want to see."""
    run = tenants.run(exec="for i in $(seq 100); do echo $i; sleep 0.01; done")
    with tenants.tail(run) as lines:
        lines.next()
        yield run
        tenants.assert_delivered(run, lines)


def issuer(tenants: Harness, token_s: int = 600, ago_s: int = 0) -> Issuer:
    """The control plane's own issuer, keys included, with another life or clock."""
    database = Path(tenants.ready.directory) / "control" / "metadata.db"
    with sqlite3.connect(database) as db:
        keys = [jwk for (jwk,) in db.execute("SELECT jwk FROM signing_keys")]
    url = tenants.ready.urls.control
    return Issuer(url, keys, token_s=token_s, clock=lambda: time.time() - ago_s)


def foreign_issuer(tenants: Harness) -> Issuer:
    _, key = Issuer.new_key()
    return Issuer(tenants.ready.urls.control, [key], token_s=600, clock=time.time)


def asked(
    tenants: Harness, run: str, token: str, *, scope: str = "acme/demo/development/c1"
) -> str:
    """Tail with a token at the relay itself; return the error's code, or `ok`."""
    request = TailLogsRequest(attempt=1)
    request.action_id.name = "a0"
    name = request.action_id.run
    name.org, name.project, name.domain, name.name = "acme", "demo", "development", run
    headers = {**HEADERS, "authorization": f"Bearer {token}"} if token else HEADERS
    content = envelope(request.SerializeToString())
    url = f"{tenants.ready.urls.relay}/r/{scope}{TAIL_LOGS}"
    with client(tenants) as http:
        answer = http.post(url, content=content, headers=headers)
    assert answer.status_code == 200, "streaming RPCs fail in their end-stream message"
    for flags, message in EnvelopeReader().feed(answer.content):
        if flags & END_STREAM:
            error = end_stream_error(message)
            return error.code if error else "ok"
    raise AssertionError("no end-stream message")


def client(tenants: Harness) -> httpx.Client:
    context = ssl.create_default_context(cafile=tenants.ready.ca_file)
    return httpx.Client(verify=context, trust_env=False, timeout=10)


def counted(tenants: Harness, reason: str) -> float:
    return tenants.metrics()[f'relay_rejected_total{{reason="{reason}"}}']


TOKENS: dict[str, tuple[str, Callable[[Harness], str]]] = {
    "none": ("no_token", lambda split: ""),
    "garbage": ("bad_token", lambda split: "not.a.token"),
    "huge": ("bad_token", lambda split: "x" * 5000),
    "forged": ("bad_token", lambda split: foreign_issuer(split).viewer_token("demo", "acme")),
    "an agent's": ("bad_token", lambda split: issuer(split).agent_token("acme", "c1")),
    "expired": (
        "expired_token",
        lambda split: issuer(split, token_s=60, ago_s=120).viewer_token("demo", "acme"),
    ),
}


@pytest.mark.parametrize("kind", TOKENS)
def test_bad_tokens(tenants: Harness, undisturbed: str, kind: str) -> None:
    reason, make = TOKENS[kind]
    before = counted(tenants, reason)
    assert asked(tenants, undisturbed, make(tenants)) == "unauthenticated"
    assert counted(tenants, reason) == before + 1


def test_good_tokens(tenants: Harness, undisturbed: str) -> None:
    assert asked(tenants, undisturbed, issuer(tenants).viewer_token("demo", "acme")) == "ok"
    assert asked(tenants, undisturbed, issuer(tenants).viewer_token("reader", "acme")) == "ok"


def test_another_orgs_run_does_not_exist(tenants: Harness, undisturbed: str) -> None:
    outsider = issuer(tenants).viewer_token("outsider", "globex")
    refused = asked(tenants, undisturbed, outsider)
    assert refused in ("permission_denied", "not_found")
    # An id of another scope than the path's is refused by the agent, or there is no agent to ask.
    own_scope = asked(tenants, undisturbed, outsider, scope="globex/demo/development/c1")
    assert own_scope in ("unavailable", "not_found", "permission_denied")
    # A member of acme that claims to be of globex has no role there.
    liar = issuer(tenants).viewer_token("demo", "globex")
    assert asked(tenants, undisturbed, liar) == refused


def test_unknown_runs_scopes_and_calls(tenants: Harness) -> None:
    token = issuer(tenants).viewer_token("demo", "acme")
    assert asked(tenants, "nonesuch", token) == "not_found"
    assert asked(tenants, "x", token, scope="acme/demo/development/c9") == "not_found"
    assert asked(tenants, "x", token, scope="acme/other/development/c1") in (
        "not_found",
        "permission_denied",
        "invalid_argument",
    )
    with client(tenants) as http:
        url = f"{tenants.ready.urls.relay}/r/acme/demo/development/c1{ASSIGN}"
        answer = http.post(url, headers={"authorization": f"Bearer {token}"})
    assert answer.json()["code"] == "unimplemented", "viewers assign no work"


def test_a_reader_may_look_but_not_run(tenants: Harness) -> None:
    url = f"{tenants.ready.urls.control}/flyteidl2.workflow.RunService/CreateRun"
    headers = {
        "authorization": f"Bearer {issuer(tenants).viewer_token('reader', 'acme')}",
        "content-type": "application/json",
    }
    body = {"projectId": {"organization": "acme", "name": "demo", "domain": "development"}}
    with client(tenants) as http:
        answer = http.post(url, json=body, headers=headers)
    assert answer.json()["code"] == "permission_denied"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff" * 200 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /r/a/b/c/d/e.F/G HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
    ids=["binary", "no such path", "smuggling", "huge head"],
)
def test_garbage_http(tenants: Harness, garbage: bytes) -> None:
    port = int(tenants.ready.urls.relay.rpartition(":")[2])
    context = ssl.create_default_context(cafile=tenants.ready.ca_file)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        connection.sendall(garbage)
        assert connection.recv(12).startswith(b"HTTP/1.1 4")


def test_plain_http_to_a_tls_port(tenants: Harness) -> None:
    port = int(tenants.ready.urls.relay.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = raw.recv(100)
    assert not answer.startswith(b"HTTP"), "a TLS alert or nothing"
