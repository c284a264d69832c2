"""Agents and viewers are shut out while they are at it; when the last byte came is measured."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import trio
from test_split_access import issuer

from planesplit.administration import Administration, open_administration
from planesplit.connect_client import ConnectError
from planesplit.harness import Harness
from planesplit.ready import Credentials, Ready
from planesplit.viewer import open_viewer
from planesplit.workloads import container
from tunnel.errors import Code
from tunnel.events import Closed
from tunnel.hello import Hello
from tunnel.payload import Payload
from tunnel.peer import file_thumbprint
from tunnel.session import Session
from tunnel.settings import TunnelSettings
from tunnel.stream import Stream
from tunnel.tls import client_context, start_tls
from tunnel.websocket import connect_websocket

pytestmark = pytest.mark.integration

LAST_BYTE_S = 1.0
WITHIN_S = 30.0
FAST = container(exec="while true; do echo line; sleep 0.005; done")


@asynccontextmanager
async def tailing(ready: Ready, cluster: str, **options: float) -> AsyncIterator[list[float]]:
    """Tail a run of many lines a second; yields when each came, and the end as the last one."""
    came: list[float] = []

    async def tail(run: str) -> None:
        async with open_viewer(ready) as viewer, viewer.tail(run, **options) as lines:
            try:
                async for _ in lines:
                    came.append(time.monotonic())  # noqa: PERF401 - seen from outside meanwhile
            except ConnectError as error:
                told.append(error.code)

    told: list[str] = []
    async with open_viewer(replace(ready, credentials=_demo(ready))) as demo:
        run = await demo.run(FAST, cluster=cluster)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tail, run)
            with trio.fail_after(WITHIN_S):
                while len(came) < 20:
                    await trio.sleep(0.01)
            yield came
            nursery.cancel_scope.cancel()
        await demo.abort(run)


def _demo(ready: Ready) -> Credentials:
    return Credentials("demo", str(Path(ready.directory) / "secrets" / "demo"))


async def last_byte_s(came: list[float], revoked_at: float) -> float:
    """Wait until nothing has come for a while; return how long after it the last byte came."""
    await trio.sleep(2 * LAST_BYTE_S)
    assert time.monotonic() - came[-1] > LAST_BYTE_S, "lines still come"
    return max(0.0, came[-1] - revoked_at)


async def online(administration: Administration, cluster: str, *, wanted: bool = True) -> None:
    with trio.fail_after(WITHIN_S):
        while True:
            states = {state.cluster: state for state in await administration.clusters()}
            if (states[cluster].tunnel == "ONLINE") is wanted:
                return
            await trio.sleep(0.05)


async def dial(split: Harness, cluster: str, token: str) -> Closed | None:
    """Dial the relay as an agent, with its certificate; None if the tunnel opens."""
    pki = Path(split.ready.directory) / "pki"
    name = f"agent-acme-{cluster}"
    files = str(pki / "ca.pem"), str(pki / f"{name}.pem"), str(pki / f"{name}.key")
    config = Path(split.ready.directory) / "config" / "compute_agent.toml"
    url = tomllib.loads(config.read_text())["relay_url"]
    port = int(url.rpartition(":")[2].partition("/")[0])
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    tls = await start_tls(stream, client_context(*files), server_hostname="localhost")
    transport = await connect_websocket(tls, host="localhost")
    hello = Hello("acme", cluster, "test", slot=1)
    bearer = Payload(token.encode())
    session = Session(transport, hello=hello, settings=TunnelSettings(), token=bearer)
    closed: list[Closed] = []

    async def serve(*, task_status: trio.TaskStatus[Session] = trio.TASK_STATUS_IGNORED) -> None:
        closed.append(await session.serve(_nothing, task_status=task_status))

    with trio.fail_after(WITHIN_S):
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(serve)
            except RuntimeError:  # it ended before it opened
                return closed[0]
            nursery.cancel_scope.cancel()
    return None


async def _nothing(_stream: Stream) -> None:
    await trio.sleep_forever()


async def test_a_revoked_agent_is_out_at_once_and_stays_out(tenants: Harness) -> None:
    thumbprint = file_thumbprint(Path(tenants.ready.directory) / "pki" / "agent-acme-c2.pem")
    async with open_administration(tenants.ready) as administration:
        await online(administration, "c2")
        agent = administration.agent("c2")
        async with tailing(tenants.ready, "c2", retry_for_s=0.0) as came:
            since = tenants.journal_count("compute_agent@c2")
            revoked_at = time.monotonic()
            await administration.revoke(agent, hold=True)
            took_s = await last_byte_s(came, revoked_at)
            print(f"agent revoked: last byte after {took_s * 1000:.0f} ms")
            assert took_s <= LAST_BYTE_S
        lost = await trio.to_thread.run_sync(
            lambda: tenants.seen("tunnel_lost", "compute_agent@c2", since=since)
        )
        assert lost["code"] == "REVOKED"
        # Neither what it has nor a token made later, with the right certificate, lets it in.
        fresh = issuer(tenants).agent_token("acme", "c2", thumbprint)
        refused = await dial(tenants, "c2", fresh)
        assert refused is not None
        assert refused.code is Code.REVOKED
        await administration.revoke(agent, release=True)
        await online(administration, "c2")


async def test_a_stolen_token_is_of_no_use_without_the_key(tenants: Harness) -> None:
    directory = Path(tenants.ready.directory)
    stolen = (directory / "clusters" / "c1" / "agent" / "token").read_text().strip()
    # The thief is another agent of the same authority.
    refused = await dial(tenants, "c2", stolen)
    assert refused is not None
    assert refused.code is Code.AUTH_REFUSED
    certificates = (directory / "pki" / f"agent-acme-{name}.pem" for name in ("c1", "c2"))
    theirs, ours = map(file_thumbprint, certificates)
    other = issuer(tenants).agent_token("acme", "c2", theirs)
    refused = await dial(tenants, "c2", other)
    assert refused is not None
    assert refused.code is Code.AUTH_REFUSED
    mine = issuer(tenants).agent_token("acme", "c2", ours)
    assert await dial(tenants, "c2", mine) is None


async def test_a_revoked_viewer_sees_nothing_more(tenants: Harness) -> None:
    reader = Credentials("reader", str(Path(tenants.ready.directory) / "secrets" / "reader"))
    ready = replace(tenants.ready, credentials=reader)
    async with open_administration(tenants.ready) as administration:
        async with tailing(ready, "c1", retry_for_s=0.0) as came:
            revoked_at = time.monotonic()
            await administration.revoke("reader", hold=True)
            took_s = await last_byte_s(came, revoked_at)
            print(f"viewer revoked: last byte after {took_s * 1000:.0f} ms")
            assert took_s <= LAST_BYTE_S
        context = ssl.create_default_context(cafile=tenants.ready.ca_file)
        async with httpx.AsyncClient(verify=context, trust_env=False) as http:
            secret = Path(reader.client_secret_file).read_text().strip()
            form = {"grant_type": "client_credentials"}
            url = f"{tenants.ready.urls.control}/oauth2/token"
            answer = await http.post(url, data=form, auth=("reader", secret))
            assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
            await administration.revoke("reader", release=True)
            await trio.sleep(1.1)  # tokens have whole seconds
            answer = await http.post(url, data=form, auth=("reader", secret))
            assert answer.status_code == 200


def test_the_control_planes_certificate_is_shut_out(tenants: Harness) -> None:
    config = Path(tenants.ready.directory) / "config" / "control_stub.toml"
    relay = tomllib.loads(config.read_text())["relay"]
    stolen = ssl.create_default_context(cafile=tenants.ready.ca_file)
    stolen.load_cert_chain(relay["cert_file"], relay["key_file"])
    with httpx.Client(base_url=relay["control_url"], verify=stolen, trust_env=False) as thief:
        assert thief.get("/v1/tunnels").status_code == 200
        command = [sys.executable, "-m", "planesplit", "revoke", "control"]
        command += ["--ready-file", tenants.ready.planesplit_ready]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as asked:
            until, shut_out = time.monotonic() + WITHIN_S, False
            while not shut_out and time.monotonic() < until:
                try:
                    thief.get("/v1/tunnels")
                except httpx.TransportError:
                    shut_out = True
            _, said = asked.communicate(timeout=60)
        assert "refuses the one before" in said
        assert shut_out
        with pytest.raises(httpx.TransportError):
            thief.get("/v1/tunnels")
    run = tenants.run(exec="echo by the new certificate")
    tenants.assert_delivered(run)


def test_the_commands(tenants: Harness) -> None:
    def planesplit(*words: str) -> str:
        command = [sys.executable, "-m", "planesplit", *words]
        file = ["--ready-file", tenants.ready.planesplit_ready]
        done = subprocess.run([*command, *file], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stderr

    since = tenants.journal_count("compute_agent@c2")
    assert "agent:acme/c2 is shut out" in planesplit("revoke", "agent", "--cluster", "c2")
    assert tenants.seen("tunnel_lost", "compute_agent@c2", since=since)["code"] == "REVOKED"
    assert "may fetch tokens again" in planesplit("revoke", "agent", "--cluster", "c2", "--undo")
    tenants.seen("tunnel_open", "compute_agent@c2", since=since)
    assert "reader is shut out" in planesplit("revoke", "viewer", "reader")
    assert "may fetch tokens again" in planesplit("revoke", "viewer", "reader", "--undo")
    assert "every token of reader is void" in planesplit("revoke", "reader")
