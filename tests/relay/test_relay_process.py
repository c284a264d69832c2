"""The relay as a process of its own: real sockets, TLS, signals, configuration errors."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import h11
import pytest
import trio
from stage import ANSWER, TAIL, Client, agent_token, bearer, bound, error_of, message, policy

from planesplit.pki import Authority
from tunnel.errors import TunnelError
from tunnel.hello import Hello
from tunnel.payload import Payload
from tunnel.session import Session
from tunnel.settings import TunnelSettings
from tunnel.tls import client_context, start_tls
from tunnel.websocket import connect_websocket

pytestmark = pytest.mark.integration
FORBIDDEN = ("google.protobuf", "sqlite3", "httpx", "tunnel.messages", "asyncio")


@asynccontextmanager
async def relay(config: str, directory: Path):
    """A relay process and what it announced; it must have left before the block ends."""
    file = directory / "relay.toml"
    file.write_text(config)
    command = [sys.executable, "-m", "relay", "--config", str(file)]
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            start = partial(trio.run_process, command, stdout=-1, stderr=-1, check=False)
            process = await nursery.start(start)
            ready = json.loads(await line(process.stdout))
            yield process, ready
            await process.wait()


async def line(stream: trio.abc.ReceiveStream) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        piece = await stream.receive_some(1)
        assert piece, "the process said nothing"
        data += piece
    return data


async def connect(port: int) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", port)


async def ask(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    client = Client(await connect(port))
    response = await client.ask(method, path, body)
    return response.status_code, await client.rest()


async def test_insecure_from_start_to_sigterm(tmp_path):
    async with relay("insecure = true\n[limits]\ndrain_s = 0.2\n", tmp_path) as (process, ready):
        assert ready["event"] == "ready"
        assert ready["pid"] == process.pid
        assert (await ask(ready["ops_port"], "GET", "/livez"))[0] == 200
        assert (await ask(ready["ops_port"], "GET", "/readyz"))[0] == 503
        pushed = json.dumps(policy()).encode()
        assert (await ask(ready["control_port"], "PUT", "/v1/policy", pushed))[0] == 204
        assert (await ask(ready["ops_port"], "GET", "/readyz"))[0] == 200
        viewer = Client(await connect(ready["viewer_port"]))
        await viewer.send("POST", TAIL, b"x", {"content-type": bearer()["content-type"]})
        while b"relay_exchanges 1\n" not in (await ask(ready["ops_port"], "GET", "/metrics"))[1]:
            await trio.lowlevel.checkpoint()
        process.send_signal(signal.SIGTERM)
        await viewer.response()
        assert error_of(await viewer.rest())["code"] == "unavailable"
        assert await process.wait() == 0


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("pki") / "ca"
    authority = Authority(directory)
    authority.server("relay")
    authority.agent("acme", "c1")
    authority.control()
    return directory


def secure(pki: Path) -> str:
    files = {"cert_file": "relay.pem", "key_file": "relay.key", "ca_file": "ca.pem"}
    return "[tls]\n" + "".join(f'{key} = "{pki / name}"\n' for key, name in files.items())


async def secured(port: int, pki: Path, name: str | None) -> trio.abc.Stream:
    files = (str(pki / f"{name}.pem"), str(pki / f"{name}.key")) if name else (None, None)
    context = client_context(str(pki / "ca.pem"), *files)
    return await start_tls(await connect(port), context, server_hostname="localhost")


def times() -> dict[str, int]:
    return {"iat": int(time.time()), "exp": int(time.time()) + 60}


async def dial(port: int, pki: Path) -> Session:
    stream = await secured(port, pki, "agent-acme-c1")
    transport = await connect_websocket(stream, host="localhost")
    token = Payload(agent_token(**times(), **bound(pki)).encode())
    hello = Hello("acme", "c1", "agent-1")
    return Session(transport, hello=hello, settings=TunnelSettings(), token=token)


async def tail_one_line(stream) -> None:
    stream.head(ANSWER)
    await stream.send(message(b"line\n"))
    stream.mark(b"1")
    stream.end()


async def test_over_tls_from_agent_to_viewer(tmp_path, pki):
    async with relay(secure(pki), tmp_path) as (process, ready):
        control = Client(await secured(ready["control_port"], pki, "control-client"))
        answer = await control.ask("PUT", "/v1/policy", json.dumps(policy()).encode())
        assert answer.status_code == 204
        session = await dial(ready["agent_port"], pki)
        async with trio.open_nursery() as nursery:
            await nursery.start(session.serve, tail_one_line)
            viewer = Client(await secured(ready["viewer_port"], pki, None))
            await viewer.ask("POST", TAIL, b"x", bearer(**times()))
            assert await viewer.rest() == message(b"line\n")
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
            await viewer.stream.aclose()
        # Who they are is in the journal, what they said is not.
        assert b"line" not in (process_errors := await rest(process.stderr))
        assert b"tunnel_opened" in process_errors


async def rest(stream: trio.abc.ReceiveStream | None) -> bytes:
    return b"" if stream is None else b"".join([piece async for piece in stream])


async def is_heard(port: int, pki: Path, name: str | None) -> bool:
    try:
        client = Client(await secured(port, pki, name))
        await client.ask("PUT", "/v1/policy", b"{}")
    except (TunnelError, trio.BrokenResourceError, h11.RemoteProtocolError):
        return False
    return True


async def test_a_wrong_certificate_gets_nowhere(tmp_path, pki):
    async with relay(secure(pki), tmp_path) as (process, ready):
        assert not await is_heard(ready["agent_port"], pki, None)
        assert not await is_heard(ready["control_port"], pki, None)
        assert not await is_heard(ready["control_port"], pki, "agent-acme-c1")
        assert await is_heard(ready["control_port"], pki, "control-client")
        process.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("", "[tls]"),
        ('insecure = true\nhost = "0.0.0.0"\n', "loopback"),
        ("insecure = true\nviewer_prt = 1\n", "viewer_prt"),
        ("insecure = true\n[limits]\nhold_s = 0.0\n", "limits.hold_s"),
        ('[tls]\ncert_file = "/none"\nkey_file = "/none"\nca_file = "/none"\n', "[tls]"),
    ],
)
async def test_a_wrong_configuration_is_one_clear_line(tmp_path, config, told):
    file = tmp_path / "relay.toml"
    file.write_text(config)
    command = [sys.executable, "-m", "relay", "--config", str(file)]
    with trio.fail_after(30):
        done = await trio.run_process(command, capture_stderr=True, check=False)
    assert done.returncode == 2
    assert done.stderr.decode().count("\n") == 1
    assert told in done.stderr.decode()


async def test_what_a_relay_imports(tmp_path):
    """Nothing that persists, dials or decodes; and verifying a token imports nothing more."""
    program = """
import json, sys, time, relay.server
from joserfc import jwt
from joserfc.jwk import OKPKey
from relay.auth import Authenticator
from relay.policy import Policy
from relay.settings import RelaySettings
from stage import ISSUER, KEY, policy, token
claims = {"iss": ISSUER, "sub": "ann", "aud": "planesplit", "org": "acme"}
signed = token({**claims, "iat": int(time.time()), "exp": int(time.time()) + 60}, KEY)
before = set(sys.modules)
known = Policy.from_json(json.dumps(policy()).encode())
Authenticator(RelaySettings(), insecure=False).viewer(known, "Bearer " + signed, time.time())
print(json.dumps([sorted(before), sorted(set(sys.modules) - before)]))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = await trio.run_process(
        [sys.executable, "-c", program], capture_stdout=True, env=environment
    )
    before, after = json.loads(done.stdout)
    assert after == []
    assert not [name for name in before if name.startswith(FORBIDDEN)]
