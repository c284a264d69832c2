"""What is measured: how each relay is started and its exchanges are opened."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from planesplit.measure.lab import Helper, Lab, MeasureError
from planesplit.measure.rig import Rig
from planesplit.split.plane import PlaneProcess
from tunnel.capabilities import ASSIGN, TAIL_LOGS
from tunnel.exchange import Scope

SCOPE = Scope("acme", "flytesnacks", "development", "c1")
STREAMING = "application/connect+proto"
PUSH_S = 10.0
EMPTY_MESSAGE = "\0\0\0\0\0"
KEEPALIVE = """\
[limits]
keepalive_s = 600.0  # a subject is silent while the others have their turn
"""
POLICY: dict[str, Any] = {
    "version": 1,
    "issuer": "",
    "jwks": {"keys": []},
    "bindings": [
        {"subject": "demo", "role": "Admin", "org": SCOPE.org, "project": "*", "domain": "*"}
    ],
    "clusters": [{"org": SCOPE.org, "cluster": SCOPE.cluster, "enabled": True}],
    "revoked": {},
}


@dataclass(frozen=True, slots=True)
class Load:
    """The exchanges of a rig.

    Args:
        streams: how many.
        duplex: whether requests stay open, so that bytes can go up too.
        receive_buffer_bytes: of the viewers' sockets; 0 leaves it to the system.
    """

    streams: int = 1
    duplex: bool = False
    receive_buffer_bytes: int = 0

    def request(self, path: str, token: str = "") -> str:
        """Return what each viewer sends."""
        return viewer_request(path, None if self.duplex else EMPTY_MESSAGE, token)


def viewer_request(path: str, body: str | None, token: str = "") -> str:
    """Return an HTTP request, one character a byte; without a body it stays open."""
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {STREAMING}\r\n"
    if token:
        head += f"authorization: Bearer {token}\r\n"
    if body is None:
        return head + "transfer-encoding: chunked\r\n\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n{body}"


Start = Callable[[Lab, Load], Awaitable[Rig]]
Via = Callable[[int], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Subject:
    """One relay that can be measured.

    Args:
        name: on the command line and in tables.
        what: one line for people.
        start: starts it and opens the exchanges of a load.
        parts: what can be measured of it.
        missing: says why it cannot be measured here, "" if it can.
        most_streams: it is not measured with more.
    """

    name: str
    what: str
    start: Start = field(repr=False)
    parts: frozenset[str]
    missing: Callable[[], str] = field(default=lambda: "", repr=False)
    most_streams: int = 1_000


async def straight(port: int) -> int:
    """Let nothing stand in between: the port to dial is the one that was given."""
    return port


async def start_bare(lab: Lab, load: Load, via: Via = straight) -> Rig:
    """Start a plain server and viewers of it: no relay at all.

    Args:
        lab, load: as ever.
        via: what stands in between: given the server's port, returns the one to dial.
    """
    source = await lab.helper("source")
    port = await via((await source.ask("port"))["port"])
    return await open_rig(lab, load, "bare", 0, port, "/", source)


async def start_relay(
    lab: Lab, load: Load, *, resumable: bool = True, via: Via = straight, more: str = ""
) -> Rig:
    """Start our relay and an agent that sends canned bytes.

    Args:
        lab, load: as ever.
        resumable: a viewer's tail, whose units are held until their MARK; otherwise an exchange of
            the control plane, whose bytes are passed on as they come.
        via: what stands between agent and relay: given the relay's port, returns the one to dial.
        more: of the relay's configuration.
    """
    relay = await start_plain_relay(lab, more)
    ports = relay.ready
    agent = await lab.helper("canned_agent")
    port = await via(ports["agent_port"])
    await agent.ask("dial", port=port, org=SCOPE.org, cluster=SCOPE.cluster)
    viewers, path = ("viewer_port", TAIL_LOGS) if resumable else ("control_port", ASSIGN)
    name = "relay" if resumable else "relay-direct"
    rig = await open_rig(lab, load, name, relay.pid, ports[viewers], SCOPE.prefix + path, agent)
    rig.agent_pid = agent.pid
    return rig


async def start_plain_relay(lab: Lab, more: str = "") -> PlaneProcess:
    """Start our relay without TLS, with a policy for the demo subject and one cluster.

    Args:
        lab: as ever.
        more: tables of its configuration.
    """
    config_file = lab.path("relay.toml")
    config_file.write_text(f"insecure = true\n{KEEPALIVE}{more}", encoding="utf-8")
    relay = await lab.start_relay(config_file)
    await push_policy(relay.ready["control_port"])
    return relay


async def start_relay_direct(lab: Lab, load: Load) -> Rig:
    """Start our relay with exchanges that are not resumable."""
    return await start_relay(lab, load, resumable=False)


async def push_policy(control_port: int) -> None:
    """Give an insecure relay the policy that admits the demo subject.

    Raises:
        MeasureError: it refused.
    """
    async with httpx.AsyncClient(trust_env=False, timeout=PUSH_S) as http:
        url = f"http://127.0.0.1:{control_port}/v1/policy"
        answer = await http.put(url, content=json.dumps(POLICY))
    if answer.status_code != httpx.codes.NO_CONTENT:
        raise MeasureError(f"the relay answered {answer.status_code} to the policy")


async def open_rig(
    lab: Lab,
    load: Load,
    name: str,
    pid: int,
    port: int,
    path: str,
    source: Helper,
    *,
    token: str = "",
    ca_file: str = "",
) -> Rig:
    """Have viewers open their exchanges.

    Args:
        lab, load: as ever.
        name: of the subject.
        pid: of the process whose cost counts, 0 without one.
        port, path: what viewers dial and ask for.
        source: where bytes come from.
        token: what they show; "" for none.
        ca_file: of TLS; "" for plain connections.

    Raises:
        MeasureError: they could not.
    """
    rig = Rig(
        name,
        0,
        pid,
        source,
        await lab.helper("sink"),
        viewer_port=port,
        request=load.request(path, token),
        receive_buffer_bytes=load.receive_buffer_bytes,
        ca_file=ca_file,
    )
    await rig.open_more(load.streams)
    if load.duplex:
        await source.ask("echo")
    return rig
