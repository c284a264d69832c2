"""What a token allowed ends with it, on real processes; when the last byte came is measured."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import pytest
import trio
from test_split_access import issuer
from test_split_revoke import FAST, WITHIN_S

from planesplit.connect_client import ConnectError
from planesplit.harness import Harness
from planesplit.viewer import open_viewer
from relay.settings import RelaySettings
from tunnel.errors import Code
from tunnel.events import Closed
from tunnel.hello import Hello
from tunnel.payload import Payload
from tunnel.peer import file_thumbprint
from tunnel.session import Session
from tunnel.settings import TunnelSettings
from tunnel.stream import Stream
from tunnel.tls import client_context, start_tls
from tunnel.verifier import expires_at
from tunnel.websocket import connect_websocket

pytestmark = pytest.mark.integration

LIFE_S = 3
LEEWAY_S = RelaySettings().clock_skew_s
LATE_S = 1.0  # for whoever reads: a machine that stalls delays what was sent in time


async def test_a_tail_ends_with_its_token(tenants: Harness) -> None:
    came_at, told = 0.0, list[ConnectError]()
    async with open_viewer(tenants.ready) as viewer:
        run = await viewer.run(FAST, cluster="c1")
        await viewer.wait(run, until=lambda status: status.phase == "RUNNING")
        token = issuer(tenants, token_s=LIFE_S).viewer_token("demo", "acme")
        async with open_viewer(tenants.ready) as reader:

            async def short() -> str:
                return token

            reader.client._token = short
            try:
                with trio.fail_after(WITHIN_S):
                    async with reader.tail(run, on_retry=told.append) as lines:
                        async for _ in lines:
                            came_at = time.time()
            except ConnectError as error:
                told.append(error)
        await viewer.abort(run)
    over_s = came_at - expires_at(token)
    print(f"viewer's token: last line {over_s * 1000:.0f} ms after its end, leeway {LEEWAY_S} s")
    assert str(told[0]) == "unauthenticated: the token has expired"
    assert told[-1].code == "unauthenticated", "it has no other token"
    assert len(told) == 2
    assert 0 < over_s <= LEEWAY_S + LATE_S


async def test_a_tunnel_ends_with_its_token(tenants: Harness) -> None:
    directory = Path(tenants.ready.directory)
    pki = directory / "pki"
    files = str(pki / "ca.pem"), str(pki / "agent-acme-c2.pem"), str(pki / "agent-acme-c2.key")
    by = issuer(tenants, token_s=LIFE_S)
    token = by.agent_token("acme", "c2", file_thumbprint(Path(files[1])))
    url = tomllib.loads((directory / "config" / "compute_agent.toml").read_text())["relay_url"]
    port = int(url.rpartition(":")[2].partition("/")[0])
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    tls = await start_tls(stream, client_context(*files), server_hostname="localhost")
    transport = await connect_websocket(tls, host="localhost")
    hello = Hello("acme", "c2", "test", slot=2)
    bearer = Payload(token.encode())
    with trio.fail_after(WITHIN_S):
        session = Session(transport, hello=hello, settings=TunnelSettings(), token=bearer)
        closed = await session.serve(_nothing)
    over_s = time.time() - expires_at(token)
    print(f"agent's token: its tunnel ended {over_s * 1000:.0f} ms after its end")
    assert closed == Closed(Code.AUTH_EXPIRED, by_peer=True)
    assert -LATE_S <= over_s <= LEEWAY_S


async def _nothing(_stream: Stream) -> None:
    await trio.sleep_forever()
